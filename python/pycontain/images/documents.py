"""The documents images are made of, decoded strictly: OCI's and docker's.

Only what brings an image in imports this: the start of a container reads what was checked here before.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from pycontain.errors import ImageInvalid
from pycontain.images.blobs import MOST_LAYERS
from pycontain.images.reference import is_digest

__all__ = [
    "ArchivedImage",
    "Configuration",
    "Descriptor",
    "Index",
    "Layout",
    "Manifest",
    "Platform",
    "configuration",
    "decode",
    "diff_ids",
    "kind_of",
]

T = TypeVar("T")

INDEX_TYPES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
MANIFEST_TYPES = frozenset(
    {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    }
)
CONFIG_TYPES = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    }
)
LAYER_TYPES = frozenset(
    {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
    }
)


class Platform(msgspec.Struct, frozen=True):
    """What an index says of one of its manifests."""

    architecture: str = ""
    os: str = ""
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """A document or layer, by its digest."""

    digest: str
    size: int
    media_type: str = ""
    platform: Platform | None = None
    annotations: dict[str, str] = {}

    def __post_init__(self) -> None:
        if not is_digest(self.digest):
            raise ValueError(f"`{self.digest[:100]}` is not a sha256 digest")
        if self.size < 0:
            raise ValueError(f"size {self.size} is negative")


class Index(msgspec.Struct, frozen=True, rename="camel"):
    """An OCI index or docker's manifest list."""

    manifests: tuple[Descriptor, ...]
    schema_version: int = 2
    media_type: str = ""


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """An OCI or docker image manifest."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    schema_version: int = 2
    media_type: str = ""


class Layout(msgspec.Struct, frozen=True):
    """The file `oci-layout`."""

    version: str = msgspec.field(name="imageLayoutVersion")


class ArchivedImage(msgspec.Struct, frozen=True):
    """One entry of docker's `manifest.json`."""

    config: str = msgspec.field(name="Config")
    layers: tuple[str, ...] = msgspec.field(name="Layers", default=())
    tags: tuple[str, ...] = msgspec.field(name="RepoTags", default=())
    layer_sources: dict[str, Descriptor] = msgspec.field(name="LayerSources", default_factory=dict)


class _Healthcheck(msgspec.Struct, frozen=True, rename="pascal"):
    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class _Defaults(msgspec.Struct, frozen=True, rename="pascal"):
    env: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    volumes: dict[str, object] = {}
    stop_signal: str = ""
    labels: dict[str, str] = {}
    exposed_ports: dict[str, object] = {}
    healthcheck: _Healthcheck | None = None
    shell: tuple[str, ...] = ()


class _History(msgspec.Struct, frozen=True):
    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class _RootFilesystem(msgspec.Struct, frozen=True):
    diff_ids: tuple[str, ...] = ()
    type: str = "layers"


class Configuration(msgspec.Struct, frozen=True):
    """The document whose digest is an image's id."""

    rootfs: _RootFilesystem
    architecture: str = ""
    os: str = ""
    variant: str = ""
    created: str = ""
    config: _Defaults = _Defaults()
    history: tuple[_History, ...] = ()

    def __post_init__(self) -> None:
        if self.rootfs.type != "layers":
            raise ValueError(f"root file system is of type `{self.rootfs.type[:100]}`, not `layers`")
        for diff_id in self.rootfs.diff_ids:
            if not is_digest(diff_id):
                raise ValueError(f"diff id `{diff_id[:100]}` is not a sha256 digest")


def decode(data: bytes, as_type: type[T], entry: str) -> T:
    """The document in `data`; a member that is null counts as absent, as in Go.

    Raises:
        ImageInvalid: it is no such document; names `entry` and the member.
    """
    try:
        return msgspec.convert(_without_nulls(msgspec.json.decode(data)), as_type)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ImageInvalid(f"`{entry}` is not valid: {error}") from error


def configuration(data: bytes, entry: str) -> Configuration:
    """The image configuration in `data`.

    Raises:
        ImageInvalid: it is none.
    """
    return decode(data, Configuration, entry)


def diff_ids(data: bytes, entry: str, layers: int) -> tuple[str, ...]:
    """The diff ids in the image configuration `data`, of as many layers as its manifest has.

    Raises:
        ImageInvalid: they are not as many, or too many.
    """
    found = configuration(data, entry).rootfs.diff_ids
    if len(found) != layers:
        raise ImageInvalid(f"`{entry}` has {len(found)} diff ids for {layers} layers")
    if layers > MOST_LAYERS:
        raise ImageInvalid(f"`{entry}` has {layers} layers, overlayfs takes {MOST_LAYERS}")
    return found


def kind_of(data: bytes, entry: str) -> str:
    """The media type of an index or manifest whose descriptor does not tell: by its members.

    Raises:
        ImageInvalid: it is neither.
    """
    document = decode(data, dict[str, object], entry)
    if document.get("schemaVersion") == 1:
        raise ImageInvalid(f"`{entry}` is a manifest of schema 1, which is not supported")
    for member, types in (("manifests", INDEX_TYPES), ("config", MANIFEST_TYPES)):
        if member in document:
            declared = document.get("mediaType")
            return declared if isinstance(declared, str) and declared else min(types)
    raise ImageInvalid(f"`{entry}` is neither an image manifest nor an index")


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_nulls(member) for member in value]
    return value
