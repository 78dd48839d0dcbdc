"""Volumes: files that containers share, and that outlive them.

    <root>/volumes/<name>/_data           the files
    <root>/volumes/<name>/volume.json     what it is
    <root>/volumes/<name>/users/<id>      a link that leads nowhere, for each container that uses it
    <container>/volumes/<name>            a link to each that the container uses
    <container>/own-volumes/<name>        the same, of those without a name, which go with it
    <container>/staying-volumes/<name>    those, once it is being removed and they are to stay

A volume appears by a rename. Who removes it takes `users` away, which the kernel does only while nothing is
in there; from then on nobody can enter a new user. All that without a lock that a start would wait for: only
who removes a volume, or goes on with a removal that was cut off, holds one, on the volume's directory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from typing import Any

import msgspec

from pycontain.errors import Conflict, InvalidOption, StillInUse, StoreError, Unsupported, VolumeNotFound
from pycontain.images import staging
from pycontain.runtime import events, records
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pycontain._core import Launcher
    from pycontain.paths import Paths

__all__ = [
    "ANONYMOUS",
    "FRESH",
    "Found",
    "VolumeRecord",
    "VolumeUse",
    "all_of",
    "appear",
    "check_driver",
    "check_name",
    "collect",
    "exists",
    "filled",
    "find",
    "keep_own",
    "let_go",
    "link",
    "make",
    "making",
    "of_container",
    "plain",
    "remove",
    "use",
    "users",
]

ANONYMOUS = "com.docker.volume.anonymous"  # the label of those without a name
FRESH = 0o3000  # the mode of one that nothing was copied to yet; rust/runtime/src/file_tree.rs knows it, too
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")
_LINKS = ("volumes", "own-volumes", "staying-volumes")


class VolumeRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a volume is: when it was made (seconds since the epoch), labels, the options of its driver."""

    created: float
    labels: dict[str, str] = {}
    options: dict[str, str] = {}


class VolumeUse(Value):
    """A volume that a container is to have.

    Attributes:
        name: its name.
        labels, options: if it is not there yet.
        anonymous: it goes with the container.
    """

    __slots__ = ("name", "labels", "options", "anonymous")  # noqa: RUF023 - the constructor's order
    name: str
    labels: Mapping[str, str]
    options: Mapping[str, str]
    anonymous: bool

    def __init__(
        self, name: str, labels: Mapping[str, str], options: Mapping[str, str], anonymous: bool
    ) -> None:
        self._set(name=name, labels=labels, options=options, anonymous=anonymous)


class Found(Value):
    """A volume that is there: its name, its directory, what it is."""

    __slots__ = ("name", "path", "record")
    name: str
    path: str
    record: VolumeRecord

    def __init__(self, name: str, path: str, record: VolumeRecord) -> None:
        self._set(name=name, path=path, record=record)

    @property
    def mountpoint(self) -> str:
        """The directory of its files."""
        return f"{self.path}/_data"


_decode = msgspec.json.Decoder(VolumeRecord).decode
_encode = msgspec.json.Encoder().encode


