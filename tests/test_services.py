"""Real servers and clients in networks: see `services`."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import networked
import pytest
import root_filesystems
import services

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2: ip")
@pytest.mark.parametrize("scene", services.SCENES)
def test_services(scene: str, busybox_layer: bytes, tmp_path: Path) -> None:
    if scene == "measured" and shutil.which("iperf3") is None:
        pytest.skip("no iperf3 on this machine")
    (tmp_path / "services.tar").symlink_to(root_filesystems.debian_tar(*services.PACKAGES))
    archive = tmp_path / "busybox.tar"
    archive.write_bytes(busybox_layer)
    done = networked.on_a_host(scene, str(tmp_path / "root"), str(archive), services.__file__)
    assert done.returncode == 0, done.stderr + done.stdout
