"""What an archive of a container says of it, and what of that is believed.

What it may do, and all else that options ask for, is made anew of its options, as if they were given again.
The rest is taken from where it was, when it is what it should be; of how it ended nothing but that.
"""

from __future__ import annotations

import contextlib
import datetime
import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pycontain.errors import ImageInvalid, PycontainError, Unsupported
from pycontain.runtime import mounts, recording, records, secrets, sizes, spec
from pycontain.runtime.command import NoImage
from pycontain.runtime.namespaces import container_name
from pycontain.runtime.ports import exposed
from pycontain.types import RootFilesystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pycontain.paths import Paths

__all__ = ["VERSION", "Archived", "Document", "Volume"]

VERSION = 1
# options that name files or variables of the machine it comes from; what they said is in the configuration
_OF_ITS_MACHINE = frozenset(
    (
        "cidfile configs env env_file label_file mounts name rootfs secrets volume_driver volumes "
        "volumes_from"
    ).split()
)
_USERS = ("io.pycontain.groups", "io.pycontain.user")
_FILES, _SECCOMP = "io.pycontain.files", "io.pycontain.seccomp"
_KINDS = ("bind", "tmpfs", "volume")  # of mounts that options ask for
_NOT_ASKED = "it mounts what no options ask for"
_NOWHERE = RootFilesystem(("/",))  # for a look at the rest
_LATEST = 253_402_300_799  # the last second of the year 9999
_MOST_MILLISECONDS = 10**15  # of what an option takes

_Path = Annotated[str, Meta(pattern=r"\A/[^\0]*\Z")]
_Moment = Annotated[str, Meta(pattern=r"\A[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}(\.[0-9]{1,9})?Z\Z")]
_Number = Annotated[int, Meta(ge=0, le=(1 << 32) - 2)]  # of a user or a group
_Milliseconds = Annotated[int, Meta(ge=0, le=_MOST_MILLISECONDS)]
_Interval = Annotated[int, Meta(ge=1, le=_MOST_MILLISECONDS)]


class Volume(msgspec.Struct, frozen=True):
    """A volume: whether it goes with the container, and as `volumes.VolumeRecord` has it."""

    name: Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}\Z")]
    own: bool
    labels: dict[str, str]
    options: dict[str, str]


class Document(msgspec.Struct, frozen=True):
    """What an archive begins with: `root` is where everything was, `layers` are all, the lowest first."""

    version: int
    root: str
    record: records.Record
    config: dict[str, Any]
    state: records.State
    layers: tuple[Annotated[str, Meta(pattern=r"\A[0-9a-f]{24}\Z")], ...]
    volumes: tuple[Volume, ...]


