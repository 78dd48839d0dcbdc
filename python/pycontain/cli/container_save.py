"""`pycontain container save`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file, not to stdout")
    ] = None,
    incremental: Annotated[
        bool, typer.Option("--incremental", "-i", help="Only what the last archive of it did not have")
    ] = False,
    with_image: Annotated[bool, typer.Option("--with-image", help="Its image, too")] = False,
) -> None:
    """Write a container as an archive, for another machine."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import InvalidOption

    if output is None and sys.stdout.isatty():
        raise InvalidOption(
            "cowardly refusing to save to a terminal", hint="name a file: `--output FILE`, or redirect stdout"
        )
    containers: Containers = default().containers
    target = sys.stdout.buffer if output is None else output
    containers.get(container).save(target, incremental=incremental, with_image=with_image)
