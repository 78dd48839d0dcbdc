"""SIGKILL at any moment of a pull: afterwards the store is true, and the same pull succeeds."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from containers import seconds
from image_archives import digest, layer
from interposed import Interposed, Rule, until
from registries import gzipped
from test_registry_pull import files

if TYPE_CHECKING:
    from pathlib import Path

    from containers import Cli
    from pycontain import Engine
    from registries import Registry

LAYERS = [gzipped(layer(f"f{number}", os.urandom(1 << 20))) for number in range(4)]


def begin(cli: Cli, name: str) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen([cli.program, "pull", name], stdout=quiet, stderr=quiet, env=cli.environment)


@pytest.mark.parametrize("seed", range(12))
def test_killed_pull_leaves_a_true_store(
    fresh: Engine, fresh_cli: Cli, registry: Registry, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    registry.put_image("killed/app", "1", LAYERS)
    root = tmp_path / "root"
    with Interposed(registry.host, Rule("GET .*/blobs/.*", slow=0.01)) as server:
        name = f"{server.host}/killed/app:1"
        for _ in range(3):
            server.requests.clear()
            process = begin(fresh_cli, name)
            until(lambda: server.requests)
            time.sleep(chance.uniform(0, 0.6))
            process.send_signal(signal.SIGKILL)
            process.wait()
            images = fresh.images.list()
            assert [image.layers for image in images] in (
                [],
                [tuple(digest(one.plain) for one in LAYERS)],
            )
            if images:
                fresh.images.remove(name, force=True)
        server.rules.clear()
        fresh.images.pull(name)
    assert sorted(files(fresh, name)) == ["f0", "f1", "f2", "f3"]
    wanted = sorted(digest(one.plain)[7:] for one in LAYERS)
    assert sorted(os.listdir(root / "layers")) == wanted
    assert sorted(os.listdir(root / "blobs/sha256")) == sorted(digest(one.data)[7:] for one in LAYERS)
    assert os.listdir(root / "staging") == os.listdir(root / "downloads") == []


def test_whoever_waits_for_a_killed_download_does_it_itself(
    fresh: Engine, fresh_cli: Cli, registry: Registry
) -> None:
    registry.put_image("killed/waiting", "1", LAYERS[:1])
    with Interposed(registry.host, Rule(f"GET .*/{digest(LAYERS[0].data)}", stall=1000, times=1)) as server:
        name = f"{server.host}/killed/waiting:1"
        first = begin(fresh_cli, name)
        until(lambda: server.asked(f"GET .*/{digest(LAYERS[0].data)}"))
        second = begin(fresh_cli, name)
        until(lambda: len(server.asked("GET .*/manifests/1")) == 2)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert second.wait(seconds(30)) == 0
        assert len(server.asked(f"GET .*/{digest(LAYERS[0].data)}")) == 2
    assert sorted(files(fresh, name)) == ["f0"]


def test_interrupted_pull_ends_at_once_and_leaves_nothing(
    fresh: Engine, fresh_cli: Cli, registry: Registry, tmp_path: Path
) -> None:
    """Ctrl-C, while every layer stalls."""
    registry.put_image("killed/interrupted", "1", LAYERS)
    with Interposed(registry.host, Rule("GET .*/blobs/.*", slow=0.2)) as server:
        process = begin(fresh_cli, f"{server.host}/killed/interrupted:1")
        until(lambda: len(server.asked("GET .*/blobs/.*")) >= 3)
        process.send_signal(signal.SIGINT)
        assert process.wait(seconds(20)) == 130
    assert fresh.images.list() == ()
    for directory in ("layers", "blobs/sha256", "staging", "downloads"):
        if (tmp_path / "root" / directory).exists():
            assert os.listdir(tmp_path / "root" / directory) == []
