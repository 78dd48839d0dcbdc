"""A dockerd for tests: in mount and network namespaces of its own, its data in one directory."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import containers
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def running(base: Path) -> Iterator[list[str]]:
    """The client's command line; a skip where there is no docker, or it does not come up."""
    for program in ("dockerd", "docker", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on this machine")
    daemon = ["dockerd", "--host", f"unix://{base}/socket", "--data-root", f"{base}/data", "--bridge=none"]
    daemon += ["--exec-root", f"{base}/exec", "--pidfile", f"{base}/pid", "--storage-driver", "vfs"]
    isolated = ["unshare", "--mount", "--net", "--propagation", "private", *daemon]
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(isolated, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    client = ["docker", "--host", f"unix://{base}/socket"]
    try:
        until = time.monotonic() + containers.seconds(30)
        while subprocess.run([*client, "version"], capture_output=True, check=False).returncode:
            if process.poll() is not None or time.monotonic() > until:
                pytest.skip(f"dockerd does not come up here: {(base / 'log').read_text()[-300:]}")
            time.sleep(0.1)
        yield client
    finally:
        process.terminate()
        process.wait(30)
