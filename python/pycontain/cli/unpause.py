"""`pycontain unpause`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(names: Annotated[list[str], typer.Argument(metavar="CONTAINER...", show_default=False)]) -> int:
    """Let paused containers go on; goes on after one that is not, and exits with 1 then."""
    from pycontain.cli.each import each
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    return each(names, lambda name: containers.get(name).unpause())
