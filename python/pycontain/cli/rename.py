"""`pycontain rename`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NEW_NAME", show_default=False)],
) -> None:
    """Give a container another name."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    containers.get(container).rename(name)
