"""`pycontain container prune`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="until, label or label!")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask")] = False,
) -> None:
    """Remove all containers that do not run."""
    from pycontain.cli import filters as flags
    from pycontain.cli.columns import size
    from pycontain.cli.confirmation import confirmed
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    chosen = flags.parsed(filters or (), flags.PRUNE)
    if not force and not confirmed("This will remove all stopped containers."):
        return
    containers: Containers = default().containers
    removed = containers.prune(**chosen)
    if removed.ids:
        print("\n".join(["Deleted Containers:", *removed.ids, ""]))
    print(f"Total reclaimed space: {size(removed.reclaimed)}")
