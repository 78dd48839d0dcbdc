"""`pycontain volume inspect`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated, Any

    import typer

    from pycontain.volumes import Volumes


def command(
    names: Annotated[list[str], typer.Argument(metavar="VOLUME...", show_default=False)],
    template: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help="json, or a Go template for each")
    ] = "",
) -> int:
    """Show all about volumes."""
    from pycontain.cli.inspection import show

    return show(names, volume, template)


def volume(name: str) -> dict[str, Any]:
    """All about the volume of this name."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    volumes: Volumes = default().volumes
    return volumes.get(name).inspect()