def check_name(name: object) -> str:
    """The name of a volume.

    Raises:
        InvalidOption: it is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidOption(
            f"`{name}` is no name of a volume: it takes two to 255 of a-z, A-Z, 0-9, `_`, `.` and `-`, "
            "the first a letter or a digit",
            hint="a directory of the host is given by a path that begins with /",
        )
    return name


def check_driver(driver: str) -> None:
    """Whether there is such a driver.

    Raises:
        Unsupported: there is not.
    """
    if driver not in {"", "local"}:
        raise Unsupported(f"there is no volume driver `{driver}`", hint="the only one is `local`")


def make(paths: Paths, use: VolumeUse, user: str | None = None) -> bool:
    """Make a volume, unless it is there; `user`: the container that has it from the beginning.

    Raises:
        StoreError: it cannot be written, as on a full disk.
    """
    with making(paths, use) as made:
        os.mkdir(f"{made}/_data")
        os.chmod(f"{made}/_data", FRESH)
        if user is not None:
            os.symlink(user, f"{made}/users/{user}")
        return _appears(paths, made, use.name)


@contextlib.contextmanager
def filled(paths: Paths, use: VolumeUse, user: str, launcher: Launcher) -> Iterator[str]:
    """An empty directory that the block fills; then it is that of a new volume, which this container uses.

    Raises:
        Conflict: a volume of this name is there.
    """
    with making(paths, use) as made:
        try:
            os.mkdir(f"{made}/_data", 0o755)
            yield f"{made}/_data"
            os.symlink(user, f"{made}/users/{user}")
            if not _appears(paths, made, use.name):
                raise Conflict(
                    f"volume `{use.name}` is here already", hint="remove it: `pycontain volume rm`"
                )
        except BaseException:
            launcher.remove_tree(f"{made}/_data")  # others may own files in it
            raise


@contextlib.contextmanager
def making(paths: Paths, use: VolumeUse) -> Iterator[str]:
    """The directory of a volume in the making, still without its files; what has not moved away goes."""
    held = staging.hold(paths.ephemeral, f"volume-{os.urandom(12).hex()}")
    try:
        os.mkdir(f"{held.path}/users", 0o700)
        record = VolumeRecord(time.time(), dict(use.labels), dict(use.options))
        records.replace_file(f"{held.path}/volume.json", _encode(record))
        yield held.path
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        reason = (error.strerror or str(error)).lower()
        raise StoreError(f"cannot make volume `{use.name}`: {reason}", errno=error.errno) from error
    finally:
        if os.path.exists(held.path):
            import shutil

            shutil.rmtree(held.path, ignore_errors=True)
        held.release()


def appear(paths: Paths, made: str, name: str) -> None:
    """The volume that was made takes its place, in exchange for one that is there."""
    from pycontain._core import exchange

    if not _appears(paths, made, name):
        exchange(made, f"{paths.volumes}/{name}")


def _appears(paths: Paths, made: str, name: str) -> bool:
    while True:
        try:
            os.rename(made, f"{paths.volumes}/{name}")
        except FileNotFoundError:
            if os.path.isdir(paths.volumes):
                raise
            os.makedirs(paths.volumes, mode=0o700, exist_ok=True)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            if exists(paths, name):
                return False
            _finish_removal(paths, name)
        else:
            _tell(paths, "create", name)
            return True


def link(directory: str, one: VolumeUse) -> None:
    """The container of this directory is to use a volume, which may not be there yet.

    So it goes with what is left of a container whose maker was killed.
    """
    links = f"{directory}/{'own-volumes' if one.anonymous else 'volumes'}"
    os.makedirs(links, mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # it is mounted at several places
        os.symlink(f"../../../volumes/{one.name}", f"{links}/{one.name}")


def use(paths: Paths, directory: str, wanted: Iterable[VolumeUse]) -> None:
    """The container of this directory, locked by its maker, uses these volumes; the missing ones are made."""
    id = os.path.basename(directory)
    for one in wanted:
        link(directory, one)
        while True:
            with contextlib.suppress(FileExistsError):
                try:
                    os.symlink(id, f"{paths.volumes}/{one.name}/users/{id}")
                except FileNotFoundError:
                    if not make(paths, one, id):
                        continue  # somebody else did
            break


def of_container(directory: str) -> dict[str, bool]:
    """The names of the volumes that the container of this directory uses, and whether they go with it."""
    return {name: links != "volumes" for links in _LINKS for name in staging.names(f"{directory}/{links}")}


def let_go(paths: Paths, directory: str) -> None:
    """The container of this directory, in which nothing was started, uses its volumes no more.

    As the launcher does it for those that were (rust/runtime/src/volumes.rs).
    """
    for name, own in of_container(directory).items():
        path = f"{paths.volumes}/{name}"
        with contextlib.suppress(OSError):
            os.unlink(f"{path}/users/{os.path.basename(directory)}")
        if own:
            with contextlib.suppress(OSError), _alone(path) as is_it:
                if is_it:
                    import shutil

                    os.rmdir(f"{path}/users")
                    away = _set_aside(paths, path)
                    _tell(paths, "destroy", name)
                    shutil.rmtree(away, ignore_errors=True)


def keep_own(directory: str) -> None:
    """What would go with the container of this directory stays; by who is about to remove that."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(f"{directory}/own-volumes", f"{directory}/staying-volumes")


