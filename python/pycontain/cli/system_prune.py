"""`pycontain system prune`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.engine import Engine

_UNUSED_NETWORKS = "all networks not used by at least one container"
_UNFINISHED = "what ended processes left unfinished"


def command(
    everything: Annotated[
        bool,
        typer.Option("--all", "-a", help="Remove all images that no container uses, not only untagged ones"),
    ] = False,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="until, label or label!")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask")] = False,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Remove volumes without a name that no container uses, too")
    ] = False,
) -> None:
    """Remove what nothing uses."""
    from pycontain.cli import filters as flags
    from pycontain.cli.confirmation import confirmed, print_networks, print_reclaimed
    from pycontain.cli.volume_prune import print_deleted
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import InvalidOption

    chosen = flags.parsed(filters or (), flags.PRUNE)
    if volumes and "until" in chosen:
        raise InvalidOption("filter `until` and `--volumes` exclude each other", hint="leave one of them out")
    if not force and not confirmed(_warning(everything, volumes, filters or [])):
        return
    engine: Engine = default()
    removed = engine.containers.prune(**chosen)
    if removed.ids:
        print("\n".join(["Deleted Containers:", *removed.ids, ""]))
    print_networks(engine.networks.prune(**chosen))
    reclaimed = removed.reclaimed
    if volumes:
        chosen_labels = {key: value for key, value in chosen.items() if key != "until"}
        pruned = engine.volumes.prune(**chosen_labels)
        print_deleted(pruned)
        reclaimed += pruned.reclaimed
    removal = engine.prune(all=everything, **chosen)
    print_reclaimed("Deleted Images", removal.untagged, removal.deleted, reclaimed + removal.reclaimed)


def _warning(everything: bool, volumes: bool, filters: list[str]) -> str:
    images = (
        "all images without at least one container associated to them"
        if everything
        else "all dangling images"
    )
    of_volumes = ["all anonymous volumes not used by at least one container"] * volumes
    kinds = ["all stopped containers", _UNUSED_NETWORKS, *of_volumes, images, _UNFINISHED]
    lines = ["This will remove:", *(f"  - {kind}" for kind in kinds), ""]
    if filters:
        lines += ["  Items to be pruned will be filtered with:", *(f"  - {text}" for text in filters), ""]
    return "\n".join(lines)
