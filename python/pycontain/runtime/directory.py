"""The directory of a container.

    <root>/ephemeral/<id>/     one that goes with its command; locked by flock(2) while that lives. Most
                               have none: what they write goes to a directory of the launcher's
    <root>/containers/<id>/    one that stays
    .../<id>/image             a link that leads nowhere: the id of its image, which is not removed meanwhile
    .../<id>/images/<n>        the same of others, whose files it mounts

The launcher inherits the lock and removes an ephemeral directory; what a killed one left is not locked, and
the next launcher's engine collects it.
"""

from __future__ import annotations

import contextlib
import os

from pycontain.errors import StoreError
from pycontain.images import staging
from pycontain.paths import unusable
from pycontain.runtime import shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pycontain._core import Launcher
    from pycontain.paths import Paths
    from pycontain.runtime.records import Record


class Directory:
    """A container's directory, held by this process until `close`."""

    __slots__ = ("_held", "id", "path")

    def __init__(self, id: str, held: staging.Held) -> None:
        self.id = id
        self.path = held.path
        self._held = held

    @property
    def lock(self) -> int:
        """The fd that holds the lock."""
        return self._held.descriptor

    def close(self) -> None:
        """Leave it to the launcher, which holds the lock as well."""
        self._held.release()


def make(path: str) -> Directory:
    """The directory of a new container, whose id is the last part of `path`."""
    parent, id = os.path.split(path)
    try:
        return Directory(id, staging.hold(parent, id))
    except OSError as error:
        raise unusable(f"a container's directory in `{parent}`", error) from error


def not_filled(error: OSError) -> StoreError:
    """What is told when something in the directory of a container, or a source of its mounts, is not made."""
    path = str(error.filename2 or error.filename)
    reason = (error.strerror or str(error)).lower()
    return StoreError(
        f"cannot make the container: cannot write `{path}`: {reason}", errno=error.errno, filename=path
    )


def fill(paths: Sequence[str], missing_sources: Sequence[str]) -> None:
    """Make the container's own directories, and those that `--volume` names and that do not exist."""
    for path in paths:
        os.mkdir(path, 0o755)
        if os.stat(path).st_mode & 0o7777 != 0o755:  # whatever the umask: other users live in there
            os.chmod(path, 0o755)  # noqa: S103
    for source in missing_sources:
        os.makedirs(source, exist_ok=True)


def remove(paths: Paths, directory: Directory, launcher: Launcher | None = None) -> None:
    """Take back a directory that nothing was started in; by the launcher where others may own files in it."""
    import shutil

    if launcher is not None:
        launcher.remove_tree(directory.path)
    elif os.path.exists(f"{paths.volumes}"):
        from pycontain.runtime import volumes

        volumes.let_go(paths, directory.path)
    shutil.rmtree(directory.path, ignore_errors=True)
    directory.close()


def record(directory: Directory, made: Record, config: bytes) -> Record:
    """Write down what a container that stays is; with this there is such a container.

    Returns:
        What is read of it from then on.
    """
    from pycontain.runtime import records

    records.write_file(f"{directory.path}/config.json", config)
    return records.write_record(directory.path, made)


def use_image(
    directory: Directory, image: str, hold: Callable[[str], int | None], link: str = "image"
) -> None:
    """Keep the image of this id from being removed, from now on and for as long as there is the directory.

    Two system calls: this is on the way of every start.
    """
    if not image.startswith("sha256:"):
        return
    os.symlink(image, f"{directory.path}/{link}")
    held = hold(image)  # after that: a removal excludes who would hold it, and then looks for such links
    if held is not None:
        os.close(held)


def use_images(directory: Directory, images: Sequence[str], hold: Callable[[str], int | None]) -> None:
    """The same for others, whose files it mounts."""
    if images:
        os.mkdir(f"{directory.path}/images", 0o700)
    for number, image in enumerate(images):
        use_image(directory, image, hold, f"images/{number}")


def images(directory: str) -> list[str]:
    """The ids of those others."""
    return [os.readlink(f"{directory}/images/{number}") for number in staging.names(f"{directory}/images")]


def users(paths: Paths) -> dict[str, list[str]]:
    """The ids of the containers that are, or are being, made from each image, by the image's id."""
    found: dict[str, list[str]] = {}
    for parent in (paths.containers, paths.ephemeral):
        for id in staging.names(parent):
            path = f"{parent}/{id}"
            with contextlib.suppress(OSError):
                used = {os.readlink(f"{path}/image"), *images(path)}
                stays = parent == paths.containers
                # asked again: it may have been finished since, and be held no more
                if (stays and _is_recorded(path)) or staging.is_held(path) or (stays and _is_recorded(path)):
                    for image in used:
                        found.setdefault(image, []).append(id)
    return found


def _is_recorded(path: str) -> bool:
    return os.path.exists(f"{path}/container.json")


def collect(paths: Paths, launcher: Launcher) -> None:
    """Remove what ended processes left: directories of containers, layers that nobody shares."""
    for held in staging.abandoned(paths.ephemeral):
        _give_up_name(paths, held)
        launcher.remove_tree(held.path)
        held.release()
    shared.collect(paths, launcher)


def _give_up_name(paths: Paths, held: staging.Held) -> None:
    """Of a container that stayed, until somebody began to remove it and was killed."""
    from pycontain.runtime import names, records

    with contextlib.suppress(FileNotFoundError, StoreError):
        names.give_up(paths, records.read_record(held.path).name, held.name)


def collect_unfinished(paths: Paths, launcher: Launcher) -> None:
    """Remove what is left of containers that were being made, or removed, by somebody who was killed."""
    from pycontain.runtime import names

    for id in staging.names(paths.containers):
        path = f"{paths.containers}/{id}"
        if _is_recorded(path) or (held := staging.lock(path)) is None:
            continue
        if not _is_recorded(path):
            launcher.remove_tree(path)
        held.release()
    names.collect(paths)
    shared.collect(paths, launcher)  # of a fork that was made, too
