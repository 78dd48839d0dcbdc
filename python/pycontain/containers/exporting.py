"""Files out of a container: all of them as a tar, or what it wrote as one more layer of its image."""

from __future__ import annotations

import contextlib

from pycontain.containers import keeping
from pycontain.containers.target import writing
from pycontain.containers.written import layers
from pycontain.errors import InvalidOption, Unsupported
from pycontain.images import committing
from pycontain.runtime import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from typing import IO

    from pycontain._core import Launcher
    from pycontain.images import Image, Images
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept

__all__ = ["commit", "export"]


def export(
    paths: Paths,
    container: Kept,
    launcher: Callable[[], Launcher],
    target: str | os.PathLike[str] | IO[bytes],
) -> None:
    """See `Container.export`."""
    latest = committing.source_date_epoch()
    with writing(target) as descriptor:
        launcher().export(container.config, descriptor, latest=latest)
    events.of_container(paths, "export", container.record)


def commit(
    paths: Paths,
    images: Images,
    container: Kept,
    launcher: Callable[[], Launcher],
    name: str | None,
    *,
    author: str,
    message: str,
    changes: Iterable[str],
    pause: bool,
) -> Image:
    """See `Container.commit`."""
    base = container.record.image_id
    if not base.startswith("sha256:"):
        what = f"the image `{base}`, whose" if base else "a root file system whose"
        raise Unsupported(
            f"cannot commit container `{container.record.name}`: it was made from {what} files are this"
            " machine's",
            hint="`pycontain export` writes all of its files, `pycontain import` makes an image of them",
        )
    if name == "host":
        raise InvalidOption("cannot commit as `host`: that is this machine's own image")
    latest = committing.source_date_epoch()

    hint = "commit it as it runs: `pause=False`, `--pause=false` on the command line"
    still = keeping.standing_still(paths, container, hint=hint)
    with still if pause else contextlib.nullcontext():
        image = images.add(
            lambda store: committing.commit(
                store,
                base,
                layers(container, launcher(), latest),
                name,
                args=container.record.args,
                author=author,
                message=message,
                changes=changes,
            )
        )
    events.of_container(paths, "commit", container.record, comment=message, imageID=image.id)
    return image
