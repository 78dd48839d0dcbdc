"""The store of images used by several at once, and by some that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from containers import moments, seconds
from image_archives import digest, docker_files, layer, tar
from pycontain.errors import ImageNotFound
from pycontain.images.archive import load
from pycontain.images.store import Store
from stored_images import HELLO, add, blobs, left_over, write_all

if TYPE_CHECKING:
    from pathlib import Path

    from pycontain._core import Launcher
    from pycontain.paths import Paths


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


def test_what_is_read_together_is_of_one_moment(store: Store, paths: Paths, launcher: Launcher) -> None:
    image = add(store, HELLO)
    other = Store(paths, launcher)
    layers = "SELECT diff_id FROM image_layers WHERE image = ?"
    with store.database.snapshot() as connection:
        before = connection.execute(layers, (image.id,)).fetchall()
        other.remove("hello")
        assert connection.execute(layers, (image.id,)).fetchall() == before != []
    with pytest.raises(ImageNotFound):
        store.layers(image.id)
    other.close()
