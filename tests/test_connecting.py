"""Networks of containers that run, and namespaces that they share: see `connecting`."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import connecting
import networked
import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2: ip")
@pytest.mark.parametrize("scene", connecting.SCENES)
def test_connecting(scene: str, busybox_layer: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "busybox.tar"
    archive.write_bytes(busybox_layer)
    done = networked.on_a_host(scene, str(tmp_path / "root"), str(archive), connecting.__file__)
    assert done.returncode == 0, done.stderr + done.stdout
