"""`pycontain restart`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    names: Annotated[list[str], typer.Argument(metavar="CONTAINER...", show_default=False)],
    signal: Annotated[
        str | None, typer.Option("--signal", "-s", metavar="SIGNAL", help="Instead of the container's")
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", "--time", "-t", metavar="SECONDS", help="Until it is killed; -1: never"),
    ] = None,
) -> int:
    """Stop containers and start them; goes on after one that cannot be started, and exits with 1 then."""
    from pycontain.cli.each import each
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    return each(names, lambda name: containers.get(name).restart(signal=signal, timeout=timeout))
