"""Layers that containers share since one of them was forked: what the original had written until then.

    <root>/shared/<id>/                  such a layer; nobody writes to it any more
    <root>/containers/<id>/below/<n>     a link to one: what the container writes lies on these, the highest
                                         n topmost, and these on its image

A container's `config.json` does not know of them: they are put into it when it is read. So a layer comes
below a container by one system call, and nothing is ever half way.

A link is made by who holds the layer locked for others to see (LOCK_SH), and one that no link leads to is
removed by who holds it alone: then nobody can be about to make a link.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os

from pycontain.errors import StoreError
from pycontain.images import staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from pycontain._core import Launcher
    from pycontain.paths import Paths

__all__ = ["collect", "layers", "move_below", "put_below", "with_layers", "with_upper", "written"]

_BELOW = "below"
_MOST = 100  # below one container
_MOST_LOWER = 500  # that overlayfs takes (fs/overlayfs/params.h), those of the image among them
_LOWER = "lowerdir+="


def layers(directory: str) -> tuple[str, ...]:
    """The paths of those below what the container of this directory writes, topmost first."""
    below = f"{directory}/{_BELOW}"
    return tuple(
        os.path.normpath(f"{below}/{os.readlink(f'{below}/{name}')}")
        for name in sorted(staging.names(below), reverse=True)
    )


def with_layers(config: bytes, directory: str) -> bytes:
    """A `config.json` with these layers in it."""
    below = layers(directory)
    return _stacked(json.loads(config), directory, f"{directory}/upper", below) if below else config


def written(config: bytes, directory: str) -> list[bytes]:
    """The `config.json`s of which the container's writable layer is what it wrote, and each of these layers.

    The topmost first. One has below it what comes after it.
    """
    stack = [f"{directory}/upper", *layers(directory)]
    return [
        _stacked(json.loads(config), directory, top, stack[number + 1 :]) for number, top in enumerate(stack)
    ]


def with_upper(config: bytes, directory: str, upper: str) -> bytes:
    """A `config.json` with another directory for what the container writes, right on its image."""
    return _stacked(json.loads(config), directory, upper, ())


def move_below(paths: Paths, config: bytes, directory: str) -> None:
    """Make a shared layer of what the stopped container of this directory wrote, and give it an empty one.

    Not a file of it is touched. Nothing is done when there are many already, or when nothing was written. By
    who holds the lock on the directory.

    Raises:
        OSError: the file system cannot exchange directories, or somebody else owns these.
    """
    from pycontain._core import exchange

    upper = f"{directory}/upper"
    mounts = _places(json.loads(config), upper)
    places = sorted(mounts, reverse=True)
    room = _MOST_LOWER - max(map(_lower_directories, mounts.values()))
    if len(layers(directory)) >= min(_MOST, room) or _is_empty(upper, places):
        return
    held = staging.hold(paths.shared)  # an empty one, until the exchange
    try:
        for place in places:
            os.makedirs(f"{held.path}{place}", exist_ok=True)
            _make_like(f"{held.path}{place}", f"{upper}{place}")
        link = _link(directory, held.path)
        try:
            exchange(held.path, upper)
        except OSError:
            os.unlink(link)
            raise
    finally:
        held.release()


@contextlib.contextmanager
def put_below(directory: str, layer: str) -> Iterator[None]:
    """Put a layer below what the new container of this directory writes, above those that are there.

    Nobody removes it for the block, although the directory may not be that of a container yet.

    Raises:
        StoreError: it is gone, with the container that had it.
    """
    with _kept(layer):
        _link(directory, layer)
        yield


def collect(paths: Paths, launcher: Launcher) -> None:
    """Remove those that no container has any more."""
    for held in staging.abandoned(paths.shared):
        try:
            if held.path not in _used(paths):
                launcher.remove_tree(held.path)
        finally:
            held.release()


def _used(paths: Paths) -> set[str]:
    return {path for id in staging.names(paths.containers) for path in _links(f"{paths.containers}/{id}")}


def _links(directory: str) -> tuple[str, ...]:
    with contextlib.suppress(FileNotFoundError):  # the container goes at this moment
        return layers(directory)
    return ()


def _link(directory: str, layer: str) -> str:
    below = f"{directory}/{_BELOW}"
    os.makedirs(below, mode=0o700, exist_ok=True)
    number = max(map(int, os.listdir(below)), default=0) + 1
    link = f"{below}/{number:03}"
    os.symlink(os.path.relpath(layer, below), link)
    return link


@contextlib.contextmanager
def _kept(path: str) -> Iterator[None]:
    """Nobody removes the layer meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StoreError(f"layer `{path}` is gone, with the container that had it", filename=path) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not os.path.isdir(path):
            raise StoreError(f"layer `{path}` is gone, with the container that had it", filename=path)
        yield
    finally:
        os.close(descriptor)


def _make_like(directory: str, other: str) -> None:
    """Owner, mode and times: what is seen of the topmost of several directories that lie on each other."""
    status = os.stat(other)
    os.chown(directory, status.st_uid, status.st_gid)
    os.chmod(directory, status.st_mode & 0o7777)
    os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))


def _is_empty(upper: str, places: Sequence[str]) -> bool:
    """Whether there is nothing but the directories where further overlays write."""
    return all(
        any(f"{other}/".startswith(f"{place}/{name}/") for other in places)
        for place in places
        for name in os.listdir(f"{upper}{place}")
    )


def _stacked(document: dict[str, Any], directory: str, top: str, below: Sequence[str]) -> bytes:
    """With `top` for its writable layer, and `below` on top of its image's layers."""
    for place, mount in _places(document, f"{directory}/upper").items():
        options = mount["options"]
        first = next(number for number, option in enumerate(options) if option.startswith(_LOWER))
        stacked = [*options[:first], *(f"{_LOWER}{layer}{place}" for layer in below), *options[first:]]
        stacked[stacked.index(f"upperdir={directory}/upper{place}")] = f"upperdir={top}{place}"
        mount["options"] = stacked
    return json.dumps(document).encode()


def _lower_directories(mount: dict[str, Any]) -> int:
    return sum(option.startswith(_LOWER) for option in mount["options"])


def _places(document: dict[str, Any], upper: str) -> dict[str, dict[str, Any]]:
    """The overlays that write to a part of `upper`: `` for the root, `/usr` of the image `host`."""
    return {
        option.removeprefix(f"upperdir={upper}"): mount
        for mount in document["mounts"]
        for option in mount.get("options", ())
        if mount["type"] == "overlay" and f"{option}/".startswith(f"upperdir={upper}/")
    }
