"""Images into registries: the layers that it lacks, the configuration, and last the manifest.

An image that came from a registry goes on with the manifest it came with, to the byte, so that its digest
stays. Any other gets an OCI manifest of its own. A layer that is kept as a plain tar is compressed before;
what is kept afterwards is what was sent.
"""

from __future__ import annotations

import hashlib
import os

from pycontain.errors import ImageNotFound, InvalidOption, Unsupported
from pycontain.images import documents
from pycontain.images.blobs import Blob, derived_media_type
from pycontain.images.documents import Manifest
from pycontain.images.stage import NewImage
from pycontain.images.transferring import Transfer
from pycontain.registry import uploads
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain.images.blobs import StoredLayer
    from pycontain.images.reference import Reference
    from pycontain.images.stage import Stage
    from pycontain.images.store import Store, StoredImage
    from pycontain.registry import Client
    from pycontain.registry.repository import Repository
    from pycontain.types import Progress

__all__ = ["Pusher"]

_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_REPORT_EVERY = 512 << 10


class _Layer(Value):
    """A layer as it is sent: whose it is, and its bytes."""

    __slots__ = ("diff_id", "blob")  # noqa: RUF023 - the constructor's order
    diff_id: str
    blob: Blob

    def __init__(self, diff_id: str, blob: Blob) -> None:
        self._set(diff_id=diff_id, blob=blob)