def find(paths: Paths, name: str) -> Found:
    """The volume of this name.

    Raises:
        VolumeNotFound: there is none.
    """
    path = f"{paths.volumes}/{name}"
    if isinstance(name, str) and _NAME.fullmatch(name) and os.path.exists(f"{path}/users"):
        with contextlib.suppress(FileNotFoundError):
            return Found(name, path, _read(path))
    raise VolumeNotFound(f"no such volume: `{name}`", hint="`pycontain volume ls` lists those that there are")


def _read(path: str) -> VolumeRecord:
    with open(f"{path}/volume.json", "rb") as file:
        content = file.read()
    try:
        return _decode(content)
    except msgspec.MsgspecError as error:
        raise StoreError(f"`{path}/volume.json` is damaged: {str(error).lower()}", filename=path) from error


def exists(paths: Paths, name: str) -> bool:
    """Whether there is such a volume."""
    return os.path.exists(f"{paths.volumes}/{name}/users")


def all_of(paths: Paths) -> Iterator[Found]:
    """Every volume, by name."""
    for name in sorted(staging.names(paths.volumes)):
        with contextlib.suppress(VolumeNotFound):
            yield find(paths, name)


def users(paths: Paths, name: str) -> list[str]:
    """The ids of the containers that use it."""
    return [id for id in staging.names(f"{paths.volumes}/{name}/users") if _is_there(paths, id)]


def _is_there(paths: Paths, id: str) -> bool:
    """In this order: a removal moves it from the first place to the second."""
    if os.path.exists(f"{paths.containers}/{id}/container.json"):
        return True
    return any(staging.is_held(f"{parent}/{id}") for parent in (paths.containers, paths.ephemeral))


def remove(paths: Paths, name: str, launcher: Launcher) -> None:
    """Remove a volume that no container uses.

    Raises:
        StillInUse: one does.
        VolumeNotFound: there is none.
    """
    found = find(paths, name)
    with _alone(found.path) as is_it:
        if not is_it:
            raise VolumeNotFound(f"no such volume: `{name}`")
        for id in staging.names(f"{found.path}/users"):
            if not _is_there(paths, id):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{found.path}/users/{id}")
        try:
            with contextlib.suppress(FileNotFoundError):  # a removal that was cut off
                os.rmdir(f"{found.path}/users")
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            ids = ", ".join(sorted(users(paths, name)))
            raise StillInUse(
                f"cannot remove volume `{name}`: volume is in use - [{ids}]",
                hint="it can be removed when its containers are gone",
            ) from None
        away = _set_aside(paths, found.path)
        _tell(paths, "destroy", name)
        launcher.remove_tree(away)


def _finish_removal(paths: Paths, name: str) -> None:
    """Out of the way with one whose removal was cut off; its files go with the next collection."""
    path = f"{paths.volumes}/{name}"
    with _alone(path) as is_it:
        if is_it and not os.path.exists(f"{path}/users"):
            _set_aside(paths, path)


def _set_aside(paths: Paths, path: str) -> str:
    away = f"{paths.ephemeral}/volume-{os.urandom(12).hex()}"
    os.makedirs(paths.ephemeral, mode=0o700, exist_ok=True)
    os.rename(path, away)
    return away


@contextlib.contextmanager
def _alone(path: str) -> Iterator[bool]:
    """Whether there is such a volume, that for the block nobody else removes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # removed by another, between open and flock: the lock is on something without a name
        yield os.path.exists(path) and os.path.samestat(os.fstat(descriptor), os.stat(path))
    finally:
        os.close(descriptor)


def collect(paths: Paths) -> None:
    """Go on with removals that were cut off: what they left is set aside, for the next engine to remove."""
    for name in staging.names(paths.volumes):
        if not os.path.exists(f"{paths.volumes}/{name}/users"):
            _finish_removal(paths, name)


def _tell(paths: Paths, action: str, name: str) -> None:
    events.write(paths, events.Event("volume", action, name, {"driver": "local"}, time.time_ns()))


def plain(values: Mapping[str, Any]) -> dict[str, str]:
    """Labels and options as they are written down."""
    return {str(key): str(value) for key, value in values.items()}
