"""`pycontain load`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Annotated

    import typer

    from pycontain.images import Images


def command(
    input: Annotated[
        str | None, typer.Option("--input", "-i", metavar="FILE", help="Read from a file, not from stdin")
    ] = None,
    quiet: Annotated[  # noqa: ARG001 - there is no progress to leave out
        bool, typer.Option("--quiet", "-q", help="Show no progress")
    ] = False,
) -> None:
    """Load images from an archive of `docker save`, an OCI archive or an OCI layout directory."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import InvalidOption

    if input is None and sys.stdin.isatty():
        raise InvalidOption("there is no archive: stdin is a terminal", hint="name a file: `--input FILE`")
    images: Images = default().images
    images.load(sys.stdin.buffer if input is None else input, named=_tell)


def _tell(id: str, names: Sequence[str]) -> None:
    for name in names:
        print(f"Loaded image: {name}")
    if not names:
        print(f"Loaded image ID: {id}")
