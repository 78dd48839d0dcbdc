"""The layers of an image as they are kept: unpacked, and compressed as they came.

    <root>/layers/<diff id>/        what containers are made of
    <root>/blobs/sha256/<digest>    the bytes it was unpacked from: `push` and `save` give them on unchanged

A layer has one blob, that of whoever brought it first; both appear and go together.
"""

from __future__ import annotations

from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3

    from pycontain.paths import Paths

__all__ = [
    "MOST_LAYERS",
    "Blob",
    "StoredLayer",
    "blob_path",
    "derived_media_type",
    "layer_path",
    "stored_layers",
]

# of an image: overlayfs takes 500 lower directories (fs/overlayfs/params.h), and the mount points are one
MOST_LAYERS = 499
_MEDIA_TYPES = {
    "none": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
_LAYERS = (
    "SELECT layers.diff_id, size, digest, compressed_size, media_type"
    " FROM image_layers JOIN layers USING (diff_id) WHERE image = ? ORDER BY position"
)


class Blob(Value):
    """The compressed bytes of a layer.

    Attributes:
        digest: `sha256:<hex>`.
        size: bytes.
        media_type: as the image gave it that brought it, or what its compression is called by the OCI.
        path: the file.
    """

    __slots__ = ("digest", "size", "media_type", "path")  # noqa: RUF023 - the constructor's order
    digest: str
    size: int
    media_type: str
    path: str

    def __init__(self, digest: str, size: int, media_type: str, path: str) -> None:
        self._set(digest=digest, size=size, media_type=media_type, path=path)


class StoredLayer(Value):
    """A layer.

    Attributes:
        diff_id: `sha256:<hex>`, the digest of its tar.
        size: bytes, unpacked.
        directory: its files.
        blob: what it was unpacked from; None where an older pycontain did not keep that.
    """

    __slots__ = ("diff_id", "size", "directory", "blob")  # noqa: RUF023 - the constructor's order
    diff_id: str
    size: int
    directory: str
    blob: Blob | None

    def __init__(self, diff_id: str, size: int, directory: str, blob: Blob | None) -> None:
        self._set(diff_id=diff_id, size=size, directory=directory, blob=blob)


def layer_path(paths: Paths, diff_id: str) -> str:
    """The directory of the layer."""
    return f"{paths.layers}/{diff_id.removeprefix('sha256:')}"


def blob_path(paths: Paths, digest: str) -> str:
    """The file of the blob."""
    return f"{paths.blobs}/{digest.removeprefix('sha256:')}"


def derived_media_type(compression: str) -> str:
    """What the OCI calls a layer that is compressed by `none`, `gzip` or `zstd`."""
    return _MEDIA_TYPES[compression]


def stored_layers(connection: sqlite3.Connection, paths: Paths, image: str) -> tuple[StoredLayer, ...]:
    """The layers of the image of this id, lowest first; one that it has twice is there twice."""
    return tuple(
        StoredLayer(
            diff_id,
            size,
            layer_path(paths, diff_id),
            media_type and Blob(digest, compressed_size, media_type, blob_path(paths, digest)),
        )
        for diff_id, size, digest, compressed_size, media_type in connection.execute(_LAYERS, (image,))
    )
