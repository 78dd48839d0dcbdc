"""What the store of images has after a loss of power: layers that had been written to disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest
from containers import seconds
from image_archives import configuration, digest, layer
from pycontain import Engine
from pycontain.errors import ImageNotFound
from pycontain.images.stage import NewImage
from pycontain.images.store import Store
from stored_images import HELLO, add, blobs, unpack

if TYPE_CHECKING:
    from pycontain._core import Launcher
    from pycontain.paths import Paths


def test_layer_of_before_a_loss_of_power_counts_only_if_it_was_synced(store: Store, paths: Paths) -> None:
    """What the disk may have of one that was not: a directory, empty files, and the row."""
    add(store, HELLO)
    low, top = layer(), layer("top")
    with store.stage() as stage:
        assert stage.claim(digest(low))
        unpack(stage, top)
        with sqlite3.connect(paths.database) as connection:
            unsynced = connection.execute("SELECT diff_id FROM layers WHERE boot IS NOT NULL").fetchall()
            connection.execute("UPDATE layers SET boot = 'another' WHERE boot IS NOT NULL")
        connection.close()
        assert unsynced == [(digest(top),)]
        for path in (f"{paths.layers}/{digest(top)[7:]}/top", f"{paths.blobs}/{digest(top)[7:]}"):
            os.truncate(path, 0)
        assert not stage.claim(digest(top))
        unpack(stage, top)
        assert stage.claim(digest(top))
        config = configuration([low, top])
        stage.commit([NewImage(config, [digest(low), digest(top)], ["docker.io/library/both:1"])])
    upper, lower = store.get("both:1").layers
    for path in (f"{upper}/top", f"{lower}/hello"):
        with open(path, "rb") as file:
            assert file.read() == b"hello\n"
    assert blobs(paths) == {digest(low): low, digest(top): top}
    with contextlib.closing(sqlite3.connect(paths.database)) as connection:
        assert connection.execute("SELECT count(boot) FROM layers").fetchone() == (0,)


def begun(store: Store, paths: Paths, name: str, data: bytes) -> str:
    """An image whose layer is written to disk when it is there already; its id."""
    config = configuration([data])
    with store.stage(synced=False) as stage:
        unpack(stage, data)
        stage.commit([NewImage(config, [digest(data)], [name])])
    return digest(config)


def rows(paths: Paths, command: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(paths.database)) as connection, connection:
        return connection.execute(command).fetchall()


def reboot(paths: Paths, launcher: Launcher) -> Store:
    rows(paths, "UPDATE layers SET boot = 'another' WHERE boot IS NOT NULL")
    return Store(paths, launcher)


def wait_for_sync(paths: Paths) -> None:
    until = time.monotonic() + seconds(20)
    while not os.listdir(paths.synced):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_sync_goes_on_after_the_launcher_and_is_noted(store: Store, paths: Paths) -> None:
    with Engine(paths.root) as engine, engine.images._store.stage(synced=False) as stage:
        unpack(stage, layer())
        stage.commit([NewImage(configuration([layer()]), [digest(layer())], [HELLO])])
    wait_for_sync(paths)
    assert rows(paths, "SELECT count(boot), count(sync) FROM layers") == [(1, 1)]
    assert store.get("hello").tags == ("hello:latest",)
    add(store, "docker.io/library/other:1", layers=[layer("other")])
    assert rows(paths, "SELECT count(boot), count(sync) FROM layers") == [(0, 0)]
    assert os.listdir(paths.synced) == []


def test_image_that_was_synced_is_there_in_the_next_boot(
    store: Store, paths: Paths, launcher: Launcher
) -> None:
    id = begun(store, paths, HELLO, layer())
    wait_for_sync(paths)
    with contextlib.closing(reboot(paths, launcher)) as again:
        assert again.get("hello").id == id
        assert rows(paths, "SELECT count(boot) FROM layers") == [(0,)]


def test_image_that_was_not_synced_is_gone_in_the_next_boot(
    store: Store, paths: Paths, launcher: Launcher
) -> None:
    kept = add(store, HELLO)
    begun(store, paths, "docker.io/library/lost:1", layer("lost"))
    wait_for_sync(paths)
    shutil.rmtree(paths.synced)  # the power went before
    with contextlib.closing(reboot(paths, launcher)) as again:
        with pytest.raises(ImageNotFound):
            again.resolve("lost:1")
        assert [image.id for image in again.list()] == [kept.id]
        assert os.listdir(paths.layers) == [digest(layer())[7:]]
        begun(again, paths, "docker.io/library/lost:1", layer("lost"))
        assert os.path.exists(again.resolve("lost:1").layers[0] + "/lost")
