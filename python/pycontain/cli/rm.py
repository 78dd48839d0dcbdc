"""`pycontain rm`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    names: Annotated[list[str], typer.Argument(metavar="CONTAINER...", show_default=False)],
    force: Annotated[bool, typer.Option("--force", "-f", help="Kill it first, if it runs")] = False,
    volumes: Annotated[
        bool, typer.Option("--volumes", "-v", help="Remove its volumes without a name, too")
    ] = False,
) -> int:
    """Remove containers; goes on after one that cannot be removed, and exits with 1 then."""
    from pycontain.cli.each import each
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    return each(
        names, lambda name: containers.get(name).remove(force=force, volumes=volumes), missing_is_done=force
    )
