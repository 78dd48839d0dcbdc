"""Volumes as tars."""

from __future__ import annotations

import contextlib
import os

from pycontain.containers.target import writing
from pycontain.errors import Conflict, InvalidOption, StillInUse
from pycontain.images import committing, staging
from pycontain.images.entries import piped
from pycontain.runtime import volumes as store
from pycontain.runtime.command import NoImage
from pycontain.runtime.directory import fill
from pycontain.runtime.sizes import check_file
from pycontain.runtime.spec import config
from pycontain.types import RootFilesystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from pycontain._core import Launcher
    from pycontain.paths import Paths

__all__ = ["export", "import_", "own_directory"]


def export(found: store.Found, launcher: Launcher, target: str | os.PathLike[str] | IO[bytes]) -> None:
    """See `Volume.export`."""
    root = RootFilesystem((own_directory(found),))
    # as the files of a container that has nothing else
    container = config(("true",), {}, NoImage(), root, id="0" * 64, directory="/", scratch="/")
    latest = committing.source_date_epoch()
    with writing(target) as descriptor:
        launcher.export(container.config, descriptor, latest=latest)


def own_directory(found: store.Found) -> str:
    """The directory of its files.

    Raises:
        InvalidOption: its driver mounts something else in place of that.
    """
    device = found.record.options.get("device")
    if device is None:
        return found.mountpoint
    raise InvalidOption(
        f"the files of volume `{found.name}` are those of `{device}`, which only containers have mounted",
        hint="a container that has it mounted can write them as a tar",
    )


def import_(
    paths: Paths, found: store.Found, launcher: Launcher, source: str | os.PathLike[str] | IO[bytes]
) -> None:
    """See `Volume.import_`."""
    from pycontain._core import exchange

    own_directory(found)
    _check_unused(paths, found)
    use = store.VolumeUse(found.name, found.record.labels, found.record.options, anonymous=False)
    with store.making(paths, use) as made:
        fill([f"{made}/_data"], ())
        try:
            with _reading(source) as descriptor:
                launcher.unpack(descriptor, f"{made}/_data", whiteouts=False)
            _check_unused(paths, found)
            exchange(made, found.path)
            for id in staging.names(f"{made}/users"):  # who began to use it since that look
                os.rename(f"{made}/users/{id}", f"{found.path}/users/{id}")
        finally:
            launcher.remove_tree(made)


def _check_unused(paths: Paths, found: store.Found) -> None:
    users = store.users(paths, found.name)
    if users:
        raise StillInUse(f"volume `{found.name}` is in use by container {', '.join(id[:12] for id in users)}")
    if not _is_empty(found.mountpoint):
        raise Conflict(
            f"there are files in volume `{found.name}`", hint="import them to another one, or remove this one"
        )


def _is_empty(directory: str) -> bool:
    if os.stat(directory).st_mode & 0o7777 == store.FRESH:
        return True
    try:
        return not os.listdir(directory)
    except PermissionError:  # an ordinary user's, that one of its containers' users owns: it was used
        return False


@contextlib.contextmanager
def _reading(source: str | os.PathLike[str] | IO[bytes]) -> Iterator[int]:
    check_file("source", source, "read")
    if not isinstance(source, str | os.PathLike):
        with piped(source) as descriptor:
            yield descriptor
        return
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidOption(f"cannot read `{os.fspath(source)}`: {reason}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
