"""`pycontain top`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers

OPTIONS_ANYWHERE = False  # what follows the container belongs to ps


def command(
    container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)],
    options: Annotated[list[str] | None, typer.Argument(metavar="[ps OPTIONS]", show_default=False)] = None,
) -> None:
    """Show the processes of a container."""
    from pycontain.cli.columns import table
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    titles, rows = containers.get(container).top(options or ())
    for line in table([titles, *rows]):
        print(line)
