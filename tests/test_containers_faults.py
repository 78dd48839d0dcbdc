"""What can go wrong around a container: its log taken away, a full disk, floods, bombs, deaf processes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import containers
import isolated
import leftovers
import pytest
from detached import monitor_of, wait_for
from pycontain.errors import NameInUse, PycontainError

if TYPE_CHECKING:
    from pycontain import Container, Engine

pytestmark = pytest.mark.timeout(containers.seconds(120) + 60)

MIB = 1 << 20


def written(container: Container, stream: str = "stdout") -> bytes:
    lines = [entry.line for entry in container.logs() if entry.stream == stream]
    return "".join(lines).encode("utf-8", "surrogateescape")


def status(pid: int) -> dict[str, str]:
    return containers.fields(Path(f"/proc/{pid}/status").read_text())


@pytest.mark.parametrize("what", ["file", "directory"])
def test_log_that_is_taken_away_goes_on_for_who_follows_it(
    own: Engine, fresh_cli: containers.Cli, what: str
) -> None:
    container = own.start("busybox", ["sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"])
    wait_for(lambda: written(container).count(b"\n") > 3)
    following = subprocess.Popen(
        [fresh_cli.program, "logs", "-f", container.id],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=fresh_cli.environment,
    )
    assert following.stdout
    assert following.stdout.readline() == b"0\n"
    log = Path(container.inspect()["LogPath"])
    log.unlink() if what == "file" else shutil.rmtree(log.parent)
    taken = written(container)
    wait_for(lambda: written(container).count(b"\n") > 5)
    assert container.status == "running"
    container.stop()
    rest, err = following.communicate(timeout=containers.seconds(30))
    assert (following.returncode, err) == (0, b"")
    numbers = [int(line) for line in rest.splitlines()]
    assert numbers == sorted(numbers)
    # the last that was written is seen, by who follows and by who comes later
    assert written(container).endswith(b"\n%d\n" % numbers[-1])
    assert len(numbers) > taken.count(b"\n") + 5


@pytest.mark.root
def test_full_disk_hides_nothing_and_can_be_tidied_up(busybox_layer: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "busybox.tar"
    archive.write_bytes(busybox_layer)
    root = str(tmp_path / "root")
    done = isolated.isolated([sys.executable, isolated.__file__, "full", root, str(archive)], disk=root)
    assert done.returncode == 0, done.stderr + done.stdout


def test_line_of_ten_megabytes_is_whole_and_costs_little_memory(
    own: Engine, fresh_cli: containers.Cli
) -> None:
    script = "read go; head -c 10000000 /dev/zero | tr '\\0' x; echo; echo after; read end"
    container = own.start("busybox", ["sh", "-c", script], stdin=True)
    attached = subprocess.Popen(
        [fresh_cli.program, "attach", container.id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=fresh_cli.environment,
    )
    assert attached.stdin
    assert attached.stdout
    attached.stdin.write(b"go\n")
    attached.stdin.flush()
    line = attached.stdout.readline()
    assert line == b"x" * 10_000_000 + b"\n"
    assert attached.stdout.readline() == b"after\n"
    assert int(status(monitor_of(container))["VmHWM"].split()[0]) < 16 * 1024  # KiB
    attached.stdin.write(b"end\n")
    attached.communicate(timeout=containers.seconds(30))
    assert container.wait() == 0
    assert fresh_cli("logs", container.id).stdout == line + b"after\n"
    assert fresh_cli("logs", "-n", "1", container.id).stdout == b"after\n"


def test_binary_output_is_told_byte_by_byte(own: Engine, fresh_cli: containers.Cli) -> None:
    noise = random.Random(7).randbytes(MIB) + bytes(range(256)) + b"\xff" * 40_000 + b"\r\n\0\xed\xa0\x80end"
    container = own.create("busybox", ["sh", "-c", "cat /out; cat /err >&2"])
    container.write_bytes("/out", noise)
    container.write_bytes("/err", noise[::-1])
    container.start()
    assert container.wait() == 0
    assert (written(container), written(container, "stderr")) == (noise, noise[::-1])
    logs = fresh_cli("logs", container.id)
    assert (logs.stdout, logs.stderr) == (noise, noise[::-1])
    shown = fresh_cli("start", "-a", container.id)
    assert (shown.stdout, shown.stderr) == (noise, noise[::-1])


def test_a_thousand_execs_in_parallel(own: Engine) -> None:
    container = own.start("busybox", ["sleep", "1000"])
    container.run("true")  # the door is open
    monitor = monitor_of(container)
    descriptors = len(os.listdir(f"/proc/{monitor}/fd"))

    def echo(number: int) -> bool:
        done = container.run(
            ["sh", "-c", f"echo {number}; cat >&2; exit {number % 7}"], input=b"x", check=False
        )
        return (done.stdout, done.stderr, done.returncode) == (b"%d\n" % number, b"x", number % 7)

    with ThreadPoolExecutor(40) as pool:
        assert all(pool.map(echo, range(1000)))
    wait_for(lambda: len(os.listdir(f"/proc/{monitor}/fd")) <= descriptors)
    programs = [p.program for p in leftovers.descendants(monitor, leftovers.processes())]
    assert len([program for program in programs if not program.startswith("/memfd:")]) == 1, programs
    assert container.status == "running"


@pytest.mark.limits
def test_fork_bomb_stays_within_its_limit_and_can_be_stopped(own: Engine, fresh_cli: containers.Cli) -> None:
    container = own.start("busybox", ["sleep", "1000"], pids_limit=60)
    bomb = 'while :; do sh -c "$0" "$0" & done'
    done = fresh_cli("exec", "-d", container.id, "sh", "-c", bomb, bomb)
    assert done.returncode == 0, done
    wait_for(lambda: container.stats().pids >= 55)
    seen = [container.stats().pids for _ in range(5)]
    assert max(seen) <= 60

    def is_refused() -> bool:
        try:
            container.run("true")
        except PycontainError:
            return True
        return False

    wait_for(is_refused)  # there is no room for others, most of the time
    assert own.containers.list() == (container,)
    inside = leftovers.descendants(monitor_of(container), leftovers.processes())
    container.stop()
    assert container.status == "exited"
    now = {p.pid for p in leftovers.processes().values() if p.program != "zombie"}
    assert not now & {p.pid for p in inside}


@pytest.mark.limits
@pytest.mark.parametrize("init", [False, True])
def test_out_of_memory_is_137_and_told(own: Engine, fresh_cli: containers.Cli, init: bool) -> None:
    container = own.start(
        "busybox", ["tail", "/dev/zero"], memory="16m", memory_swap="16m", init=init, name="greedy"
    )
    assert container.wait() == 137
    state = container.inspect()["State"]
    assert (state["ExitCode"], state["OOMKilled"], state["Status"]) == (137, True, "exited")
    assert "Exited (137)" in fresh_cli("ps", "-a", "--format", "{{.Status}}").stdout.decode()
    assert [e.action for e in own.events(until=time.time(), container=["greedy"])][-2:] == ["oom", "die"]
    # what a run did is not told of the next
    container.remove()
    kind = own.start("busybox", ["sh", "-c", "test -e /again && exit 0; touch /again; tail /dev/zero"],
                     memory="16m", memory_swap="16m", restart="on-failure")  # fmt: skip
    assert kind.wait() == 0
    assert (kind.inspect()["State"]["OOMKilled"], kind.inspect()["RestartCount"]) == (False, 1)


def test_first_process_that_ignores_all_is_stopped_in_time(own: Engine) -> None:
    signals = "HUP INT QUIT USR1 USR2 TERM ALRM"
    loop = "echo ready; while :; do sleep 0.05; done"
    for trap, patience in (("''", 60.0), (":", 0.5)):
        container = own.start("busybox", ["sh", "-c", f"trap {trap} {signals}; {loop}"])
        wait_for(lambda: written(container) == b"ready\n")  # noqa: B023
        begun = time.monotonic()
        container.stop(timeout=patience)
        assert time.monotonic() - begun < containers.seconds(20)
        # what listens gets all of its time
        assert trap == "''" or time.monotonic() - begun >= patience
        assert container.wait() == 137
        assert container.inspect()["State"]["OOMKilled"] is False


@pytest.mark.parametrize("init", [True, False])
def test_orphans_are_reaped_by_init(own: Engine, init: bool) -> None:
    # a hundred children of a shell that ends
    script = "for i in $(seq 100); do (true & true &) ; done; exec sleep 1000"
    container = own.start("busybox", ["sh", "-c", f"sh -c '{script}' & exec sleep 1000"], init=init)

    def count(script: str) -> int:
        return int(str(container.run(["sh", "-c", script], check=False, text=True).stdout))

    def zombies() -> int:
        return count("grep -ls '^State:.Z' /proc/[0-9]*/status | wc -l")

    wait_for(lambda: count("ps | grep -c '[s]leep'") >= 2)
    if init:
        wait_for(lambda: zombies() == 0)
        wait_for(lambda: count("ls -d /proc/[0-9]* | wc -l") < 12)  # none of them runs any more, either
    else:
        wait_for(lambda: zombies() >= 100)  # nobody else does it
    container.stop()
    assert container.wait() in {137, 143}


def test_of_fifty_processes_one_gets_the_name(own: Engine) -> None:
    def compete(name: str) -> list[int]:
        start, go = os.pipe()
        children = []
        for _ in range(50):
            child = os.fork()
            if child == 0:
                status = 2
                try:
                    os.close(go)
                    os.read(start, 1)  # until the other end is closed
                    own.create("busybox", "true", name=name)
                    status = 0
                except NameInUse:
                    status = 1
                finally:
                    os._exit(status)
            children.append(child)
        os.close(start)
        os.close(go)
        return sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)

    own.create("busybox", "true", name="first")
    assert compete("wanted") == [0] + [1] * 49
    # the same where somebody who removed a container of this name was killed
    os.symlink("../containers/nothing", f"{own._paths.names}/left")
    assert compete("left") == [0] + [1] * 49
    found = own.containers.summaries(all=True)
    assert sorted(one.name for one in found) == ["first", "left", "wanted"]
    assert all(own.containers.get(one.name).id == one.id for one in found)
    assert len(os.listdir(own._paths.containers)) == 3


def test_names_are_unique_while_containers_are_renamed_and_removed(own: Engine) -> None:
    """By processes that all want the same two names."""
    until = time.monotonic() + 4
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                chance = random.Random(number)
                while time.monotonic() < until:
                    try:
                        made = own.create("busybox", "true", name=chance.choice(["one", "two"]))
                        made.rename(chance.choice(["one", "two", "three"]))
                        made.remove()
                    except PycontainError:
                        pass
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    seen = 0
    while time.monotonic() < until:
        names = [one.name for one in own.containers.summaries(all=True)]
        seen += len(names)
        assert len(names) <= len(set(names)) + 4
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert seen > 10
    found = own.containers.summaries(all=True)
    assert len({one.name for one in found}) == len(found), found
    assert all(own.containers.get(one.name).id == one.id for one in found)


@pytest.mark.root
def test_after_a_reboot_containers_are_exited_and_the_lasting_ones_start(
    busybox_layer: bytes, tmp_path: Path
) -> None:
    archive = tmp_path / "busybox.tar"
    archive.write_bytes(busybox_layer)
    words = ["reboot", str(tmp_path / "root"), str(archive)]
    done = isolated.isolated([sys.executable, isolated.__file__, *words])
    assert done.returncode == 0, done.stderr + done.stdout
