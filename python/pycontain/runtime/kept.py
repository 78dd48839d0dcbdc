"""Containers that stay: found by name or id, and what is known of them.

A container runs for as long as its directory is locked by whoever started it. One that is said to run and is
not locked lost its keeper to a SIGKILL, and went with it: whoever comes upon it writes that down.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time

from pycontain.errors import ContainerNotFound, InvalidOption
from pycontain.images import staging
from pycontain.runtime import events, names, records, shared
from pycontain.runtime.sizes import string
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain.paths import Paths
    from pycontain.runtime.records import Record, State

__all__ = ["Kept", "Stopped", "all_of", "cgroup", "find", "held", "state", "there"]

_ID = re.compile(r"[0-9a-f]{1,64}\Z")
_ID_LENGTH = 64
# a container's: below its parent, with the token of whoever made it, and a number
_GROUP = re.compile(r"[^/].*/[0-9a-f]+-[0-9a-f]+-[0-9a-f]+\.[0-9]+", re.DOTALL)
# what every container has mounted; the directories are made for that where an image has none
_MOUNTED = ("/dev", "/proc", "/sys")
_KILLED = 255  # the exit code of one whose end nobody saw
_MOST_DYING = 1.0  # seconds for what is killed to be gone
_MOST_WAITING = 0.5  # seconds for others that hold the lock for an instant


class Kept(Value):
    """A container as its directory told of it.

    Attributes:
        id: 64 hexadecimal digits.
        path: its directory.
        record: what it is.
        state: what it does.
    """

    __slots__ = ("id", "path", "record", "state")
    id: str
    path: str
    record: Record
    state: State

    def __init__(self, id: str, path: str, record: Record, state: State) -> None:
        self._set(id=id, path=path, record=record, state=state)

    @property
    def config(self) -> bytes:
        """Its `config.json`, with all layers that its files lie on.

        Raises:
            ContainerNotFound: it is gone.
        """
        return shared.with_layers(self.own_config, self.path)

    @property
    def own_config(self) -> bytes:
        """The same without the layers that it shares since a fork: as it is written down."""
        try:
            with open(f"{self.path}/config.json", "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise _not_found(self.record.name) from None

    @property
    def written(self) -> list[bytes]:
        """The `config.json`s whose writable layers are what it wrote, and what it wrote before it was forked.

        The topmost first: each has those after it below.
        """
        return shared.written(self.own_config, self.path)

    @property
    def mount_points(self) -> list[str]:
        """Paths that may have been made for the container rather than by it, and that its mounts hide."""
        annotations = json.loads(self.own_config).get("annotations", {})
        files = json.loads(annotations.get("io.pycontain.files", "{}"))
        secrets = json.loads(annotations.get("io.pycontain.secrets", "[]"))
        return [*_MOUNTED, *files, *(file["target"] for file in secrets)]


def find(paths: Paths, name: str) -> Kept:
    """The container of this id, name, or beginning of an id.

    Raises:
        ContainerNotFound: there is none.
        InvalidOption: several ids begin so.
    """
    clean = string("name", name).removeprefix("/")
    if len(clean) == _ID_LENGTH and _ID.match(clean):
        found = _load(paths, f"{paths.containers}/{clean}")
        if found is not None:
            return found
    found = _named(paths, clean) or _of_prefix(paths, name)
    if found is None:
        raise _not_found(name)
    return found


def all_of(paths: Paths) -> Iterator[Kept]:
    """Every container that stays, in no order."""
    try:
        entries = list(os.scandir(paths.containers))
    except FileNotFoundError:
        return
    locked = _locked(paths.containers)
    for entry in entries:
        found = _load(paths, entry.path, is_locked=entry.inode() in locked)
        if found is not None:
            yield found


def _load(paths: Paths, path: str, *, is_locked: bool = False) -> Kept | None:
    """None: it is gone, or is being made."""
    try:
        record, state = records.read_record(path), records.read_state(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if state.is_alive and not is_locked:
        state = _true_state(paths, path, record, state)
    return Kept(os.path.basename(path), path, record, state)


@contextlib.contextmanager
def there(container: Kept) -> Iterator[None]:
    """What is done with its files in here fails in words when they are gone.

    Raises:
        ContainerNotFound: it was removed meanwhile.
    """
    try:
        yield
    except FileNotFoundError:
        if os.path.exists(container.path):
            raise
        raise _not_found(container.record.name) from None


def state(paths: Paths, container: Kept) -> State:
    """What it does now.

    Raises:
        ContainerNotFound: it is gone.
    """
    found = _load(paths, container.path)
    if found is None:
        raise _not_found(container.record.name)
    return found.state


def _true_state(paths: Paths, path: str, record: Record, state: State) -> State:
    """Of one that is said to run: whether it does."""
    if staging.is_held(path):
        return state
    held = staging.lock(path)
    if held is None:  # gone, or started again, a moment ago
        return state
    try:
        return _settled(paths, path, record)
    finally:
        held.release()


def _settled(paths: Paths, path: str, record: Record) -> State:
    """What one does that is locked by this process, and so does not run."""
    state = records.read_state(path)
    if not state.is_alive:
        return state
    if state.cgroup:
        _end_cgroup(state.cgroup, state.pid)
    state = records.changed(
        state,
        status="exited",
        pid=0,
        finished=records.now(),
        cgroup=None,
        exit_code=_KILLED,
        error="whoever kept it was killed",
    )
    with contextlib.suppress(OSError):  # on a full disk the next who comes upon it finds it as it was
        records.write_state(path, state)
        events.of_container(paths, "die", record, exitCode=str(_KILLED))
    return state


def _end_cgroup(name: str, pid: int) -> None:
    """Kill what has outlived its monitor, and remove the cgroup, whose path ends so.

    The first process of a container is to die with its monitor, but loses that wish (PR_SET_PDEATHSIG) with a
    change of its ids, as by `su`; in the pid namespace of the host its children have never had it.
    """
    if ".." in name.split("/") or not _GROUP.fullmatch(name):
        return
    root = "/sys/fs/cgroup"
    left = [os.path.join(root, hierarchy, name) for hierarchy in ("", *staging.names(root))]
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cgroup") as file:
        paths = [line.rstrip("\n").partition("::")[2] for line in file]
        left += [f"{root}{path}" for path in paths if path.endswith(f"/{name}")]
    deadline = time.monotonic() + _MOST_DYING
    while left := [group for group in left if not _is_removed(group)]:
        if time.monotonic() > deadline:
            return
        time.sleep(0.001)


def _is_removed(group: str) -> bool:
    """Whether this control group, after everything in it was killed, could be removed with those below it."""
    for directory, _, files in os.walk(group, topdown=False):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            pass
        except OSError:
            _kill_group(directory, files)
            return False
    return True


def _kill_group(directory: str, files: list[str]) -> None:
    with contextlib.suppress(OSError):
        if "cgroup.kill" in files:  # Linux 5.14
            _write(f"{directory}/cgroup.kill", "1")
        else:
            with open(f"{directory}/cgroup.procs") as file:
                pids = [int(line) for line in file]
            for pid in pids:
                if pid > 0:  # 0: it is in no pid namespace that is seen from here
                    os.kill(pid, signal.SIGKILL)
        if "freezer.state" in files:  # what is frozen by version 1 dies when it is thawed
            _write(f"{directory}/freezer.state", "THAWED")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _locked(parent: str) -> set[int]:
    """The inodes of the directories there that somebody holds: one read instead of a thousand flock(2).

    Not all of them: in a pid namespace other than the first, the kernel leaves out the locks whose taker has
    ended, though another process keeps them. What is not in here has to be looked at by itself.
    """
    device = os.stat(parent).st_dev
    place = f"{os.major(device):02x}:{os.minor(device):02x}:"
    try:
        with open("/proc/locks") as file:
            return {
                int(line.split(place, 1)[1].split(" ", 1)[0])
                for line in file
                if "FLOCK" in line and "WRITE" in line and "->" not in line and place in line
            }
    except OSError:
        return set()


def _named(paths: Paths, name: str) -> Kept | None:
    if not name.isascii() or "\0" in name:
        return None  # nor may a file be called so
    path = names.owner(paths, name)
    if path is None or os.path.dirname(path) != os.path.normpath(paths.containers):
        return None
    found = _load(paths, path)
    return found if found is not None and found.record.name == name else None


def _of_prefix(paths: Paths, prefix: str) -> Kept | None:
    if not _ID.match(prefix):
        return None
    found = [id for id in staging.names(paths.containers) if id.startswith(prefix)]
    if len(found) > 1:
        raise InvalidOption(
            f"several containers have an id that begins with `{prefix}`", hint="give more of it"
        )
    return _load(paths, f"{paths.containers}/{found[0]}") if found else None


def _not_found(name: str) -> ContainerNotFound:
    return ContainerNotFound(
        f"no such container: `{name}`", hint="a container that is run with `--rm` goes with its command"
    )


class Stopped(Value):
    """A container that does not run, and does not begin to while this process holds its lock.

    Attributes:
        state: how it ended.
        lock: the fd that holds the lock.
    """

    __slots__ = ("lock", "state")
    state: State
    lock: int

    def __init__(self, state: State, lock: int) -> None:
        self._set(state=state, lock=lock)


@contextlib.contextmanager
def held(paths: Paths, container: Kept) -> Iterator[Stopped | None]:
    """A container that does not run; it then stays so for the block. None: it runs.

    Raises:
        ContainerNotFound: it is gone.
    """
    deadline = time.monotonic() + _MOST_WAITING
    while (lock := staging.lock(container.path)) is None:
        # others look at it by a lock for an instant; what is being started says so soon
        if state(paths, container).is_alive or time.monotonic() > deadline:
            yield None
            return
        time.sleep(0.001)
    try:
        yield Stopped(_settled(paths, container.path, container.record), lock.descriptor)
    finally:
        lock.release()


def cgroup(container: Kept) -> str | None:
    """The path of a running container's cgroup, as in /proc/PID/cgroup; None where it has none of its own."""
    parent = json.loads(container.config).get("linux", {}).get("cgroupsPath") or "pycontain"
    try:
        pid = records.read_state(container.path).pid or -1
        with open(f"/proc/{pid}/cgroup") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return None
    freezers = [path for _, controllers, path in lines if "freezer" in controllers.split(",")]
    for path in freezers or [path for number, _, path in lines if number == "0"]:
        # the number of a process that has ended may be another's by now
        if os.path.dirname(path).strip("/").endswith(parent.strip("/")):
            return path
    return None
