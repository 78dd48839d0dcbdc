"""`pycontain kill`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    names: Annotated[list[str], typer.Argument(metavar="CONTAINER...", show_default=False)],
    signal: Annotated[
        str, typer.Option("--signal", "-s", metavar="SIGNAL", help="By name or number")
    ] = "KILL",
) -> int:
    """Send a signal to containers; goes on after one that does not run, and exits with 1 then."""
    from pycontain.cli.each import each
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    return each(names, lambda name: containers.get(name).kill(signal or "KILL"))
