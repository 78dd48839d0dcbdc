"""`pycontain save`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.images import Images


def command(
    names: Annotated[list[str], typer.Argument(metavar="IMAGE...", show_default=False)],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file, not to stdout")
    ] = None,
    platform: Annotated[
        str | None, typer.Option("--platform", metavar="OS/ARCH", help="Only if they are for this platform")
    ] = None,
) -> None:
    """Write images to an archive, which docker, podman and skopeo read too."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import InvalidOption

    if output is None and sys.stdout.isatty():
        raise InvalidOption(
            "cowardly refusing to save to a terminal", hint="name a file: `--output FILE`, or redirect stdout"
        )
    images: Images = default().images
    images.save(names, sys.stdout.buffer if output is None else output, platform=platform)
