"""`pycontain diff`."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pycontain.containers import Containers


def command(container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)]) -> None:
    """Show what a container changed in the files of its image: C changed, A added, D deleted."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    for change in containers.get(container).diff():
        typer.echo(f"{change.kind} {change.path}".encode(errors="surrogateescape"))
