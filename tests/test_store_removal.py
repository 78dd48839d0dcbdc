"""What is removed from the store of images, and what is not: used, held or claimed by somebody."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import containers
import pytest
from image_archives import configuration, digest, layer
from pycontain.errors import Conflict, ImageNotFound, StillInUse
from pycontain.images import use
from pycontain.images.stage import NewImage
from pycontain.images.store import Store
from stored_images import HELLO, add, blobs, left_over

if TYPE_CHECKING:
    from pycontain._core import Launcher
    from pycontain.paths import Paths


def test_last_name_takes_the_image_and_its_layers_along(store: Store, paths: Paths) -> None:
    shared, own = layer("shared"), layer("own")
    image = add(store, HELLO, layers=[shared, own])
    add(store, "docker.io/library/other:latest", layers=[shared])
    store.tag("hello", "again")
    first = store.remove("hello")
    assert (first.untagged, first.deleted) == (("hello:latest",), ())
    second = store.remove("again")
    assert (second.untagged, second.deleted) == (("again:latest",), (image.id, digest(own)))
    assert os.listdir(paths.layers) == [digest(shared)[7:]]
    assert list(blobs(paths)) == [digest(shared)]
    assert os.listdir(paths.staging) == []
    with pytest.raises(ImageNotFound):
        store.get(image.id)


def test_image_of_several_names_is_removed_by_id_only_with_force(store: Store, paths: Paths) -> None:
    image = add(store, HELLO)
    store.tag("hello", "again")
    with pytest.raises(Conflict, match="again:latest, hello:latest"):
        store.remove(image.id)
    assert store.remove(image.id, force=True).untagged == ("again:latest", "hello:latest")
    assert left_over(paths) == []


def test_image_in_use_is_not_removed(paths: Paths, launcher: Launcher) -> None:
    store = Store(paths, launcher, users=lambda: {image.id: ["c0ffee"]})
    image = add(store, HELLO)
    store.tag("hello", "again")
    assert store.remove("again").untagged == ("again:latest",)
    for name, force in (("hello", False), (image.id, False), (image.id, True)):
        with pytest.raises(StillInUse, match="c0ffee"):
            store.remove(name, force=force)
    assert store.get("hello").tags == ("hello:latest",)
    removal = store.remove("hello", force=True)
    assert (removal.untagged, removal.deleted) == (("hello:latest",), ())
    assert store.get(image.id).tags == ()
    store.close()


def test_image_that_is_held_is_not_removed(paths: Paths, launcher: Launcher) -> None:
    store = Store(paths, launcher)
    image = add(store, HELLO)
    held, is_there = use.hold(paths, image.id)
    assert held is not None
    assert not is_there  # nobody has looked yet
    with pytest.raises(StillInUse, match="running"):
        store.remove("hello")
    os.close(held)
    assert store.remove("hello").deleted
    store.close()


def test_start_that_waits_for_a_removal_finds_the_image_gone(paths: Paths, launcher: Launcher) -> None:
    store = Store(paths, launcher)
    image = add(store, HELLO)
    for _ in range(2):
        held, is_there = use.hold(paths, image.id)
        assert held is not None
        use.confirm(held)
        os.close(held)
    assert is_there
    finds: list[tuple[bool, bool]] = []

    def start() -> None:
        held, is_there = use.hold(paths, image.id)
        assert held is not None
        finds.append((is_there, store.has(image.id)))
        os.close(held)

    def look() -> dict[str, list[str]]:  # now the removal excludes all others
        starting.start()
        return {}

    starting = threading.Thread(target=start)
    removing = Store(paths, launcher, users=look)
    removing.remove("hello")
    starting.join()
    assert finds == [(False, False)]
    # a start that comes later, and one after that: that there is a file means nothing
    start()
    start()
    assert finds == [(False, False)] * 3
    removing.close()
    store.close()


def test_removal_that_waits_for_another_excludes_who_comes_after_it(
    store: Store, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = add(store, HELLO)
    first = use.exclude(paths, image.id)
    assert first is not None
    left = [first]

    def pause(_: float) -> None:  # the other one ends while this one waits for it
        use.forget(paths, image.id)
        os.close(left.pop())

    monkeypatch.setattr("time.sleep", pause)
    second = use.exclude(paths, image.id)
    assert second is not None
    assert left == []
    assert list(use.held(paths)) == [image.id]
    os.close(second)


def test_id_removes_the_names_of_one_repository(store: Store, paths: Paths) -> None:
    name = "docker.io/library/hello@sha256:" + "0" * 64
    image = add(store, HELLO, name)
    removal = store.remove(image.id)
    assert removal.untagged == ("hello:latest", "hello@sha256:" + "0" * 64)
    assert removal.deleted == (image.id, digest(layer()))
    assert removal.reclaimed == image.size + len(layer())
    image = add(store, HELLO, "other.lan/hello@sha256:" + "0" * 64)
    with pytest.raises(Conflict, match=r"other\.lan"):
        store.remove(image.id)
    assert left_over(paths)


def test_layer_claimed_by_one_is_not_removed_by_another(
    store: Store, paths: Paths, launcher: Launcher
) -> None:
    add(store, HELLO)
    other = Store(paths, launcher)
    with store.stage() as stage:
        assert stage.claim(digest(layer()))
        other.remove("hello")
        assert os.listdir(paths.layers) == [digest(layer())[7:]]
        config = configuration([layer()])
        stage.commit([NewImage(config, [digest(layer())], [HELLO])])
    assert os.path.exists(store.resolve("hello").layers[0] + "/hello")
    other.close()


def test_blob_and_layer_without_a_row_are_collected(store: Store, paths: Paths) -> None:
    image = add(store, HELLO)
    before = blobs(paths)
    stray = f"{paths.blobs}/{'0' * 64}", f"{paths.used}/{'0' * 64}"
    os.makedirs(paths.used)
    for path in stray:
        with open(path, "wb"):
            pass
    os.mkdir(f"{paths.layers}/{'0' * 64}")
    os.mkdir(f"{paths.staging}/abandoned")
    store.collect()
    assert blobs(paths) == before
    assert os.listdir(paths.layers) == [image.diff_ids[0][7:]]
    assert os.listdir(paths.used) == os.listdir(paths.staging) == []


def test_image_of_thousands_of_names_is_removed_at_once(store: Store) -> None:
    image = add(store, *(f"docker.io/library/n{number}:latest" for number in range(10_000)))
    begun = time.monotonic()
    assert len(store.remove(image.id, force=True).untagged) == 10_000
    assert time.monotonic() - begun < containers.seconds(5)
