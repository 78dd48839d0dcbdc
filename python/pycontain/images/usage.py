"""What images take on disk: each layer counted once, unpacked and as it came."""

from __future__ import annotations

from pycontain.images import listing
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pycontain.images.listing import Summary
    from pycontain.images.store import Store

__all__ = ["ImageUsage", "StoreUsage", "usage"]


class ImageUsage(Value):
    """What one image takes, unpacked.

    Attributes:
        image: which.
        shared: bytes of layers that other images have too.
        unique: bytes of layers that no other image has.
        containers: how many are made from it.
    """

    __slots__ = ("image", "shared", "unique", "containers")  # noqa: RUF023 - the constructor's order
    image: Summary
    shared: int
    unique: int
    containers: int

    def __init__(self, image: Summary, shared: int, unique: int, containers: int) -> None:
        self._set(image=image, shared=shared, unique=unique, containers=containers)


class StoreUsage(Value):
    """What all images take.

    Attributes:
        images: each of them, the newest first.
        layers: bytes of all layers, unpacked.
        blobs: bytes of all layers as they came, which are kept for `push` and `save`.
        reclaimable: bytes of both that only images have from which no container is made.
    """

    __slots__ = ("images", "layers", "blobs", "reclaimable")  # noqa: RUF023 - the constructor's order
    images: tuple[ImageUsage, ...]
    layers: int
    blobs: int
    reclaimable: int

    def __init__(self, images: Iterable[ImageUsage], layers: int, blobs: int, reclaimable: int) -> None:
        self._set(images=tuple(images), layers=layers, blobs=blobs, reclaimable=reclaimable)


def usage(store: Store) -> StoreUsage:
    """What the images of `store` take; read at one moment."""
    users = store.users()
    with store.database.snapshot() as connection:
        images = listing.summaries(connection)
        sizes: dict[str, tuple[int, int]] = {
            diff_id: (size, compressed_size if media_type else 0)
            for diff_id, size, compressed_size, media_type in connection.execute(
                "SELECT diff_id, size, compressed_size, media_type FROM layers"
            )
        }
        owned = connection.execute("SELECT DISTINCT image, diff_id FROM image_layers").fetchall()
    layers: dict[str, list[str]] = {}
    owners: dict[str, int] = {}
    for id, diff_id in owned:
        layers.setdefault(id, []).append(diff_id)
        owners[diff_id] = owners.get(diff_id, 0) + 1
    used = {diff_id for id in users for diff_id in layers.get(id, ())}
    return StoreUsage(
        [
            _image_usage(image, layers.get(image.id, ()), owners, sizes, len(users.get(image.id, ())))
            for image in images
        ],
        sum(size for size, _ in sizes.values()),
        sum(blob for _, blob in sizes.values()),
        sum(sum(both) for diff_id, both in sizes.items() if diff_id not in used),
    )


def _image_usage(
    image: Summary,
    layers: Iterable[str],
    owners: dict[str, int],
    sizes: dict[str, tuple[int, int]],
    containers: int,
) -> ImageUsage:
    unique = sum(sizes[diff_id][0] for diff_id in layers if owners[diff_id] == 1)
    return ImageUsage(image, image.size - unique, unique, containers)