class _File:
    """The bytes of a blob that is kept, held open: replaced or removed meanwhile, they are still there."""

    def __init__(self, blob: Blob) -> None:
        self.digest = blob.digest
        self.size = blob.size
        self._descriptor = os.open(blob.path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def close(self) -> None:
        os.close(self._descriptor)


class Pusher:
    """Sends images of a store.

    Args:
        store: where from.
        client: where to; closed by the caller.
        progress: is told of each step, by several threads but never by two at once.
    """

    def __init__(
        self, store: Store, client: Client, progress: Callable[[Progress], None] | None = None
    ) -> None:
        self._store = store
        self._client = client
        self._transfer = Transfer(client, progress)
        self._say = self._transfer.say

    def push(self, reference: Reference) -> str:
        """Send one image; returns the digest of its manifest.

        Raises:
            ImageNotFound: there is none of this name here.
            RegistryError: the registry did not do its part.
        """
        if reference.digest:
            raise InvalidOption(f"cannot push `{reference.familiar}`: a registry makes the digest itself")
        reference = reference.with_default_tag()
        self._say("", f"The push refers to repository [{reference.repository}]")
        return self._push(reference)

    def push_all(self, reference: Reference) -> tuple[str, ...]:
        """Send every tag of a repository that is here."""
        if reference.tag or reference.digest:
            raise InvalidOption(f"`{reference.familiar}` is one image: all tags are those of a repository")
        known = {
            name.key: name
            for image in self._store.list()
            for name in image.names
            if name.tag and name.repository == reference.repository
        }
        if not known:
            raise ImageNotFound(f"no image of repository `{reference.familiar}` is here")
        self._say("", f"The push refers to repository [{reference.repository}]")
        return tuple(self._push(known[key]) for key in sorted(known))

    def _push(self, reference: Reference) -> str:
        image = self._store.get(reference.key)
        repository = self._client.target(reference.domain, reference.path)
        with self._store.stage() as stage:
            layers = self._sendable(stage, image)
            configuration = self._store.configuration(image.id)
            kept = self._store.manifest(image.id)
            media_type, manifest = _manifest(kept, image.id, configuration, layers)
            self._layers(repository, reference, layers)
            if not repository.exists(image.id):
                uploads.upload(repository, uploads.Bytes(image.id, configuration))
            digest = repository.put_manifest(reference.tag or "", media_type, manifest)
            known_as = f"{reference.repository}@{digest}"
            stage.commit([NewImage(configuration, image.diff_ids, (known_as,), manifest)])
        self._say("", f"{reference.tag}: digest: {digest} size: {len(manifest)}")
        return digest

    def _sendable(self, stage: Stage, image: StoredImage) -> list[_Layer]:
        """The layers, compressed all of them, the lowest first; they stay until the stage ends."""
        if not all(stage.claim(diff_id) for diff_id in image.diff_ids):
            raise ImageNotFound(f"image `{image.id}` has been removed meanwhile")
        stored = {layer.diff_id: layer for layer in self._store.layers(image.id)}
        for layer in stored.values():
            self._say(layer.diff_id[7:19], "Preparing")
        ready = {diff_id: self._compressed(stage, image, layer) for diff_id, layer in stored.items()}
        return [_Layer(diff_id, ready[diff_id]) for diff_id in image.diff_ids]

    def _compressed(self, stage: Stage, image: StoredImage, layer: StoredLayer) -> Blob:
        blob = layer.blob
        if blob is None:
            raise Unsupported(
                f"layer {layer.diff_id} was added by an older pycontain that did not keep its bytes",
                hint="remove the image and get it again",
            )
        if blob.media_type.endswith(("gzip", "zstd")):
            return blob
        try:
            packed = _gzip(
                blob, stage.path, lambda done: self._say_layer(layer.diff_id, "Compressing", done, blob)
            )
        except FileNotFoundError:
            now = {one.diff_id: one for one in self._store.layers(image.id)}[layer.diff_id]
            if now.blob == blob:
                raise
            return self._compressed(stage, image, now)  # another push has replaced it
        return stage.replace_blob(layer.diff_id, packed)

    def _layers(self, repository: Repository, reference: Reference, layers: list[_Layer]) -> None:
        wanted = {layer.diff_id: layer for layer in layers}
        self._transfer.each(wanted.values(), lambda layer: self._layer(repository, reference, layer))

    def _layer(self, repository: Repository, reference: Reference, layer: _Layer) -> None:
        blob = layer.blob
        if repository.exists(blob.digest):
            self._say_layer(layer.diff_id, "Layer already exists", blob.size, blob)
            return
        reported = 0

        def report(done: int) -> None:
            nonlocal reported
            if done - reported >= _REPORT_EVERY or done < reported:
                reported = done
                self._say_layer(layer.diff_id, "Pushing", done, blob)

        others = [
            other.path
            for other in self._store.repositories(layer.diff_id)
            if other.domain == reference.domain and other.path != reference.path
        ]
        source = _File(blob)
        try:
            mounted = uploads.upload(
                repository, source, mount_from=others[0] if others else None, report=report
            )
        finally:
            source.close()
        self._say_layer(layer.diff_id, f"Mounted from {others[0]}" if mounted else "Pushed", blob.size, blob)

    def _say_layer(self, diff_id: str, phase: str, done: int, blob: Blob) -> None:
        self._say(diff_id[7:19], phase, done, blob.size)


def _manifest(kept: bytes | None, id: str, configuration: bytes, layers: list[_Layer]) -> tuple[str, bytes]:
    """Media type and bytes: of what the image came with, where that is what is sent; else of a new one."""
    if kept is not None:
        found = documents.decode(kept, Manifest, id)
        if [layer.digest for layer in found.layers] == [layer.blob.digest for layer in layers]:
            return found.media_type or _MANIFEST_TYPE, kept
    import json

    document = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": {"mediaType": _CONFIG_TYPE, "digest": id, "size": len(configuration)},
        "layers": [
            {
                "mediaType": derived_media_type("zstd" if layer.blob.media_type.endswith("zstd") else "gzip"),
                "digest": layer.blob.digest,
                "size": layer.blob.size,
            }
            for layer in layers
        ],
    }
    return _MANIFEST_TYPE, json.dumps(document, separators=(",", ":")).encode()


def _gzip(blob: Blob, directory: str, report: Callable[[int], None]) -> Blob:
    """The same, compressed."""
    from pycontain.images.gzipping import gzipped

    path = f"{directory}/{os.urandom(6).hex()}.blob"
    digest, size, done = hashlib.sha256(), 0, 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(blob.path, "rb") as source, open(descriptor, "wb") as target:
        for piece, length in gzipped(source):
            target.write(piece)
            digest.update(piece)
            size += len(piece)
            done += length
            report(done)
        target.flush()
        os.fsync(target.fileno())
    return Blob(f"sha256:{digest.hexdigest()}", size, derived_media_type("gzip"), path)
