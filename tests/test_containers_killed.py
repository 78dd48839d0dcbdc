"""SIGKILL, at random and at every step: what is told of containers is true, and nothing stays behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import containers
import isolated
import killing
import leftovers
import pytest
from detached import monitor_of, wait_for
from pycontain import Container, Engine
from pycontain.errors import Conflict, ContainerNotFound, NameInUse, StillInUse
from pycontain.images import staging
from pycontain.runtime import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.root, pytest.mark.timeout(containers.seconds(120) + 60)]

SEED = "1"
# what a command changes on disk is between two of these
STEPS = {"fcntl.flock", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "shutil.rmtree"}
CGROUPS = Path("/sys/fs/cgroup")


def test_killed_at_random_while_containers_come_and_go(busybox_layer: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "busybox.tar"
    archive.write_bytes(busybox_layer)
    before = leftovers.cgroups()
    words = ["loop", str(tmp_path / "root"), str(archive), SEED]
    done = isolated.isolated([sys.executable, killing.__file__, *words])
    print(done.stdout)
    assert done.returncode == 0, done.stderr + done.stdout
    wait_for(lambda: not ownerless(before))


def ownerless(before: set[str]) -> set[str]:
    """Cgroups that are new, and of no launcher that lives or that others could still clean up after."""
    living = leftovers.processes().keys()
    others = set(staging.names("/run/pycontain/launchers"))
    return {
        name
        for name in leftovers.cgroups() - before
        if leftovers.launcher_pid(name) not in living
        and os.path.basename(name).partition(".")[0] not in others
    }


def remains(engine: Engine) -> list[str]:
    paths = engine._paths
    places = (paths.containers, paths.ephemeral, paths.names, paths.staging)
    found = [f"{place}/{name}" for place in places for name in staging.names(place)]
    return [path for path in found if not leftovers._is_spare_directory(path)]


def killed_at(step: int, act: Callable[[], object]) -> bool:
    """Do it in a fork that is killed just before this step; whether it came so far."""
    child = os.fork()
    if child == 0:
        count = 0

        def look(event: str, args: object) -> None:
            nonlocal count
            if event in STEPS or (event == "open" and isinstance(args, tuple) and args[2] & os.O_CREAT):
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(look)
            act()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, -signal.SIGKILL}
    return status != 0


@pytest.mark.parametrize(
    "act", ["create", "run", "start", "stop", "remove", "remove by force", "rename", "copy"]
)
def test_killed_at_each_step_it_can_be_done_again(own: Engine, act: str) -> None:
    def box(name: str = "box") -> Container:
        return own.containers.get(name)

    acts: dict[str, Callable[[], object]] = {
        "create": lambda: own.create("busybox", ["sleep", "1000"], name="box"),
        "run": lambda: own.start("busybox", ["sleep", "1000"], name="box"),
        "start": lambda: box().start(),
        "stop": lambda: box().stop(timeout=1),
        "remove": lambda: box().remove(),
        "remove by force": lambda: box().remove(force=True),
        "rename": lambda: box().rename("other"),
        "copy": lambda: box().write_bytes("/file", b"content"),
    }
    step = 0
    went_on = True
    while went_on:
        step += 1
        if act not in {"create", "run"}:
            made = own.create("busybox", ["sleep", "1000"], name="box")
            if act in {"stop", "remove by force"}:
                made.start()
        went_on = killed_at(step, acts[act])
        found = own.containers.summaries(all=True)
        assert [one.name for one in found] in (["box"], ["other"], [])
        if act == "rename":
            assert len(found) == 1
            assert {box(found[0].name).id} == {found[0].id}
        elif found and act in {"create", "run"}:
            box().remove(force=True)
        if (act in {"create", "run"} or found) and not (act == "rename" and found[0].name == "other"):
            acts[act]()
        for container in own.containers.list(all=True):
            assert container == box(container.name)
            if act in {"run", "start"}:
                assert container.status == "running"
            container.remove(force=True)
        own.prune()
        wait_for(lambda: not remains(own))
    assert step > 1


def test_who_was_killed_while_making_a_container_keeps_no_image(own: Engine, tmp_path: Path) -> None:
    directory = tmp_path / "root/containers" / own.create("busybox").id
    (directory / "container.json").unlink()  # as it is until the last step
    held = os.open(directory, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(StillInUse):
        own.images.remove("busybox")
    os.close(held)
    own.images.remove("busybox")
    assert own.containers.prune().ids == ()
    assert not directory.exists()


def test_what_changed_its_ids_ends_with_its_monitor(own: Engine) -> None:
    for command in (["su", "worker", "-c", "exec sleep 1000"], ["sh", "-c", "sleep 1000 & sleep 1000"]):
        container = own.start("busybox", command, pid="" if command[0] == "su" else "host")
        monitor = monitor_of(container)
        wait_for(lambda: sleeps(monitor))  # noqa: B023
        inside = {p.pid for p in leftovers.descendants(monitor, leftovers.processes())}
        cgroup = str(container._now().state.cgroup)
        os.kill(monitor, signal.SIGKILL)
        wait_for(lambda: container.status == "exited")  # noqa: B023
        assert not {p.pid for p in leftovers.processes().values() if p.program != "zombie"} & inside
        assert not list(CGROUPS.glob(f"*/{cgroup}")) + list(CGROUPS.glob(cgroup))
        container.remove()


@pytest.mark.parametrize("way", ["run", "get", "exec", "cp"])
def test_end_that_nobody_saw_is_told(own: Engine, fresh_cli: containers.Cli, way: str) -> None:
    container = own.start("busybox", ["sleep", "1000"], name="box")
    container.run(["truncate", "-s", "100G", "/endless"])
    words = {"exec": ["exec", "box", "sleep", "1000"], "cp": ["cp", "box:/endless", "-"]}
    told = 'container "box" ended, and nobody saw how the command in it did'
    killer = threading.Timer(0.7, os.kill, (monitor_of(container), signal.SIGKILL))
    killer.start()
    with open(os.devnull, "wb") as null:
        if way == "run":
            with pytest.raises(Conflict, match=told):
                container.run(["sleep", "1000"])
        elif way == "get":
            with pytest.raises(Conflict, match=told):
                container.get_archive("/endless", null.fileno())
        else:
            command = [str(fresh_cli.program), *words[way]]
            environment = fresh_cli.environment
            done = subprocess.run(command, stdout=null, stderr=subprocess.PIPE, env=environment, check=False)
            assert done.returncode == 1
            assert done.stderr.decode().splitlines() == [
                f"pycontain: {told}",
                "hint: was its monitor killed?",
            ]
    killer.join()


def sleeps(monitor: int) -> bool:
    """Whether the youngest process of its container is `sleep`."""
    pid = max(p.pid for p in leftovers.descendants(monitor, leftovers.processes()))
    return leftovers.command_of(pid).startswith("sleep")


def test_name_of_a_maker_that_was_killed_is_free(own: Engine) -> None:
    left = f"{own._paths.containers}/{'0' * 64}"
    own.create("busybox", name="first")
    os.mkdir(left)
    os.symlink(f"../containers/{'0' * 64}", f"{own._paths.names}/wanted")
    made = own.create("busybox", name="wanted")
    assert own.containers.get("wanted") == made
    held = staging.lock(left)
    assert held
    names.take(own._paths, "making", left)
    with pytest.raises(NameInUse):
        own.create("busybox", name="making")
    held.release()


def test_name_of_a_removal_that_was_killed_goes_with_the_directory(
    own: Engine, fresh_cli: containers.Cli
) -> None:
    made = own.create("busybox", name="gone")
    os.makedirs(own._paths.ephemeral, exist_ok=True)
    os.rename(f"{own._paths.containers}/{made.id}", f"{own._paths.ephemeral}/{made.id}")
    os.symlink("../containers/nothing", f"{own._paths.names}/nothing")
    assert fresh_cli("create", "--name", "other", "busybox").returncode == 0  # no launcher is needed
    assert fresh_cli("start", "other").returncode == 0
    assert sorted(staging.names(own._paths.names)) == ["nothing", "other"]
    own.prune()
    assert staging.names(own._paths.names) == ["other"]


def test_name_that_another_has_taken_over_is_not_given_up(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to a container that is gone is taken over, while it is looked at to be taken away."""
    paths = own._paths
    own.create("busybox", name="first")
    made = staging.hold(paths.containers, "0" * 64)
    os.symlink("../containers/gone", f"{paths.names}/wanted")
    readlink = os.readlink
    taking = threading.Thread(target=names.take, args=(paths, "wanted", made.path))

    def slow(path: str) -> str:
        found = readlink(path)
        if threading.current_thread() is threading.main_thread():
            taking.start()
            taking.join(0.3)
        return found

    monkeypatch.setattr(os, "readlink", slow)
    names.give_up(paths, "wanted", "gone")
    monkeypatch.undo()
    taking.join()
    assert os.readlink(f"{paths.names}/wanted") == f"../containers/{'0' * 64}"
    made.release()


