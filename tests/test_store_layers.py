"""Layers in the store of images: directories, and the bytes that they came as."""

from __future__ import annotations

import gzip
import os
import sqlite3
import subprocess
from typing import TYPE_CHECKING

import pytest
from image_archives import configuration, digest, layer, tar
from pycontain.errors import ImageInvalid, StoreError
from pycontain.images.blobs import Blob
from pycontain.images.stage import NewImage
from pycontain.images.store import Store
from stored_images import HELLO, add, blobs, left_over, unpack

if TYPE_CHECKING:
    from pycontain._core import Launcher
    from pycontain.paths import Paths


def test_layers_are_listed_topmost_first_and_hold_the_files(store: Store, paths: Paths) -> None:
    low, top = layer("a", b"low"), layer("b", b"top")
    image = add(store, HELLO, layers=[low, top])
    assert image.layers == tuple(f"{paths.layers}/{digest(data)[7:]}" for data in (top, low))
    with open(f"{image.layers[0]}/b", "rb") as file:
        assert file.read() == b"top"
    assert os.stat(image.layers[0]).st_mode & 0o777 == 0o755
    assert os.listdir(paths.staging) == []


def test_layers_are_out_of_reach_for_other_users(store: Store, paths: Paths) -> None:
    add(store, HELLO)
    for directory in (paths.layers, paths.blobs, paths.staging):
        assert os.stat(directory).st_mode & 0o077 == 0, directory


def test_layer_that_an_image_has_twice_is_one_directory(store: Store) -> None:
    one, other = layer("a"), layer("b")
    image = add(store, HELLO, layers=[one, other, one])
    assert [os.path.basename(path) for path in image.layers] == [digest(one)[7:], digest(other)[7:]]


def test_layer_with_another_digest_than_promised_never_appears(store: Store, paths: Paths) -> None:
    def unpack_wrong() -> None:
        with store.stage() as stage:
            unpack(stage, layer(), diff_id="sha256:" + "0" * 64)

    with pytest.raises(ImageInvalid, match="diff id"):
        unpack_wrong()
    assert left_over(paths) == []


def test_what_was_unpacked_for_an_image_that_failed_is_removed(store: Store, paths: Paths) -> None:
    def fail() -> None:
        with store.stage() as stage:
            unpack(stage, layer())
            assert os.listdir(paths.layers)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert left_over(paths) == []


def test_layer_is_kept_as_it_came(store: Store, paths: Paths) -> None:
    plain, tarred = layer("plain"), layer("compressed")
    compressed = gzip.compress(tarred)
    image = add(store, HELLO, layers=[plain, tarred], sources={digest(tarred): compressed})
    assert blobs(paths) == {digest(plain): plain, digest(compressed): compressed}
    low, top = store.layers(image.id)
    assert (low.diff_id, top.diff_id) == image.diff_ids
    assert (top.directory, low.directory) == image.layers
    assert low.blob == Blob(
        digest(plain),
        len(plain),
        "application/vnd.oci.image.layer.v1.tar",
        f"{paths.blobs}/{digest(plain)[7:]}",
    )
    assert top.blob
    assert (top.blob.digest, top.blob.size) == (digest(compressed), len(compressed))
    assert top.blob.media_type.endswith("tar+gzip")


def test_blob_keeps_the_media_type_that_its_image_gave(store: Store) -> None:
    docker = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    with store.stage() as stage:
        unpack(stage, gzip.compress(layer()), media_type=docker)
        stage.commit([NewImage(configuration([layer()]), [digest(layer())], [HELLO])])
    (only,) = store.layers("hello")
    assert only.blob
    assert only.blob.media_type == docker


def test_layer_of_two_compressions_has_the_blob_that_came_first(store: Store, paths: Paths) -> None:
    compressed = gzip.compress(layer())
    with store.stage() as stage:
        unpack(stage, compressed)
        unpack(stage, layer())
        stage.commit([NewImage(configuration([layer()]), [digest(layer())], [HELLO])])
    assert blobs(paths) == {digest(compressed): compressed}
    assert os.listdir(paths.staging) == []


def test_layer_without_a_blob_gets_one_when_it_comes_again(store: Store, paths: Paths) -> None:
    add(store, HELLO)
    store.close()
    with sqlite3.connect(paths.database) as connection:  # as the first version of the database left it
        connection.execute("UPDATE layers SET media_type = NULL")
    connection.close()
    os.unlink(f"{paths.blobs}/{digest(layer())[7:]}")
    assert store.layers("hello")[0].blob is None
    with store.stage() as stage:
        unpack(stage, layer())
        stage.commit([])
    (only,) = store.layers("hello")
    assert only.blob
    assert blobs(paths) == {only.blob.digest: layer()}


@pytest.mark.root
def test_full_disk_is_named_and_leaves_nothing(paths: Paths, launcher: Launcher) -> None:
    os.mkdir(paths.root)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", paths.root], check=True)
    store = Store(paths, launcher)
    try:
        with pytest.raises(StoreError, match="No space left on device"), store.stage() as stage:
            unpack(stage, tar({"noise": os.urandom(3 << 20)}))
        assert left_over(paths) == []
        assert add(store, HELLO).tags == ("hello:latest",)
        store.close()
        with pytest.raises(OSError, match="No space left"), open(f"{paths.root}/filling", "wb") as file:
            file.write(bytes(3 << 20))
        with pytest.raises(StoreError, match=r"images\.db`: no space left on device") as full:
            store.list()
        assert str(full.value.hint).startswith("make room")
        os.unlink(f"{paths.root}/filling")
        assert [image.tags for image in store.list()] == [("hello:latest",)]
    finally:
        store.close()
        subprocess.run(["umount", paths.root], check=True)
