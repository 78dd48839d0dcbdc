"""`pycontain container inspect`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated, Any

    import typer

    from pycontain.containers import Containers


def command(
    names: Annotated[list[str], typer.Argument(metavar="CONTAINER...", show_default=False)],
    template: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help="json, or a Go template for each")
    ] = "",
    size: Annotated[bool, typer.Option("--size", "-s", help="Show sizes")] = False,
) -> int:
    """Show all about containers."""
    from pycontain.cli.inspection import show

    return show(names, lambda name: container(name, size=size), template)


def container(name: str, *, size: bool = False) -> dict[str, Any]:
    """All about the container of this name."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    return containers.get(name).inspect(size=size)
