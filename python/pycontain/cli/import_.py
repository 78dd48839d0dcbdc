"""`pycontain import`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.images import Images


def command(
    file: Annotated[str, typer.Argument(metavar="FILE|-", show_default=False, help="A tar, or `-`: stdin")],
    name: Annotated[
        str | None, typer.Argument(metavar="[REPOSITORY[:TAG]]", show_default=False, help="The image's name")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--change", "-c", metavar="INSTRUCTION", help="Apply an instruction of a Dockerfile"),
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Put a message into the history")] = "",
) -> None:
    """Make an image of a tar archive of files."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import InvalidOption, Unsupported

    if file.startswith(("http://", "https://")):
        raise Unsupported(
            f"cannot import `{file}`: downloading is not supported",
            hint=f"pipe it: `curl -L {file} | pycontain import -`",
        )
    if file == "-" and sys.stdin.isatty():
        raise InvalidOption("there is no archive: stdin is a terminal", hint="name a file in place of `-`")
    images: Images = default().images
    source = sys.stdin.buffer if file == "-" else file
    print(images.import_(source, name, changes=change or (), message=message).id)
