"""Images put into a store by tests, and what they look at there."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from image_archives import configuration, digest, layer
from pycontain.images.stage import NewImage

if TYPE_CHECKING:
    from pycontain.images.stage import Stage
    from pycontain.images.store import Store, StoredImage
    from pycontain.paths import Paths


def add(
    store: Store,
    *names: str,
    layers: list[bytes] | None = None,
    sources: dict[str, bytes] | None = None,
    **more: object,
) -> StoredImage:
    """An image, through the same door as loading; `sources` has layers, by diff id, that come compressed."""
    layers = [layer()] if layers is None else layers
    config = configuration(layers, **more)
    with store.stage() as stage:
        for data in layers:
            if not stage.claim(digest(data)):
                unpack(stage, (sources or {}).get(digest(data), data))
        stage.commit([NewImage(config, [digest(data) for data in layers], names)])
    return store.get(digest(config))


def unpack(stage: Stage, data: bytes, diff_id: str | None = None, media_type: str | None = None) -> None:
    reading, writing = os.pipe()
    writer = threading.Thread(target=write_all, args=(writing, data))
    writer.start()
    try:
        stage.unpack(reading, "layer", diff_id=diff_id, media_type=media_type)
    finally:
        os.close(reading)
        writer.join()


def write_all(target: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(target, "wb") as file:
        file.write(data)


def left_over(paths: Paths) -> list[str]:
    """What is in staging, or is a layer or a blob, where no image is left to refer to it."""
    found = os.listdir(paths.staging)
    for directory in (paths.layers, paths.blobs):
        if os.path.isdir(directory):
            found += os.listdir(directory)
    return found


def blobs(paths: Paths) -> dict[str, bytes]:
    """The blobs of the store, by the digests that name them."""
    found = {}
    for name in os.listdir(paths.blobs):
        with open(f"{paths.blobs}/{name}", "rb") as file:
            found["sha256:" + name] = file.read()
    return found


HELLO = "docker.io/library/hello:latest"