def test_container_that_goes_with_its_end_gives_up_the_name_it_has_then(own: Engine) -> None:
    container = own.start("busybox", ["sleep", "1000"], name="before", remove=True)
    container.rename("after")
    container.stop()
    assert staging.names(own._paths.names) == []
    assert remains(own) == []


def test_update_of_one_that_goes_with_its_end_ends(own: Engine) -> None:
    """Who updates holds the lock on all names, and waits for the monitor, which wants it at its end."""
    for _ in range(30):
        container = own.start("busybox", ["sleep", "1000"], name="brief", remove=True)
        stopping = threading.Thread(target=container.stop)
        stopping.start()
        with contextlib.suppress(ContainerNotFound):
            while True:
                container.update(memory="64m")
        stopping.join()
    assert remains(own) == []


def test_monitor_that_is_killed_while_it_removes_leaves_nothing(own: Engine) -> None:
    script = "mkdir /many && cd /many && seq 8000 | xargs touch && exec sleep 1000"
    container = own.start("busybox", ["sh", "-c", script], name="many", remove=True)
    monitor = monitor_of(container)
    wait_for(lambda: sleeps(monitor))
    stopping = threading.Thread(target=container.stop)
    stopping.start()
    places = (own._paths.containers, own._paths.ephemeral)
    wait_for(lambda: sum(len(staging.names(f"{place}/{container.id}/upper/many")) for place in places) < 8000)
    with contextlib.suppress(ProcessLookupError):
        os.kill(monitor, signal.SIGKILL)
    stopping.join()
    with Engine(own._paths.root) as other:
        assert other.containers.list(all=True) == ()
        other.run("busybox", "true")
        wait_for(lambda: not remains(own))