class _Health(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How it is asked how it is; see `lifecycle.health`."""

    test: Annotated[tuple[str, ...], Meta(min_length=2)]
    retries: Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
    interval: _Interval
    timeout: _Interval
    start_period: _Milliseconds
    start_interval: _Interval


class _Facts(msgspec.Struct, frozen=True):
    """What of a record is used without another look at it."""

    id: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    image_id: Annotated[str, Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
    created: Annotated[float, Meta(ge=0, le=_LATEST)]
    image: Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")] = ""
    stop_signal: Annotated[int, Meta(ge=1, le=64)] = 15
    stop_timeout: Annotated[float, Meta(ge=0, le=sizes.FOR_EVER)] | None = 10.0
    health: _Health | None = None


class _End(msgspec.Struct, frozen=True):
    """How it ended."""

    exit_code: Annotated[int, Meta(ge=0, le=255)] = 0
    started: _Moment | None = None
    finished: _Moment | None = None
    oom_killed: bool = False
    error: str = ""


class _User(msgspec.Struct, frozen=True, omit_defaults=True):
    uid: _Number
    gid: _Number
    additionalGids: tuple[_Number, ...] = ()  # noqa: N815 - the OCI's


class _Process(msgspec.Struct, frozen=True):
    """What of a process comes of its image, and of what its machine had."""

    user: _User
    env: tuple[str, ...]
    cwd: _Path


class _Mount(msgspec.Struct, frozen=True):
    destination: _Path
    type: str
    source: str
    options: tuple[str, ...] = ()


class _MemoryFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret or a config: see `runtime.secrets`."""

    type: Literal["config", "secret"]
    name: Annotated[str, Meta(pattern=r"\A[^/\x00-\x1f\x7f-\x9f]+\Z")]
    source: _Path | None
    env: Annotated[str, Meta(pattern=r"\A[^=\0]+\Z")] | None
    target: _Path
    uid: _Number
    gid: _Number
    mode: Annotated[int, Meta(ge=0, le=0o777)]


class _Config(msgspec.Struct, frozen=True):
    """What of a configuration is read; the rest of it is made anew."""

    process: _Process
    mounts: Annotated[tuple[_Mount, ...], Meta(min_length=1)]
    annotations: dict[str, str]


class _Image(NoImage):
    """What is left of its image's: the ports."""

    def __init__(self, exposed_ports: tuple[str, ...]) -> None:
        self.exposed_ports = exposed_ports


class Archived:
    """The container of an archive, as it is to be here.

    Args:
        content: of the archive's `container.json`.
        paths: where it is to be.

    Raises:
        ImageInvalid: it does not say what it should.
        InvalidOption: one of its options cannot be had on this machine.
        Unsupported: the archive is of another version.
    """

    def __init__(self, content: bytes, paths: Paths) -> None:
        with _believed():
            self._document = msgspec.json.decode(content, type=Document)
            if self._document.version != VERSION:
                raise Unsupported(
                    f"the archive is of version {self._document.version}", hint="a newer pycontain reads it"
                )
            self._root = paths.root
            self.record = _checked(self._document.record)
            _different(self._document.layers)
            self.layers = self._document.layers
            self.volumes = self._document.volumes
            _different(volume.name for volume in self.volumes)
            for volume in self.volumes:
                mounts.driver_options(volume.options)
            self.state = _end(self._document.state)
        self.path = f"{paths.containers}/{self.record.id}"
        self.complete(_NOWHERE, self.record.name)  # nothing is made of what is wrong

    def complete(self, root: RootFilesystem, name: str) -> tuple[bytes, records.Record]:
        """Its configuration and its record, when it is made of these files and is called so."""
        with _believed():
            options = {key: value for key, value in self.record.options.items() if key not in _OF_ITS_MACHINE}
            granted = spec.config(
                ("true",),
                _again(options),
                _Image(self.record.exposed),
                root,
                id=self.record.id,
                directory=self.path,
            )
            config = self._config(json.loads(granted.config))
            given = {key: value for key, value in self.record.options.items() if key != "cidfile"}
            return config, records.changed(
                self.record,
                name=name,
                hostname=granted.hostname,
                mounts=tuple(recording.mounts(config)),
                options=given | {"name": name},
                connected=None,  # what it was connected with since is its machine's
            )

    def _config(self, granted: dict[str, Any]) -> bytes:
        was = msgspec.convert(_mapped(self._document.config, self._moved), _Config)
        process = msgspec.to_builtins(was.process) | {"args": self.record.args}
        document = granted | {
            "process": granted["process"] | process,
            "mounts": [granted["mounts"][0], *self._mounts(was, granted)],
            "annotations": self._annotations(was.annotations, granted["annotations"]),
        }
        return json.dumps(document).encode()

    def _annotations(self, was: dict[str, str], granted: dict[str, str]) -> dict[str, str]:
        taken = [*_USERS]
        if any(map(_names_profile, self.record.options.get("security_opt", ()))):
            taken.append(_SECCOMP)  # a file of its machine, whose content is in the configuration
            json.loads(was[_SECCOMP])["defaultAction"]
        if secrets.ASKED in was:
            taken.append(secrets.ASKED)
            _memory_files(was[secrets.ASKED])
        files = {path: text for path, text in json.loads(granted[_FILES]).items() if path in _files(was)}
        return (
            {key: text for key, text in granted.items() if key not in taken}
            | {key: was[key] for key in taken if key in was}
            | {_FILES: json.dumps(files)}
        )

    def _mounts(self, was: _Config, granted: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The kernel's file systems as they are granted, and what else was mounted."""
        standard = {mount["destination"]: mount for mount in granted["mounts"]}
        volumes = {f"{self._root}/volumes/{volume.name}/_data" for volume in self.volumes}
        for mount in was.mounts[1:]:
            there = standard.get(mount.destination)
            if there is not None and (mount.type == there["type"] or mount.type not in _KINDS):
                yield there
            elif (
                mount.type == "bind"
                or (mount.type == "tmpfs" and mount.source in {"", "tmpfs"})
                or (mount.type == "volume" and mount.source in volumes)
            ):
                yield msgspec.to_builtins(mount)
            else:
                raise ValueError(_NOT_ASKED)

    def _moved(self, text: str) -> str:
        """A path of where it was, as it is here."""
        for place in (f"/containers/{self.record.id}", "/layers/", "/mount-points", "/volumes/"):
            text = text.replace(f"{self._document.root}{place}", f"{self._root}{place}")
        return text


@contextlib.contextmanager
def _believed() -> Iterator[None]:
    """Whatever is wrong with a stranger's document, it is told as one thing.

    Raises:
        ImageInvalid: it is.
    """
    try:
        yield
    except PycontainError:
        raise
    except (
        msgspec.MsgspecError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ImageInvalid(f"`container.json` is damaged: {str(error).lower()}") from error


def _checked(record: records.Record) -> records.Record:
    msgspec.convert(msgspec.to_builtins(record), _Facts)
    container_name(record.name)
    exposed(record.exposed)
    if not record.args:
        raise ValueError("it has no command")
    if record.health and record.health["test"][0] not in {"CMD", "CMD-SHELL"}:
        raise ValueError("its health check is none")
    return record


def _end(state: records.State) -> records.State:
    if state.status != "exited":
        return records.State()
    end = msgspec.convert(msgspec.to_builtins(state), _End)
    for moment in filter(None, (end.started, end.finished)):
        datetime.datetime.fromisoformat(moment)
    return records.State(status="exited", **msgspec.structs.asdict(end))


def _different(names: Iterable[str]) -> None:
    seen = list(names)
    if len(set(seen)) < len(seen):
        raise ValueError("it names one thing twice")


def _again(options: dict[str, Any]) -> dict[str, Any]:
    """Options that were written down, as they are given."""
    again = dict(options)
    limits = again.get("ulimits")
    if isinstance(limits, dict):  # JSON has no tuples
        again["ulimits"] = {
            name: tuple(pair) if isinstance(pair, list) else pair for name, pair in limits.items()
        }
    if "security_opt" in again:
        again["security_opt"] = [text for text in again["security_opt"] if not _names_profile(text)]
    return again


def _files(annotations: dict[str, str]) -> dict[str, str]:
    return msgspec.json.decode(annotations.get(_FILES, "{}"), type=dict[str, str])


def _memory_files(text: str) -> None:
    """That each has a source, and that none is where it should not be."""
    files = msgspec.json.decode(text, type=tuple[_MemoryFile, ...])
    _different(file.target for file in files)
    for file in files:
        secrets.check_target("secrets", file.target)
        if (file.source is None) == (file.env is None):
            raise ValueError("a secret has one source")


def _names_profile(text: str) -> bool:
    return text.startswith("seccomp=/")


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A document with all of its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(member, change) for key, member in value.items()}
    if isinstance(value, list):
        return [_mapped(member, change) for member in value]
    return value
