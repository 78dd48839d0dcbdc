"""`pycontain volume prune`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.volumes import Pruned, Volumes


def command(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Remove those with a name, too")] = False,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="all, label or label!")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask")] = False,
) -> None:
    """Remove volumes that no container uses."""
    from pycontain.cli import filters as flags
    from pycontain.cli.columns import size
    from pycontain.cli.confirmation import confirmed
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    chosen = flags.parsed(filters or (), flags.VOLUME_PRUNE)
    chosen["all"] = chosen.get("all", False) or everything
    kind = "all local" if chosen["all"] else "anonymous local"
    if not force and not confirmed(f"This will remove {kind} volumes not used by at least one container."):
        return
    volumes: Volumes = default().volumes
    pruned = volumes.prune(**chosen)
    print_deleted(pruned)
    print(f"Total reclaimed space: {size(pruned.reclaimed)}")


def print_deleted(pruned: Pruned) -> None:
    """What is gone."""
    if pruned.names:
        print("\n".join(["Deleted Volumes:", *pruned.names, ""]))
