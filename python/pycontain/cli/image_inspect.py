"""`pycontain image inspect`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated, Any

    import typer

    from pycontain.images import Images


def command(
    names: Annotated[list[str], typer.Argument(metavar="IMAGE...", show_default=False)],
    template: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help="json, or a Go template for each")
    ] = "",
) -> int:
    """Show all about images."""
    from pycontain.cli.inspection import show

    return show(names, image, template)


def image(name: str) -> dict[str, Any]:
    """All about the image of this name."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    images: Images = default().images
    return images.get(name).inspect()
