"""Directories in which things are made before they appear: each held by a lock of the process that made it.

    <root>/staging/<random>/     flock(2) on the directory itself, for as long as its maker lives

The kernel drops the lock when its holder ends, however it ends: what can be locked by another is garbage.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Held", "abandoned", "boot", "hold", "is_held", "lock", "locked", "names", "sync_directory"]


class Held:
    """A locked directory; `release` gives the lock up and leaves the directory to whoever removes it."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.name = os.path.basename(path)
        self._descriptor = descriptor

    @property
    def descriptor(self) -> int:
        """The fd that holds the lock."""
        return self._descriptor

    def release(self) -> None:
        """Unlock."""
        os.close(self._descriptor)


def hold(staging: str, name: str | None = None) -> Held:
    """Make a directory of this name, or of a random one, locked by this process."""
    taken = False
    while True:
        path = f"{staging}/{name or os.urandom(12).hex()}"
        try:
            os.mkdir(path, 0o700)
        except FileNotFoundError:
            os.makedirs(staging, mode=0o700, exist_ok=True)
            continue
        except FileExistsError:
            if not taken:
                raise
            time.sleep(0.001)  # until whoever took it has removed it, or was killed before
        held = lock(path)
        # between mkdir and flock, a process that collects may take it for garbage, and remove it
        if held is not None:
            return held
        taken = True


def names(staging: str) -> list[str]:
    """What is being made, and what was left; nothing before the first use."""
    try:
        return os.listdir(staging)
    except FileNotFoundError:
        return []


def abandoned(staging: str) -> Iterator[Held]:
    """Directories whose maker is gone, now locked by this process: to be removed, then released."""
    for name in names(staging):
        held = lock(f"{staging}/{name}")
        if held is not None:
            yield held


def is_held(path: str, lock: int = fcntl.LOCK_SH) -> bool:
    """Whether it is locked. Only for one that has been: its maker's first lock must not fail on this one.

    Args:
        path: of a directory, or a file.
        lock: what cannot be had then; `fcntl.LOCK_EX` where it is held by several, each with `LOCK_SH`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def lock(path: str) -> Held | None:
    """Lock what is there already; None: somebody else has it, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # removed by another, between open and flock: the lock is on something without a name
        if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            return Held(path, descriptor)
    os.close(descriptor)
    return None


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """Nobody else is in here meanwhile; waits for whoever is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_directory(path: str) -> None:
    """Write the names in `path` to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@functools.cache
def boot() -> str:
    """The current boot of the machine: what is written in it is seen by all until it ends, synced or not."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return os.urandom(16).hex()  # of this process alone: others do without what it has not synced
