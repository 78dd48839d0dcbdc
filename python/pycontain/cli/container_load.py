"""`pycontain container load`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    input: Annotated[
        str | None, typer.Option("--input", "-i", metavar="FILE", help="Read from a file, not from stdin")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Another name than it had", show_default=False),
    ] = None,
) -> None:
    """Make a container of an archive of `pycontain container save`."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import InvalidOption

    if input is None and sys.stdin.isatty():
        raise InvalidOption("there is no archive: stdin is a terminal", hint="name a file: `--input FILE`")
    containers: Containers = default().containers
    print(containers.load(sys.stdin.buffer if input is None else input, name=name).id)
