"""An engine for tests of what comes out of containers, and one that changed much."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import containers
    from pycontain import Engine
    from pycontain.containers import Container
    from pycontain.images import Image
    from pycontain.images.store import Store


class Shop:
    """An engine with an image of busybox, and containers that stay."""

    def __init__(self, engine: Engine, cli: containers.Cli) -> None:
        self.engine = engine
        self.cli = cli

    def run(self, name: str, script: str, image: str = "busybox") -> Container:
        done = self.cli("run", "--name", name, image, "sh", "-c", f"set -e\n{script}")
        assert (done.returncode, done.stderr) == (0, b"")
        return self.engine.containers.get(name)

    def layer(self, image: Image) -> tarfile.TarFile:
        """The topmost one, as it is kept."""
        blob = self.stored(image).layers(image.id)[-1].blob
        assert blob
        assert blob.media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
        return tarfile.open(blob.path, "r:gz")

    def stored(self, image: Image) -> Store:
        return image._store


CHANGES = """
echo new > /etc/new
echo more >> /etc/passwd
rm /bin/vi
rm -r /home/worker; mkdir /home/worker; echo other > /home/worker/other
ln /etc/new /home/linked
ln -s new /etc/symlink
echo '#!/bin/sh' > /root/program; chown 1000:50 /root/program; chmod 4755 /root/program
mkfifo /root/fifo
long=$(printf 'n%.0s' $(seq 250)); mkdir -p /root/$long/$long; echo deep > /root/$long/$long/$long
"""


def contents(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file
    return file.read()
