"""What is done in a mount namespace with a run directory of its own: there the engine's processes are killed,
and its locks are taken away, which must not be those of others.

    isolated.py full ROOT ARCHIVE        ROOT is a small disk, which fills up
    isolated.py reboot ROOT ARCHIVE      everything ends at once, and what is in memory is gone
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import leftovers
from containers import Cli, installed, seconds
from pycontain import Engine
from pycontain.errors import StartError
from pycontain.images import staging
from pycontain.paths import find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 60  # seconds
SLEEP = ["sleep", "1000"]


def isolated(command: Sequence[str], disk: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run it there, with the modules of the tests; `disk`: a directory that is a disk of 24 MiB meanwhile."""
    script = "mkdir -p /run/pycontain && mount -t tmpfs -o mode=700 own /run/pycontain"
    if disk is not None:
        script += f" && mkdir -p {disk} && mount -t tmpfs -o size=24m small {disk}"
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{script} && exec "$@"', "sh"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([*words, *command], capture_output=True, text=True, check=False, env=environment)


class Family:
    """All that descends from this process, to which everything comes back whose parent is killed."""

    def __init__(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def reap(self) -> Iterator[tuple[int, int]]:
        """Who has ended, and how."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                yield ended

    def living(self) -> list[leftovers.Process]:
        found = leftovers.descendants(os.getpid(), leftovers.processes())
        return [process for process in found if process.program != "zombie"]

    def wait_until(self, condition: Callable[[], object], failure: str) -> None:
        deadline = time.monotonic() + seconds(PATIENCE)
        while not condition():
            assert time.monotonic() < deadline, failure
            time.sleep(0.05)
            list(self.reap())

    def kill(self) -> None:
        """All of it."""
        while living := self.living():
            for process in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            list(self.reap())


def remains(root: str) -> list[str]:
    """Of containers, on disk."""
    run = find(root).run
    places = [f"{root}/{name}" for name in ("containers", "ephemeral", "names", "staging")]
    places += [f"{run}/layers", f"{run}/launchers"]
    return [f"{place}/{name}" for place in places for name in staging.names(place)]


def states(cli: Cli) -> dict[str, str]:
    """Of every container, as `ps` tells them."""
    listed = cli("ps", "-a", "--format", "{{.Names}} {{.Status}}")
    assert listed.returncode == 0, listed
    return {line.split()[0]: line.split()[1] for line in listed.stdout.decode().splitlines()}


def fill(root: str) -> None:
    """To the last byte."""
    for size in (1 << 16, 1 << 12, 1):
        with contextlib.suppress(OSError), open(f"{root}/filling", "ab", buffering=0) as file:
            while True:
                file.write(bytes(size))


def full_disk(root: str, archive: str) -> None:
    cli = Cli(installed(), root)
    with Engine(root) as engine:
        engine.images.import_(archive, "busybox", changes=['CMD ["sh"]'])
        script = "while :; do echo loud; sleep 0.01; done"
        loud = engine.start("busybox", ["sh", "-c", script], name="loud")
        short = engine.start("busybox", ["sh", "-c", "sleep 1; exit 3"], name="short")
        engine.start("busybox", SLEEP, name="gone", remove=True)
        killed = engine.start("busybox", SLEEP, name="killed")
        late = engine.create("busybox", SLEEP, name="late")
        monitor = leftovers.processes()[killed.inspect()["State"]["Pid"]].parent
        time.sleep(0.3)
        fill(root)
        # what ends now can hardly be written down
        assert short.wait() == 3
        os.kill(monitor, signal.SIGKILL)
        while killed.status == "running":
            time.sleep(0.01)
        fill(root)
        told = {"loud": "Up", "short": "Exited", "killed": "Exited", "gone": "Up", "late": "Created"}
        assert states(cli) == told, states(cli)
        assert loud.run("echo hi").stdout == b"hi\n"
        check_refused(cli, "create", "--name", "made", "busybox", "true")
        check_refused(cli, "run", "-d", "--name", "made", "busybox", "true")
        check_refused(cli, "rename", "short", "long")
        try:
            late.start()
        except StartError as error:
            assert "no space left" in str(error)  # noqa: PT017 - it is not pytest that runs this
        else:
            raise AssertionError("it runs, and nobody can know")
        assert states(cli) == told, states(cli)
        loud.stop()
        assert loud.status == "exited"
        engine.containers.get("gone").stop()
        assert cli("rm", "killed", "late").returncode == 0
        assert states(cli).keys() == {"loud", "short"}, states(cli)
        assert set(os.listdir(f"{root}/containers")) == {loud.id, short.id}
        assert set(os.listdir(f"{root}/names")) == {"loud", "short"}
        os.unlink(f"{root}/filling")
        assert short.inspect()["State"]["ExitCode"] == 3
        assert "not in it" in loud.inspect()["State"]["Error"]  # of its log
        loud.start()
        assert loud.status == "running"
        for container in engine.containers.list(all=True):
            container.remove(force=True)


def check_refused(cli: Cli, *words: str) -> None:
    done = cli(*words)
    assert done.returncode != 0, done
    first, *others = done.stderr.decode().splitlines()
    assert "no space left" in first, done
    assert all(line.startswith("hint: ") for line in others), done


def end_groups(family: Family, before: Iterable[str]) -> None:
    """Control groups end with the boot, too: those that are new, of launchers that were killed."""
    living = {pid for pid, process in leftovers.processes().items() if process.program != "zombie"}
    ours = {
        group
        for group in leftovers.cgroups().difference(before)
        if leftovers.launcher_pid(group) not in living
    }

    def are_gone() -> bool:
        for group in ours:
            with contextlib.suppress(OSError):
                os.rmdir(f"{leftovers.CGROUP_ROOTS}/{group}")
        return not any(os.path.isdir(f"{leftovers.CGROUP_ROOTS}/{group}") for group in ours)

    family.wait_until(are_gone, "control groups are left")


def reboot(root: str, archive: str) -> None:
    family = Family()
    before = leftovers.cgroups()
    cli = Cli(installed(), root)
    with Engine(root) as engine:
        engine.images.import_(archive, "busybox", changes=['CMD ["sh"]'])
        engine.start("busybox", SLEEP, name="always", restart="always")
        engine.start("busybox", SLEEP, name="unless", restart="unless-stopped")
        engine.start("busybox", SLEEP, name="stopped", restart="unless-stopped").stop()
        engine.start("busybox", ["sh", "-c", "sleep 0.3; exit 1"], name="failing", restart="always")
        engine.start("busybox", SLEEP, name="failure", restart="on-failure")
        engine.start("busybox", SLEEP, name="paused", restart="always").pause()
        engine.start("busybox", SLEEP, name="never")
        engine.start("busybox", SLEEP, name="gone", remove=True)
        engine.create("busybox", SLEEP, name="made", restart="always")
        family.kill()
    end_groups(family, before)
    for name in os.listdir("/run/pycontain"):
        path = Path("/run/pycontain", name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    ended = ["always", "unless", "stopped", "failing", "failure", "paused", "never", "gone"]
    assert states(cli) == dict.fromkeys(ended, "Exited") | {"made": "Created"}, states(cli)
    started = cli("system", "start")
    assert started.returncode == 0, started
    assert sorted(started.stdout.split()) == [b"always", b"failing", b"paused", b"unless"], started
    found = states(cli)
    assert found.pop("failing") in {"Up", "Restarting"}
    still = dict.fromkeys(["stopped", "failure", "never"], "Exited") | {"made": "Created"}
    assert found == dict.fromkeys(["always", "unless", "paused"], "Up") | still, found
    assert cli("exec", "always", "echo", "hi").stdout == b"hi\n"
    assert cli("start", "never").returncode == 0
    assert cli("rm", "-f", *found, "failing").returncode == 0
    assert states(cli) == {}
    family.wait_until(lambda: not family.living(), f"left: {family.living()}")
    assert not remains(root), remains(root)


if __name__ == "__main__":
    {"full": full_disk, "reboot": reboot}[sys.argv[1]](*sys.argv[2:])