def test_directory_that_a_collector_takes_from_its_maker_is_made_anew(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = []
    lock = staging.lock

    def late(path: str) -> staging.Held | None:
        if not path.startswith(own._paths.containers):
            return lock(path)
        locks.append(path)
        if len(locks) > 1:
            return lock(path)
        taken = lock(path)
        assert taken

        def collect() -> None:
            time.sleep(0.1)
            shutil.rmtree(path)
            taken.release()

        threading.Thread(target=collect).start()
        return None

    monkeypatch.setattr(staging, "lock", late)
    assert own.create("busybox", name="made").status == "created"
    assert len(locks) > 2


@pytest.fixture
def group() -> Iterator[str]:
    """A cgroup for those of containers, removed in the end."""
    name = f"killed-{os.getpid()}"
    yield name
    for directory in CGROUPS.glob(f"*/{name}"):
        directory.rmdir()


def groups_in(name: str) -> list[str]:
    return [str(path) for pattern in (name, f"*/{name}") for path in CGROUPS.glob(f"{pattern}/*/")]


@pytest.mark.limits
def test_groups_of_killed_launchers_and_monitors_are_collected(own: Engine, group: str) -> None:
    container = own.start("busybox", ["sleep", "1000"], cgroup_parent=group)
    monitor = monitor_of(container)
    everything = leftovers.processes()
    launchers = [p.pid for p in everything.values() if p.parent == os.getpid() and p.is_the_runtimes]
    # of a spare's group nothing is written down but in its token
    spares = {p.pid for one in launchers for p in leftovers.descendants(one, everything)}
    for pid in {monitor, *launchers, *spares}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert groups_in(group)
    with Engine(own._paths.root) as other:
        other.run("busybox", "true")
        wait_for(lambda: not groups_in(group))
    assert container.status == "exited"


@pytest.mark.limits
def test_nothing_is_left_in_a_group_that_was_asked_for(busybox_layer: bytes, own: Engine, group: str) -> None:
    for _ in range(3):
        own.run("busybox", "true", cgroup_parent=group)
        with contextlib.suppress(ContainerNotFound):  # it may have gone by then
            own.start("busybox", "true", cgroup_parent=group, remove=True).wait()
        # those of spares stay
        wait_for(lambda: len({os.path.basename(path.rstrip("/")) for path in groups_in(group)}) <= 3)
    own.close()
    wait_for(lambda: not groups_in(group))
