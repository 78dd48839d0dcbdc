"""`pycontain tag`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.images import Images


def command(
    source: Annotated[str, typer.Argument(metavar="SOURCE_IMAGE[:TAG]", show_default=False)],
    target: Annotated[str, typer.Argument(metavar="TARGET_IMAGE[:TAG]", show_default=False)],
) -> None:
    """Give an image another name."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    images: Images = default().images
    images.tag(source, target)
