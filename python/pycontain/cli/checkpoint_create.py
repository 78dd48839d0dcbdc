"""`pycontain checkpoint create`."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pycontain.containers import Containers


def command(
    container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)],
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", show_default=False)],
) -> None:
    """Write down the processes of a container; not possible yet, and this says why."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    containers.get(container).checkpoint(checkpoint)
