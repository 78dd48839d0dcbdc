"""The store of images: names and ids, what is known of an image, its database."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

import pytest
from pycontain.errors import ImageNotFound, InvalidOption, StoreError, Unsupported
from pycontain.images import Images
from stored_images import HELLO, add, left_over

if TYPE_CHECKING:
    from pycontain._core import Launcher
    from pycontain.images.store import Store
    from pycontain.paths import Paths


def test_image_is_found_by_each_name_and_by_the_beginning_of_its_id(store: Store) -> None:
    image = add(store, HELLO)
    hexadecimal = image.id.removeprefix("sha256:")
    for name in (
        "hello",
        "hello:latest",
        "docker.io/hello",
        image.id,
        hexadecimal,
        hexadecimal[:6],
        image.id[:12],
    ):
        assert store.resolve(name) == image
    assert image.tags == ("hello:latest",)
    assert image.config.env == ("A=1",)
    assert image.config.cmd == ("sh",)
    assert image.config.entrypoint == ()
    assert (image.os, image.created) == ("linux", "2026-01-02T03:04:05Z")
    assert store.history(image.id)[0].created_by == "COPY hello /"


def test_unknown_names_are_not_found_and_bad_ones_are_refused(store: Store) -> None:
    add(store, HELLO)
    for name in ("other", "hello:1", "0" * 64, "sha256:" + "0" * 64):
        with pytest.raises(ImageNotFound):
            store.resolve(name)
    with pytest.raises(InvalidOption, match="must be lowercase"):
        store.resolve("Hello")


def test_ambiguous_beginning_of_an_id_is_refused(store: Store) -> None:
    ids = [add(store, created=f"2026-01-01T00:00:{n:02}Z").id for n in range(17)]
    first_digits = [id[7] for id in ids]
    twice = next(digit for digit in first_digits if first_digits.count(digit) > 1)
    with pytest.raises(InvalidOption, match="several"):
        store.resolve(twice)


def test_image_for_another_machine_is_kept_but_not_started(store: Store) -> None:
    image = add(store, HELLO, architecture="s390x")
    assert store.get("hello") == image
    with pytest.raises(Unsupported, match="linux/s390x") as refused:
        store.resolve("hello")
    assert refused.value.hint


def test_tag_moves_from_image_to_image(store: Store) -> None:
    first = add(store, HELLO)
    second = add(store, created="2027-01-01T00:00:00Z")
    assert store.tag(second.id[:20], "hello") == "hello:latest"
    assert store.resolve("hello").id == second.id
    assert store.get(first.id).tags == ()
    assert [image.id for image in store.list()] == [second.id, first.id]
    with pytest.raises(InvalidOption, match="digest"):
        store.tag("hello", "x@sha256:" + "0" * 64)
    with pytest.raises(ImageNotFound):
        store.tag("missing", "x")


def test_digest_is_a_name(store: Store, paths: Paths) -> None:
    image = add(store, HELLO, "docker.io/library/hello@sha256:" + "0" * 64)
    assert store.get("hello@sha256:" + "0" * 64) == image
    assert store.remove("hello@sha256:" + "0" * 64).deleted == ()
    assert store.remove("hello").deleted
    assert left_over(paths) == []


def test_name_that_looks_like_an_id_takes_no_images_place(store: Store) -> None:
    image = add(store, HELLO)
    other = add(store, f"docker.io/library/{image.id}", created="2027-01-01T00:00:00Z")
    assert store.get(image.id) == image
    assert store.remove(image.id).deleted[0] == image.id
    assert store.list() == [other]
    with pytest.raises(ImageNotFound):
        store.get(image.id)
    with pytest.raises(InvalidOption, match="digest algorithm as name"):
        store.tag(other.id, image.id)


def test_image_is_used_when_a_container_is_made_from_it(
    store: Store, paths: Paths, launcher: Launcher
) -> None:
    image = add(store, HELLO)
    assert store.last_used("hello") == image.added
    images = Images(paths, launcher)
    try:
        os.close(images.hold(image.id) or 0)
        os.utime(f"{paths.used}/{image.id[7:]}", (0, image.added + 100))
        assert store.last_used("hello") == pytest.approx(image.added + 100)
        os.close(images.hold(image.id) or 0)
        assert image.added <= store.last_used("hello") < image.added + 100
        store.remove("hello")
        assert os.listdir(paths.used) == []
    finally:
        images.close()


def test_database_is_for_its_owner_alone(store: Store, paths: Paths) -> None:
    def modes() -> set[int]:
        names = [name for name in os.listdir(paths.root) if name.startswith("images.db")]
        assert len(names) == 3
        return {os.stat(f"{paths.root}/{name}").st_mode & 0o777 for name in names}

    before = os.umask(0)
    try:
        add(store, HELLO)
    finally:
        os.umask(before)
    assert modes() == {0o600}
    for name in ("images.db", "images.db-wal", "images.db-shm"):
        os.chmod(f"{paths.root}/{name}", 0o644)
    store.tag("hello", "again")
    assert modes() == {0o600}


def test_newer_database_is_refused(store: Store, paths: Paths) -> None:
    add(store, HELLO)
    store.close()
    connection = sqlite3.connect(paths.database)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="version 99") as refused:
        store.resolve("hello")
    assert refused.value.hint


def test_reading_makes_nothing_but_the_database(store: Store, paths: Paths) -> None:
    with pytest.raises(ImageNotFound):
        store.resolve("hello")
    assert {name.partition("-")[0] for name in os.listdir(paths.root)} == {"images.db"}
