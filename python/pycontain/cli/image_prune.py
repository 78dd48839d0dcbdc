"""`pycontain image prune`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.images import Images


def command(
    everything: Annotated[
        bool,
        typer.Option("--all", "-a", help="Remove all that no container uses, not only those without a tag"),
    ] = False,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="until, label or label!")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask")] = False,
    keep_storage: Annotated[
        str | None,
        typer.Option(
            "--keep-storage",
            metavar="SIZE",
            help="Remove the least recently used, until all images take no more than this",
        ),
    ] = None,
) -> None:
    """Remove images that nothing uses."""
    from pycontain.cli import filters as flags
    from pycontain.cli.confirmation import confirmed, print_reclaimed
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.runtime.sizes import size

    chosen = flags.parsed(filters or (), flags.PRUNE)
    keep = None if keep_storage is None else size("keep-storage", keep_storage)
    if not force and not confirmed(_warning(everything=everything, keep=keep_storage)):
        return
    images: Images = default().images
    removal = images.prune(all=everything, keep_storage=keep, **chosen)
    print_reclaimed("Deleted Images", removal.untagged, removal.deleted, removal.reclaimed)


def _warning(*, everything: bool, keep: str | None) -> str:
    if keep is not None:
        return f"This will remove the least recently used images, until {keep} or less are left."
    if everything:
        return "This will remove all images without at least one container associated to them."
    return "This will remove all dangling images."
