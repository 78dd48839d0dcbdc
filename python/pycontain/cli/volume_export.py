"""`pycontain volume export`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.volumes import Volumes


def command(
    name: Annotated[str, typer.Argument(metavar="VOLUME", show_default=False)],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file, not to stdout")
    ] = None,
) -> None:
    """Write the files of a volume as a tar."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import InvalidOption

    volumes: Volumes = default().volumes
    if output is None and sys.stdout.isatty():
        raise InvalidOption(
            "a tar is not written to a terminal", hint="name a file: `--output FILE`, or redirect stdout"
        )
    volumes.get(name).export(sys.stdout.buffer if output is None else output)
