"""The directory of a container.

    <root>/ephemeral/<id>/     one that goes with its command; locked by flock(2) while that lives. Most
                               have none: what they write goes to a directory of the launcher's
    <root>/containers/<id>/    one that stays
    .../<id>/image             a link that leads nowhere: the id of its image, which is not removed meanwhile

The launcher inherits the lock and removes an ephemeral directory; what a killed one left is not locked, and
the next launcher's engine collects it.
"""

from __future__ import annotations

import contextlib
import os

from pycontain.errors import StoreError
from pycontain.images import staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

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
        reason = (error.strerror or str(error)).lower()
        raise StoreError(
            f"cannot make a container's directory in `{parent}`: {reason}",
            errno=error.errno,
            filename=parent,
            hint="set PYCONTAIN_ROOT to a directory that you may write",
        ) from error


def fill(paths: Sequence[str], missing_sources: Sequence[str]) -> None:
    """Make the container's own directories, and those that `--volume` names and that do not exist."""
    for path in paths:
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)  # noqa: S103 - whatever the umask: other users live in there
    for source in missing_sources:
        os.makedirs(source, exist_ok=True)


def remove(directory: Directory) -> None:
    """Take back a directory that nothing was started in."""
    import shutil

    shutil.rmtree(directory.path, ignore_errors=True)
    directory.close()


def record(directory: Directory, made: Record, config: bytes) -> None:
    """Write down what a container that stays is; with this there is such a container."""
    from pycontain.runtime import records

    records.replace_file(f"{directory.path}/config.json", config)
    records.write_state(directory.path, records.State())
    records.write_record(directory.path, made)


def record_image(directory: Directory, image: str) -> None:
    """Note which image a container is made of, by one system call: this is on the way of every start."""
    os.symlink(image, f"{directory.path}/image")


def users(paths: Paths) -> dict[str, list[str]]:
    """The ids of the containers that are made from each image, by the image's id."""
    found: dict[str, list[str]] = {}
    for parent in (paths.containers, paths.ephemeral):
        for id in staging.names(parent):
            with contextlib.suppress(OSError):
                image = os.readlink(f"{parent}/{id}/image")
                if parent == paths.containers or staging.is_held(f"{parent}/{id}"):
                    found.setdefault(image, []).append(id)
    return found


def collect(paths: Paths, launcher: Launcher) -> None:
    """Remove the directories of ephemeral containers whose engine was killed."""
    for held in staging.abandoned(paths.ephemeral):
        launcher.remove_tree(held.path)
        held.release()


def collect_unfinished(paths: Paths, launcher: Launcher) -> None:
    """Remove what is left of containers that were being made, or removed, by somebody who was killed."""
    for id in staging.names(paths.containers):
        path = f"{paths.containers}/{id}"
        if os.path.exists(f"{path}/container.json") or (held := staging.lock(path)) is None:
            continue
        if not os.path.exists(f"{path}/container.json"):
            launcher.remove_tree(path)
        held.release()
