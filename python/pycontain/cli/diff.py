"""`pycontain diff`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)]) -> None:
    """Show what a container changed in the files of its image: C changed, A added, D deleted."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    for change in containers.get(container).diff():
        sys.stdout.buffer.write(f"{change.kind} {change.path}\n".encode(errors="surrogateescape"))
