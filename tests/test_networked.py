"""Containers in networks, on a host of their own: see `networked`."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import networked
import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2: ip")
@pytest.mark.parametrize("scene", networked.SCENES)
def test_networks(scene: str, busybox_layer: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "busybox.tar"
    archive.write_bytes(busybox_layer)
    done = networked.on_a_host(scene, str(tmp_path / "root"), str(archive))
    assert done.returncode == 0, done.stderr + done.stdout
