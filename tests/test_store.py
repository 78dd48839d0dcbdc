"""The store of images: names, ids, removal, several processes at once, and processes that are killed."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from containers import moments, seconds
from image_archives import configuration, digest, docker_files, layer, tar
from pycontain import Engine
from pycontain.errors import (
    Conflict,
    ImageInvalid,
    ImageNotFound,
    InvalidOption,
    StillInUse,
    StoreError,
    Unsupported,
)
from pycontain.images import Images, use
from pycontain.images.archive import load
from pycontain.images.blobs import Blob
from pycontain.images.stage import NewImage
from pycontain.images.store import Store, StoredImage

if TYPE_CHECKING:
    from pathlib import Path

    from pycontain._core import Launcher
    from pycontain.images.stage import Stage
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


def test_digest_is_a_name(store: Store, paths: Paths) -> None:
    image = add(store, HELLO, "docker.io/library/hello@sha256:" + "0" * 64)
    assert store.get("hello@sha256:" + "0" * 64) == image
    assert store.remove("hello@sha256:" + "0" * 64).deleted == ()
    assert store.remove("hello").deleted
    assert left_over(paths) == []


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
    finally:
        store.close()
        subprocess.run(["umount", paths.root], check=True)


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


LOADER = """
import sys
from pycontain._core import Launcher
from pycontain.images.archive import load
from pycontain.images.store import Store
from pycontain.paths import Paths
root, run, archive = sys.argv[1:]
launcher = Launcher(run)
store = Store(Paths(root, run), launcher)
sys.stdin.read()  # all start at once, when the test closes their standard input
for image in load(store, archive):
    print(image.id)
store.close()
launcher.close()
"""


def loader(paths: Paths, archive: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LOADER, paths.root, paths.run, str(archive)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def archive_of(path: Path, layers: list[bytes]) -> Path:
    path.write_bytes(tar(docker_files(layers, "hello:latest")))
    return path


def test_processes_that_add_the_same_image_at_once_all_succeed(
    paths: Paths, store: Store, tmp_path: Path
) -> None:
    layers = [tar({f"{n}/{m}": os.urandom(100) for m in range(200)}) for n in range(3)]
    archive = archive_of(tmp_path / "image.tar", layers)
    processes = [loader(paths, archive) for _ in range(6)]
    for process in processes:
        assert process.stdin
        process.stdin.close()
        process.stdin = None
    results = [(*process.communicate(timeout=100), process.returncode) for process in processes]
    assert {(errors, status) for _, errors, status in results} == {("", 0)}
    assert {output.strip() for output, _, _ in results} == {store.resolve("hello").id}
    assert os.listdir(paths.staging) == []
    assert sorted(os.listdir(paths.layers)) == sorted(digest(data)[7:] for data in layers)
    assert blobs(paths) == {digest(data): data for data in layers}


def test_threads_that_add_and_remove_at_once_leave_whole_images(paths: Paths, store: Store) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                add(
                    store,
                    f"docker.io/library/hello:{number}",
                    layers=[layer("shared"), layer(f"{number}{turn % 2}")],
                )
                assert all(os.path.isdir(path) for path in store.resolve(f"hello:{number}").layers)
                store.remove(f"hello:{number}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    store.collect()
    assert {image.tags for image in store.list()} <= {()}
    for image in store.list():
        store.remove(image.id)
    assert left_over(paths) == []


def test_interrupted_unpacking_has_ended_when_it_returns(store: Store, paths: Paths) -> None:
    reading, writing = os.pipe()
    data = tar({"noise": os.urandom(1 << 20)})
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    feeder = threading.Thread(target=write_all, args=(writing, data[:-2000]), daemon=True)
    hold = os.dup(writing)  # so that the archive neither goes on nor ends
    feeder.start()
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt), store.stage() as stage:
            stage.unpack(reading, "layer")
        assert left_over(paths) == []
    finally:
        timer.join()
        os.close(reading)
        os.close(hold)
        feeder.join()


def collect_all(store: Store, paths: Paths) -> None:
    """What the launcher of a killed process was writing is not garbage before that has ended, too."""
    deadline = time.monotonic() + seconds(30)
    while True:
        store.collect()
        if not os.listdir(paths.staging) or time.monotonic() > deadline:
            return
        time.sleep(0.01)


def test_killed_loading_leaves_nothing_that_the_next_does_not_collect(
    paths: Paths, store: Store, tmp_path: Path
) -> None:
    layers = [tar({f"{n}/{m}": os.urandom(50) for m in range(400)}) for n in range(4)]
    archive = archive_of(tmp_path / "image.tar", layers)
    until_some_moment = moments(20261123, lambda: loader(paths, archive).communicate(""))
    store.remove("hello")
    killed = 0
    for _ in range(14):
        process = loader(paths, archive)
        assert process.stdin
        process.stdin.close()
        process.stdin = None
        until_some_moment()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        collect_all(store, paths)
        if store.list():
            store.remove("hello")
        assert left_over(paths) == []
    assert killed
    (image,) = load(store, archive)
    assert all(os.path.isdir(path) for path in image.layers)
    assert blobs(paths) == {digest(data): data for data in layers}
    assert os.listdir(paths.staging) == []
