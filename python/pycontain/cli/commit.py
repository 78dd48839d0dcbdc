"""`pycontain commit`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)],
    name: Annotated[
        str | None, typer.Argument(metavar="[REPOSITORY[:TAG]]", show_default=False, help="The image's name")
    ] = None,
    author: Annotated[str, typer.Option("--author", "-a", metavar="NAME", help="Who made it")] = "",
    change: Annotated[
        list[str] | None,
        typer.Option("--change", "-c", metavar="INSTRUCTION", help="Apply an instruction of a Dockerfile"),
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Put a message into the history")] = "",
    pause: Annotated[
        bool, typer.Option("--pause/--no-pause", "-p", help="Pause the container meanwhile, if it runs")
    ] = True,
) -> None:
    """Make an image of a container: that of its image with one layer more."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    image = containers.get(container).commit(
        name, author=author, message=message, changes=change or (), pause=pause
    )
    print(image.id)
