"""Images out of archives: what `docker save` writes, old and new, and the OCI image layout.

    docker     manifest.json -> configuration, layers (plain tars, by their diff ids)
    OCI        index.json -> (index ->)* manifest -> configuration, layers (by digest and size)

A newer docker writes both into one archive; `manifest.json` has the names then. Everything in an archive is
hearsay: each document and layer is compared with the digest it goes by before anything of it appears.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

from pycontain.errors import ImageInvalid, InvalidOption, Unsupported
from pycontain.images import documents
from pycontain.images.config import machine_platform, runs_here
from pycontain.images.documents import Descriptor, Index, Layout, Manifest
from pycontain.images.entries import open_entries
from pycontain.images.reference import is_digest, parse, parse_tag
from pycontain.images.stage import NewImage
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import IO

    from pycontain.images.entries import Entries
    from pycontain.images.stage import Stage
    from pycontain.images.store import Store, StoredImage

__all__ = ["load"]

# inflating is bound by one processor each; more threads make more seeks than speed
_THREADS = 2
_DEEPEST_INDEX = 8
_MOST_NAMES = 10_000  # others wait 0.1 s while so many are removed
_ANNOTATED_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class _Layer(Value):
    """A layer as an archive promises it; what it does not promise is None."""

    __slots__ = ("entry", "diff_id", "digest", "size", "media_type")  # noqa: RUF023 - the constructor's order
    entry: str
    diff_id: str
    digest: str | None
    size: int | None
    media_type: str | None

    def __init__(
        self,
        entry: str,
        diff_id: str,
        digest: str | None = None,
        size: int | None = None,
        media_type: str | None = None,
    ) -> None:
        self._set(entry=entry, diff_id=diff_id, digest=digest, size=size, media_type=media_type)


class _Found(Value):
    """An image in an archive: its documents are checked, its layers are not yet."""

    __slots__ = ("image", "layers")
    image: NewImage
    layers: tuple[_Layer, ...]

    def __init__(self, image: NewImage, layers: Iterable[_Layer]) -> None:
        self._set(image=image, layers=tuple(layers))


def load(
    store: Store,
    source: str | os.PathLike[str] | IO[bytes],
    named: Callable[[str, Sequence[str]], None] | None = None,
) -> list[StoredImage]:
    """Add every image in an archive: all of them, or none.

    Args:
        store: where to.
        source: a tar, compressed or not, or a directory in the OCI layout.
        named: is called with the id of each image, and the names that the archive has for it.

    Raises:
        ImageInvalid: something in it is damaged, missing or not what it claims to be; nothing was added.
        Unsupported: its images are all for other kinds of machines.
    """
    with store.stage() as stage:
        with open_entries(source, stage.path) as entries:
            found = list(_docker(entries) if "manifest.json" in entries else _oci(entries))
            if not found:
                raise ImageInvalid("there is no image in the archive")
            if sum(len(one.image.references) for one in found) > _MOST_NAMES:
                raise ImageInvalid(f"the images in the archive have more than {_MOST_NAMES} names")
            wanted = {layer.diff_id: layer for one in found for layer in one.layers}
            _unpack(stage, entries, [layer for layer in wanted.values() if not stage.claim(layer.diff_id)])
        stage.commit([one.image for one in found])
        if named is not None:
            for one in found:
                named(one.image.id, [parse(reference).familiar for reference in one.image.references])
        return [store.get(one.image.id) for one in found]


def _unpack(stage: Stage, entries: Entries, layers: list[_Layer]) -> None:
    def unpack(layer: _Layer) -> None:
        with entries.stream(layer.entry) as source:
            stage.unpack(
                source,
                layer.entry,
                diff_id=layer.diff_id,
                digest=layer.digest,
                media_type=layer.media_type,
            )

    for layer in layers:
        if layer.size is not None and entries.size(layer.entry) != layer.size:
            raise ImageInvalid(
                f"`{layer.entry}` has {entries.size(layer.entry)} bytes, the image promises {layer.size}"
            )
    with ThreadPoolExecutor(_THREADS) as threads:
        pending = [threads.submit(unpack, layer) for layer in layers]
        try:
            for one in pending:
                one.result()
        finally:
            threads.shutdown(cancel_futures=True)


def _docker(entries: Entries) -> Iterator[_Found]:
    listed = documents.decode(
        entries.read("manifest.json"), tuple[documents.ArchivedImage, ...], "manifest.json"
    )
    for one in listed:
        data = entries.read(one.config)
        _check_name(one.config, data)
        for descriptor in one.layer_sources.values():
            _check_layer_type(descriptor, "manifest.json")
        diff_ids = documents.diff_ids(data, one.config, len(one.layers))
        layers = [
            _Layer(entry, diff_id, _digest_in_name(entry) if entry.startswith("blobs/") else None)
            for entry, diff_id in zip(one.layers, diff_ids, strict=True)
        ]
        yield _Found(NewImage(data, diff_ids, [_key(tag) for tag in one.tags]), layers)


def _oci(entries: Entries) -> Iterator[_Found]:
    if "index.json" not in entries or "oci-layout" not in entries:
        raise ImageInvalid(
            "the archive has neither `manifest.json` nor `index.json` with `oci-layout`",
            hint="is it the file system of a container? then `pycontain import` takes it",
        )
    version = documents.decode(entries.read("oci-layout"), Layout, "oci-layout").version
    if not version.startswith("1."):
        raise ImageInvalid(f"`oci-layout` is of version {version[:50]}, not 1")
    search = _Search(entries)
    nothing_here = True
    index = documents.decode(entries.read("index.json"), Index, "index.json")
    for descriptor in index.manifests:
        manifest = search.manifest(descriptor)
        if manifest is not None:
            nothing_here = False
            yield _image(entries, manifest, _annotated_keys(descriptor))
    if nothing_here and search.others:
        here = "/".join(machine_platform())
        raise Unsupported(
            f"the archive has images for {', '.join(sorted(search.others))}, this machine is {here}",
            hint=f"get an archive of the image for {here}",
        )


class _Search:
    """Looks through indexes for what runs here; the platforms that it passes over go to `others`."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._searched: set[str] = set()
        self.others: set[str] = set()

    def manifest(self, descriptor: Descriptor, depth: int = 0) -> Descriptor | None:
        """The image manifest that `descriptor` stands for here."""
        platform = descriptor.platform
        if platform is not None and platform.os == platform.architecture == "unknown":
            return None  # an attestation about an image, not an image
        if platform is not None and not runs_here(platform.os, platform.architecture):
            self.others.add(f"{platform.os}/{platform.architecture}")
            return None
        entry = _blob(descriptor.digest)
        kind = descriptor.media_type or documents.kind_of(_checked(self._entries, descriptor), entry)
        if kind in documents.MANIFEST_TYPES:
            return descriptor
        if kind not in documents.INDEX_TYPES:
            what = "a manifest of schema 1" if "manifest.v1" in kind else "neither an image nor an index"
            raise ImageInvalid(f"`{entry}` is {what}: its media type is `{kind[:100]}`")
        if depth == _DEEPEST_INDEX:
            raise ImageInvalid(f"`{entry}` is an index nested too deeply")
        if descriptor.digest in self._searched:
            return None
        self._searched.add(descriptor.digest)
        index = documents.decode(_checked(self._entries, descriptor), Index, entry)
        members = (self.manifest(member, depth + 1) for member in index.manifests)
        return next((member for member in members if member is not None), None)


