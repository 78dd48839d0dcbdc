"""What a container may leave on the host: looked at before and after, it must be the same.

The machine may be running other containers meanwhile. So a cgroup counts when its launcher is dead, is
a process of this session, or has lost its parent; a process counts when it descends from this one.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from containers import seconds
from pycontain.paths import find

CGROUP_ROOTS = Path("/sys/fs/cgroup")
# what a live launcher keeps ready for its next starts: one of a detached container has a monitor, a fork of
# the nursery
SPARE_PROCESSES = 2 + 3 + 1
SPARE_CGROUPS = 1


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    program: str

    @property
    def is_the_runtimes(self) -> bool:
        return self.program.startswith("/memfd:")


def processes() -> dict[int, Process]:
    """All of the machine."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{name}/stat").read_text()
        except OSError:
            continue  # gone
        state, parent = stat.rpartition(")")[2].split()[:2]
        try:
            program = os.readlink(f"/proc/{name}/exe")
        except OSError:
            # of one that hides, as a spare's init does from an ordinary user, the name has to do
            hidden = "/memfd:" if "(pycontain" in stat else "unknown"
            program = "zombie" if state == "Z" else hidden
        found[int(name)] = Process(int(name), int(parent), program)
    return found


def command_of(pid: int) -> str:
    """Its words, and a blank after each; empty: it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def descendants(of: int, everything: dict[int, Process]) -> list[Process]:
    children: dict[int, list[Process]] = {}
    for process in everything.values():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    waiting = [of]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += [process.pid for process in below]
    return found


def cgroups() -> set[str]:
    """Directories of containers, `controller/launcher.number`."""
    # os.walk passes over what goes away meanwhile
    return {
        os.path.relpath(f"{directory}/{name}", CGROUP_ROOTS)
        for directory, names, _ in os.walk(CGROUP_ROOTS)
        if os.path.basename(directory) == "pycontain"
        for name in names
    }


def launcher_pid(path: str) -> int:
    """The names of a launcher's cgroups and directories begin with its process id."""
    pid, dash, _ = os.path.basename(path).partition("-")
    try:
        return int(pid, 16) if dash else -1
    except ValueError:
        return -1


@dataclass(frozen=True)
class Host:
    """What is there at one moment."""

    mounts: frozenset[str]
    cgroups: frozenset[str]
    processes: frozenset[Process]
    files: frozenset[str]
    launchers: frozenset[str]

    @staticmethod
    def look(root: str) -> Host:
        everything = processes()
        own = descendants(os.getpid(), everything)
        launchers = {
            process.pid for process in own if process.is_the_runtimes and process.parent == os.getpid()
        }
        spares = {process.pid for launcher in launchers for process in _spare(launcher, everything)}
        return Host(
            frozenset(Path("/proc/self/mountinfo").read_text().splitlines()),
            frozenset(
                name
                for name in cgroups()
                if launcher_pid(name) not in spares
                and _counts(launcher_pid(name), everything, own, launchers)
            ),
            frozenset(process for process in own if process.pid not in launchers | spares),
            frozenset(_files(root)),
            frozenset(abandoned_launchers()),
        )

    def left(self, before: Host) -> str:
        """What is there now but was not before; empty when all is clean."""
        return "\n".join(
            f"{what} left: {sorted(map(str, new))}"
            for what, new in (
                ("mounts", self.mounts - before.mounts),
                ("cgroups", self.cgroups - before.cgroups),
                ("processes", self.processes - before.processes),
                ("files", self.files - before.files),
                ("launchers", self.launchers - before.launchers),
            )
            if new
        )


def _spare(launcher: int, everything: dict[int, Process]) -> list[Process]:
    below = descendants(launcher, everything)
    waiting = [process for process in below if process.is_the_runtimes]
    return waiting if waiting == below and len(below) <= SPARE_PROCESSES else []


def _counts(launcher: int, everything: dict[int, Process], own: list[Process], launchers: set[int]) -> bool:
    if launcher in launchers:
        return _number_of_cgroups(launcher) > SPARE_CGROUPS
    process = everything.get(launcher)
    return process is None or process.parent == 1 or process in own


def _number_of_cgroups(launcher: int) -> int:
    return len({os.path.basename(name) for name in cgroups() if launcher_pid(name) == launcher})


def _files(root: str) -> set[str]:
    """What a container could leave; images and their layers are no container's."""
    run = find(root).run
    found = {f"{run}/layers/{name}" for name in _names(f"{run}/layers")}
    for directory in ("containers", "ephemeral", "names", "staging"):
        paths = {f"{root}/{directory}/{name}" for name in _names(f"{root}/{directory}")}
        found |= {path for path in paths if not _is_spare_directory(path)}
    return found


def _is_spare_directory(path: str) -> bool:
    """Kept by a live launcher for a container to come: empty."""
    return os.path.exists(f"/proc/{launcher_pid(path)}") and not _names(f"{path}/upper")


def abandoned_launchers() -> set[str]:
    """Files of launchers and monitors that are gone."""
    # in this order: one that is there and is none of these processes has ended since
    files = _names(f"{find().run}/launchers")
    everything = processes()
    return {name for name in files if launcher_pid(name) not in everything}


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


@dataclass(frozen=True)
class Watch:
    """The host before; `check` waits until it is like that again."""

    root: str
    before: Host

    @staticmethod
    def begin(root: str) -> Watch:
        return Watch(root, Host.look(root))

    def check(self) -> None:
        """Cleaning up may go on for a moment after the command's status is known, but it must end."""
        until = time.monotonic() + seconds(10)
        while left := Host.look(self.root).left(self.before):
            assert time.monotonic() < until, left
            time.sleep(0.05)
