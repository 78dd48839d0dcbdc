"""`pycontain container fork`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", show_default=False, help="Name the new container")
    ] = None,
    start: Annotated[
        bool | None,
        typer.Option("--start/--no-start", show_default=False, help="Start it; by default if the first runs"),
    ] = None,
) -> None:
    """Make a container that begins with the files of another as they are now."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    print(containers.get(container).fork(name, start=start).id)