def _image(entries: Entries, descriptor: Descriptor, references: list[str]) -> _Found:
    data = _checked(entries, descriptor)
    documents.kind_of(data, _blob(descriptor.digest))
    manifest = documents.decode(data, Manifest, _blob(descriptor.digest))
    config = manifest.config
    if config.media_type not in documents.CONFIG_TYPES:
        raise ImageInvalid(
            f"`{_blob(descriptor.digest)}` is no container image: its configuration is of type"
            f" `{config.media_type[:100]}`"
        )
    for layer in manifest.layers:
        _check_layer_type(layer, _blob(descriptor.digest))
    configuration = _checked(entries, config)
    diff_ids = documents.diff_ids(configuration, _blob(config.digest), len(manifest.layers))
    layers = [
        _Layer(_blob(layer.digest), diff_id, layer.digest, layer.size, layer.media_type)
        for layer, diff_id in zip(manifest.layers, diff_ids, strict=True)
    ]
    return _Found(NewImage(configuration, diff_ids, references, data), layers)


def _checked(entries: Entries, descriptor: Descriptor) -> bytes:
    """The document, of the size and digest that its descriptor promises."""
    entry = _blob(descriptor.digest)
    if entries.size(entry) != descriptor.size:
        raise ImageInvalid(f"`{entry}` has {entries.size(entry)} bytes, not {descriptor.size} as promised")
    data = entries.read(entry)
    _check_name(entry, data)
    return data


def _check_layer_type(layer: Descriptor, entry: str) -> None:
    if layer.media_type not in documents.LAYER_TYPES:
        foreign = "foreign" in layer.media_type or "nondistributable" in layer.media_type
        what = "is not in the archive, but elsewhere" if foreign else "is not one that can be unpacked"
        raise ImageInvalid(
            f"layer {layer.digest} of `{entry}` {what}: its media type is `{layer.media_type[:100]}`"
        )


def _check_name(entry: str, data: bytes) -> None:
    promised = _digest_in_name(entry)
    found = "sha256:" + hashlib.sha256(data).hexdigest()
    if promised is not None and promised != found:
        raise ImageInvalid(f"`{entry}` is not what its name says: its digest is {found}")


def _digest_in_name(entry: str) -> str | None:
    digest = "sha256:" + entry.rpartition("/")[2].removesuffix(".json").removesuffix(".tar")
    return digest if is_digest(digest) else None


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _annotated_keys(descriptor: Descriptor) -> list[str]:
    for annotation in _ANNOTATED_NAMES:
        name = descriptor.annotations.get(annotation, "")
        # by the specification this may be a mere tag, which names nothing by itself
        if "/" in name or ":" in name:
            return [_key(name, descriptor.digest)]
    return []


def _key(name: str, digest: str | None = None) -> str:
    """What the name files an image under whose manifest or index has this digest, as far as that is known."""
    try:
        reference = parse(name)
        if reference.digest is None or reference.digest != digest:
            parse_tag(name, "load")
    except InvalidOption as error:
        raise ImageInvalid(f"the archive has an image named `{name[:300]}`: {error}") from error
    return reference.key
