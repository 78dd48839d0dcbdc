"""`pycontain volume import`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.volumes import Volumes


def command(
    name: Annotated[str, typer.Argument(metavar="VOLUME", show_default=False)],
    file: Annotated[str, typer.Argument(metavar="FILE|-", show_default=False, help="A tar, or `-`: stdin")],
) -> None:
    """Fill an empty volume with the files of a tar."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import InvalidOption

    if file == "-" and sys.stdin.isatty():
        raise InvalidOption("there is no archive: stdin is a terminal", hint="name a file in place of `-`")
    volumes: Volumes = default().volumes
    volumes.get(name).import_(sys.stdin.buffer if file == "-" else file)
