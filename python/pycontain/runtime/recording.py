"""Out of what was asked for, what is written down of a container that stays."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

from pycontain.runtime import command, lifecycle
from pycontain.runtime.records import MountRecord, Record
from pycontain.types import MemoryFile, Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pycontain.images import StartImage
    from pycontain.runtime.spec import Prepared

__all__ = ["mounts", "record_of"]

# of the host with `ipc=host`, and in nobody's list of mounts
_OF_IPC = {"/dev/mqueue", "/dev/shm"}  # noqa: S108 - no file is made there


class _Mount(msgspec.Struct):
    destination: str
    type: str
    source: str
    options: tuple[str, ...] = ()


class _Namespace(msgspec.Struct):
    type: str


class _Linux(msgspec.Struct):
    namespaces: tuple[_Namespace, ...]


class _Document(msgspec.Struct):
    """What is looked at of a `config.json`."""

    mounts: tuple[_Mount, ...]
    linux: _Linux


_documents = msgspec.json.Decoder(_Document)


def record_of(
    id: str,
    name: str,
    image: str,
    start: StartImage,
    prepared: Prepared,
    options: Mapping[str, Any],
    *,
    attached: bool,
) -> Record:
    """The record of a container that is made now."""
    entrypoint = _entrypoint(options, start.config)
    plain = {key: _plain(value) for key, value in options.items() if value is not None}
    if endless := prepared.stop_timeout == float("inf"):
        plain["stop_timeout"] = -1  # JSON has no infinity
    return Record(
        id=id,
        name=name,
        created=time.time(),
        image=image,
        image_id=start.id,
        entrypoint=entrypoint,
        command=tuple(prepared.args)[len(entrypoint) :],
        hostname=prepared.hostname,
        labels={**start.config.labels, **prepared.labels},
        mounts=tuple(mounts(prepared.config)),
        exposed=_exposed(options, start.config),
        stop_signal=prepared.stop_signal,
        stop_timeout=None if endless else prepared.stop_timeout,
        stdin_once=attached and bool(options.get("stdin")),
        health=lifecycle.health(options, getattr(start.config, "healthcheck", None)),
        shell=tuple(getattr(start.config, "shell", ())),
        options=plain,
    )


def _entrypoint(options: Mapping[str, Any], image: command.ImageConfig) -> tuple[str, ...]:
    if options.get("entrypoint") is None:
        return tuple(image.entrypoint)
    words = command.words("entrypoint", options["entrypoint"])
    return () if words == [""] else tuple(words)


def _exposed(options: Mapping[str, Any], image: command.ImageConfig) -> tuple[str, ...]:
    """Its ports that serve, as docker has them: those of its image, and those that options name."""
    if not image.exposed_ports and not options.get("expose") and not options.get("ports"):
        return ()
    from pycontain.runtime.ports import exposed, published

    found = [*exposed(image.exposed_ports), *exposed(options.get("expose") or ())]
    found += [(port.container, port.protocol) for port in published(options.get("ports") or ())]
    return tuple(f"{number}/{protocol}" for number, protocol in sorted(set(found)))


def mounts(config: bytes) -> Iterator[MountRecord]:
    """What a configuration mounts that was asked for."""
    # one overlay is the root
    if b'"bind"' not in config and b'"volume"' not in config and config.count(b'"overlay"') < 2:
        return
    document = _documents.decode(config)
    spaces = {space.type for space in document.linux.namespaces}
    for mount in document.mounts:
        target, options = mount.destination, mount.options
        of_ipc = "ipc" not in spaces and mount.source == target and target in _OF_IPC
        if mount.type == "bind" and target != "/" and not of_ipc:
            yield MountRecord("bind", mount.source, target, options)
        elif mount.type == "volume":
            own = [word for word in options if word == "ro" or word.startswith("subpath=")]
            name = os.path.basename(os.path.dirname(mount.source))
            yield MountRecord("volume", mount.source, target, tuple(own), name, "anonymous" in options)
        elif mount.type == "overlay" and "ro" in options:
            yield MountRecord("image", mount.source, target, ("ro",))


def _plain(value: Any) -> Any:
    """As JSON can say it."""
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, Mount):
        return {"type": value.type, "source": value.source, "target": value.target, "options": value.options}
    if isinstance(value, MemoryFile):
        return dict(zip(value.__slots__, value._fields(), strict=True))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    if hasattr(value, "items"):
        return {str(key): _plain(member) for key, member in value.items()}
    return [_plain(member) for member in value]
