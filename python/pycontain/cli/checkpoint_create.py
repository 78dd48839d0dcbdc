"""`pycontain checkpoint create`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)],
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", show_default=False)],
) -> None:
    """Write down the processes of a container; not possible yet, and this says why."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    containers.get(container).checkpoint(checkpoint)
