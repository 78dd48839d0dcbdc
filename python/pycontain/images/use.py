"""When an image was last used: the time of a file that each start touches, as a start writes to no database.

    <root>/used/<image id>      its modification time

Not synced: after a loss of power an image may look older than it is.
"""

from __future__ import annotations

import contextlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pycontain.paths import Paths

__all__ = ["forget", "keep_only", "last_used", "note"]


def note(paths: Paths, image: str) -> None:
    """The image of this id is used now. Nothing fails for want of this note: the store may be read-only."""
    path = _path(paths, image)
    with contextlib.suppress(OSError):
        try:
            os.utime(path)
        except FileNotFoundError:
            os.makedirs(paths.used, mode=0o700, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def last_used(paths: Paths, image: str) -> float | None:
    """Seconds since the epoch; None: never."""
    try:
        return os.stat(_path(paths, image)).st_mtime
    except OSError:
        return None


def forget(paths: Paths, image: str) -> None:
    """The image is gone."""
    with contextlib.suppress(OSError):
        os.unlink(_path(paths, image))


def keep_only(paths: Paths, images: Iterable[str]) -> None:
    """Forget all others: a start that overlaps with a removal may note what is gone."""
    kept = {image.removeprefix("sha256:") for image in images}
    with contextlib.suppress(OSError):
        for name in os.listdir(paths.used):
            if name not in kept:
                forget(paths, name)


def _path(paths: Paths, image: str) -> str:
    return f"{paths.used}/{image.removeprefix('sha256:')}"
