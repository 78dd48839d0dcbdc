"""Whether an image is used, and when it was last: a file that each start touches; it writes to no database.

    <root>/used/<image id>      its modification time; locked while a container runs that has no
                                directory of its own to say what it is made of. Not empty: whoever
                                locked it has found the image there

Not synced: after a loss of power an image may look older than it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from pycontain.images.staging import is_held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pycontain.paths import Paths

__all__ = ["confirm", "doubt", "exclude", "forget", "held", "hold", "keep_only", "last_used", "note"]


def note(paths: Paths, image: str) -> None:
    """The image of this id is used now. Nothing fails for want of this note: the store may be read-only."""
    with contextlib.suppress(OSError):
        descriptor = _open(paths, image)
        os.utime(descriptor)
        os.close(descriptor)


def hold(paths: Paths, image: str) -> tuple[int | None, bool]:
    """The same, for as long as the fd is open anywhere; None where it cannot be noted.

    Returns:
        The fd, and whether the image is certainly there: somebody found it there while they held it, and
        nobody has set about removing it since.
    """
    while True:
        try:
            descriptor = _open(paths, image)
        except OSError:
            return None, False
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        file = os.fstat(descriptor)
        if file.st_nlink > 0:
            os.utime(descriptor)
            return descriptor, file.st_size > 0
        os.close(descriptor)  # removed between open and flock: whoever removes next looks at another file


def confirm(descriptor: int) -> None:
    """The image that is held by this fd is there: whoever holds it next need not look."""
    with contextlib.suppress(OSError):
        os.pwrite(descriptor, b"\n", 0)


def exclude(paths: Paths, image: str) -> int | None:
    """While the fd is open nobody holds the image; whoever begins to, waits. None: somebody does."""
    for pause in (0.001, 0.004, None):  # whoever asks whether it is held, has it for a moment
        descriptor = _open(paths, image)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink > 0:
                return descriptor  # else removed between open and flock: what others lock is another file
        except BlockingIOError:
            pass
        os.close(descriptor)
        if pause is not None:
            time.sleep(pause)
    return None


def doubt(descriptor: int) -> None:
    """The image that is excluded by this fd is about to go: whoever holds it next has to look."""
    os.ftruncate(descriptor, 0)


def held(paths: Paths) -> Iterator[str]:
    """The ids of the images that anybody holds."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(paths.used):
            if is_held(f"{paths.used}/{name}", fcntl.LOCK_EX):
                yield f"sha256:{name}"


def _open(paths: Paths, image: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(_path(paths, image), flags, 0o600)
    except FileNotFoundError:
        os.makedirs(paths.used, mode=0o700, exist_ok=True)
        return os.open(_path(paths, image), flags, 0o600)


def last_used(paths: Paths, image: str) -> float | None:
    """Seconds since the epoch; None: never."""
    try:
        return os.stat(_path(paths, image)).st_mtime
    except OSError:
        return None


def forget(paths: Paths, image: str) -> None:
    """The image is gone; the caller excludes everybody else."""
    with contextlib.suppress(OSError):
        os.unlink(_path(paths, image))


def keep_only(paths: Paths, images: Iterable[str]) -> None:
    """Forget all others: a start that overlaps with a removal may note what is gone."""
    kept = {image.removeprefix("sha256:") for image in images}
    with contextlib.suppress(OSError):
        for name in os.listdir(paths.used):
            if name not in kept and (descriptor := exclude(paths, name)) is not None:
                forget(paths, name)
                os.close(descriptor)


def _path(paths: Paths, image: str) -> str:
    return f"{paths.used}/{image.removeprefix('sha256:')}"
