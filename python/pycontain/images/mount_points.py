"""The lowest layer of every container: empty files where its own are mounted, for images that lack them.

    <root>/mount-points/etc/{hostname,hosts,resolv.conf}

Otherwise they would have to be made in the writable layer: three files on disk for each start, which would
show in what the container changed.
"""

from __future__ import annotations

import os

from pycontain.paths import unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.paths import Paths

__all__ = ["mount_points"]

_DIRECTORIES = ("dev", "etc", "proc", "sys")
_FILES = ("etc/hostname", "etc/hosts", "etc/resolv.conf")


def mount_points(paths: Paths) -> str:
    """The directory of the layer; made when it is not there.

    Raises:
        StoreError: it cannot be made.
    """
    layer = paths.mount_points
    if not os.path.isdir(layer):
        try:
            _make(paths, layer)
        except OSError as error:
            raise unusable(f"`{layer}`", error) from error
    return layer


def _make(paths: Paths, layer: str) -> None:
    import shutil

    from pycontain.images import staging

    held = staging.hold(paths.staging)
    try:
        made = held.path + "/mount-points"
        for name in ("", *_DIRECTORIES):
            os.mkdir(f"{made}/{name}")
            os.chmod(f"{made}/{name}", 0o755)  # noqa: S103 - a root directory
        for name in _FILES:
            with open(f"{made}/{name}", "xb") as file:
                os.fchmod(file.fileno(), 0o644)
        try:
            os.rename(made, layer)
        except OSError:
            # when another process was quicker, its layer is the same
            if not os.path.isdir(layer):
                raise
    finally:
        shutil.rmtree(held.path, ignore_errors=True)
        held.release()
