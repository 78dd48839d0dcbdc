"""The store after SIGKILL at any moment, on a full disk, and under several processes: it never lies."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import containers
import pytest
from image_archives import docker_files, tar
from pycontain import Engine

if TYPE_CHECKING:
    from pathlib import Path

FILES = 300


@pytest.fixture(autouse=True)
def _core() -> None:
    pytest.importorskip("pycontain._core", reason="the Rust core is not built")


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An image of three layers."""
    layers = [tar({f"{n}/{m}": os.urandom(200) for m in range(FILES)}) for n in range(3)]
    path = tmp_path / "image.tar"
    path.write_bytes(tar(docker_files(layers, "hello:1", "hello:2")))
    return path


def command(root: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(containers.installed()), "--root", root, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def succeed(root: str, *words: object) -> str:
    process = command(root, *words)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return out


def check(root: str) -> None:
    """What the database says is on disk, whole, and nothing else is; the figures add up."""
    with Engine(root) as engine:
        store = engine.images._store
        store.collect()
        layers, blobs, sizes = set(), set(), 0
        for image in store.list():
            for layer in store.layers(image.id):
                assert sum(len(files) for _, _, files in os.walk(layer.directory)) == FILES
                assert layer.blob
                with open(layer.blob.path, "rb") as file:
                    assert hashlib.file_digest(file, "sha256").hexdigest() == layer.blob.digest[7:]
                if layer.directory not in layers:
                    sizes += layer.size + layer.blob.size
                layers.add(layer.directory)
                blobs.add(layer.blob.path)
        for expected, directory in ((layers, engine._paths.layers), (blobs, engine._paths.blobs)):
            found = os.listdir(directory) if os.path.isdir(directory) else []
            assert {f"{directory}/{name}" for name in found} == expected
        assert not os.path.isdir(engine._paths.staging) or os.listdir(engine._paths.staging) == []
        assert engine.disk_usage().images.size == sizes


@pytest.mark.parametrize("name", ["load", "import", "save", "rmi", "prune"])
def test_killed_at_any_moment_it_leaves_a_store_that_is_true(name: str, root: str, archive: Path) -> None:
    saved = archive.parent / "saved.tar"
    with archive.parent.joinpath("layer.tar").open("wb") as file:
        file.write(tar({f"{m}": os.urandom(2000) for m in range(FILES)}))
    words: dict[str, list[object]] = {
        "load": ["load", "-i", archive],
        "import": ["import", archive.parent / "layer.tar", "made:1"],
        "save": ["save", "-o", saved, "hello"],
        "rmi": ["rmi", "hello:1", "hello:2"],
        "prune": ["image", "prune", "-a", "-f"],
    }

    def prepare() -> None:
        if name in {"save", "rmi", "prune"}:
            succeed(root, "load", "-i", archive)
        else:
            succeed(root, "image", "prune", "-a", "-f")

    prepare()
    until_some_moment = containers.moments(name, lambda: succeed(root, *words[name]))
    statuses = set()
    for _ in range(8):
        prepare()
        process = command(root, *words[name])
        until_some_moment()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        statuses.add(process.returncode)
        check(root)
        assert sorted(os.listdir(archive.parent)) in (
            ["image.tar", "layer.tar", "root"],
            ["image.tar", "layer.tar", "root", "saved.tar"],
        )
    assert -signal.SIGKILL in statuses
    prepare()
    succeed(root, *words[name])
    check(root)
    with Engine(root) as engine:
        assert bool(engine.images.list()) == (name in {"load", "import", "save"})


FULL = """
set -e
mkdir -p "$1"
mount -t tmpfs -o size="$3" tmpfs "$1"
if "$4" --root "$1" load -i "$2"; then echo "it fits" >&2; exit 3; fi
if [ -n "$(ls -A "$1/layers" "$1/blobs/sha256" "$1/staging" 2>/dev/null | grep -v : | grep .)" ]; then
    ls -RA "$1" >&2; exit 4
fi
mount -o remount,size=200m "$1"
"$4" --root "$1" images
"$4" --root "$1" load -i "$2"
"$4" --root "$1" system df --format '{{.Size}}'
export PYTHONPATH="$6"
exec "$5" -c "import sys, test_faults; test_faults.check(sys.argv[1])" "$1"
"""


@pytest.mark.root
@pytest.mark.parametrize("size", ["150k", "400k", "1m", "1500k"])
def test_full_disk_is_told_and_leaves_nothing(size: str, root: str, archive: Path) -> None:
    isolated = ["unshare", "--mount", "--propagation", "private", "sh", "-c", FULL, "sh"]
    words = [root, archive, size, containers.installed(), sys.executable, os.pathsep.join(sys.path)]
    done = subprocess.run([*isolated, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    message, *more = done.stderr.splitlines()
    assert "no space left" in message.lower() or "disk is full" in message, done.stderr
    assert all(line.startswith("hint: ") for line in more), done.stderr
    assert "Loaded image: hello:1" in done.stdout


WORKER = """
import itertools, random, sys, time
from pycontain import Conflict, Engine, ImageNotFound, StillInUse
role, root, archive, seconds = sys.argv[1:]
done = 0
with Engine(root) as engine:
    end = time.monotonic() + float(seconds)
    for attempt in itertools.count():
        if time.monotonic() > end:
            break
        try:
            if role == "load":
                done += len(engine.images.load(archive))
            elif role == "remove":
                done += len(engine.images.remove("hello:1", force=bool(attempt % 2)).deleted)
            elif role == "prune":
                done += len(engine.images.prune(all=bool(attempt % 2)).deleted)
            else:
                time.sleep(random.random() * 0.06)  # so that there are moments when nobody uses the image
                command = ["sh", "-c", "sleep 0.02; cat /marker"]
                out = engine.run("hello:1", command, pull="never").stdout
                assert out == b"here\\n", out
                done += 1
        except (ImageNotFound, StillInUse, Conflict):
            time.sleep(0.001)
print(done)
"""


def test_removing_beside_loads_and_runs(root: str, busybox_layer: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(tar(docker_files([busybox_layer, tar({"marker": b"here\n"})], "hello:1")))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    roles = ["load", "load", "remove", "prune", "run", "run"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, role, root, str(archive), "6"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for role in roles
    ]
    ends = [(role, *process.communicate(timeout=100)) for role, process in zip(roles, processes, strict=True)]
    assert [err for _, _, err in ends if err] == []
    done = [(role, int(out)) for role, out, _ in ends]
    gone = sum(number for role, number in done if role in ("remove", "prune"))
    assert gone > 0, done
    assert all(number for role, number in done if role in ("load", "run")), done
    with Engine(root) as engine:
        engine.images.prune(all=True)
        assert engine.images.list() == ()
        assert os.listdir(engine._paths.layers) == os.listdir(engine._paths.blobs) == []
        assert os.listdir(engine._paths.staging) == []
