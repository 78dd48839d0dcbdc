"""The directory of a container, and its name.

    <root>/ephemeral/<id>/     one that goes with its command; locked by flock(2) while that lives. Most
                               have none: what they write goes to a directory of the launcher's
    <root>/containers/<id>/    one that stays
    .../<id>/image             a link that leads nowhere: the id of its image, which is not removed meanwhile
    <root>/names/<name>        a link to either: made exclusively, so a name is unique without a lock

The launcher inherits the lock and removes an ephemeral directory; what a killed one left is not locked, and
the next launcher's engine collects it.
"""

from __future__ import annotations

import contextlib
import os
import time

from pycontain.errors import NameInUse, StoreError
from pycontain.images import staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain._core import Launcher
    from pycontain.paths import Paths
    from pycontain.runtime.spec import Prepared


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


def record(directory: Directory, image: str, image_id: str, prepared: Prepared) -> None:
    """Write down what a container that stays was made of."""
    _write(f"{directory.path}/config.json", prepared.config)
    state: dict[str, object] = {
        "id": directory.id,
        "name": prepared.name,
        "image": image,
        "image_id": image_id,
        "args": prepared.args,
        "labels": dict(prepared.labels),
        "created": time.time(),
    }
    _write_state(directory, state)


def record_start(directory: Directory, pid: int) -> None:
    """Write down its first process, which lives no longer than the directory is locked."""
    _update_state(directory, {"started": time.time(), "pid": pid})


def record_end(directory: Directory, status: int, *, oom_killed: bool) -> None:
    """Write down how its command ended."""
    ended: dict[str, object] = {
        "finished": time.time(),
        "exit_code": status,
        "oom_killed": oom_killed,
        "pid": None,
    }
    _update_state(directory, ended)


def _update_state(directory: Directory, news: dict[str, object]) -> None:
    import json

    with open(f"{directory.path}/state.json", "rb") as file:
        state = json.load(file)
    _write_state(directory, state | news)


def _write_state(directory: Directory, state: dict[str, object]) -> None:
    import json

    _write(f"{directory.path}/state.json", json.dumps(state).encode())


def _write(path: str, content: bytes) -> None:
    """By a rename: whoever reads it finds the whole of it, or what was there before."""
    with open(path + ".new", "wb") as file:
        file.write(content)
    os.rename(path + ".new", path)


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


def take_name(paths: Paths, name: str, directory: Directory) -> None:
    """Make the container's name lead to it.

    Raises:
        NameInUse: it leads to another one.
    """
    os.makedirs(paths.names, exist_ok=True)
    target = os.path.relpath(directory.path, paths.names)
    link = f"{paths.names}/{name}"
    with contextlib.suppress(FileExistsError):
        os.symlink(target, link)
        return
    # a link to a container that is gone may be taken over, by one process at a time
    with staging.locked(paths.names):
        owner = os.path.basename(os.readlink(link)) if os.path.islink(link) else ""
        if owner and os.path.exists(link):
            raise NameInUse(
                f"the container name `{name}` is already in use by container `{owner}`",
                hint="choose another name, or wait for that container to end",
            )
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)
        with contextlib.suppress(FileExistsError):
            os.symlink(target, link)
            return
    raise NameInUse(f"the container name `{name}` is already in use")


def give_up_name(paths: Paths, name: str, directory: Directory) -> None:
    """The container is gone, and its name is free."""
    link = f"{paths.names}/{name}"
    with contextlib.suppress(OSError):
        if os.path.basename(os.readlink(link)) == directory.id:
            os.unlink(link)


def collect(paths: Paths, launcher: Launcher) -> None:
    """Remove the directories of ephemeral containers whose engine was killed."""
    for held in staging.abandoned(paths.ephemeral):
        launcher.remove_tree(held.path)
        held.release()
