"""`pycontain rmi`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.images import Images


def command(
    names: Annotated[list[str], typer.Argument(metavar="IMAGE...", show_default=False)],
    force: Annotated[
        bool,
        typer.Option(
            "--force", "-f", help="Remove by id in spite of several names, by name in spite of containers"
        ),
    ] = False,
    no_prune: Annotated[  # noqa: ARG001 - an image has no parents that are images too
        bool, typer.Option("--no-prune", help="Keep untagged parents")
    ] = False,
) -> int:
    """Remove images; goes on after one that cannot be removed, and exits with 1 then."""
    from pycontain.cli.each import failed
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import ImageNotFound, PycontainError

    images: Images = default().images
    status = 0
    told: set[str] = set()
    for name in names:
        try:
            removal = images.remove(name, force=force)
        except PycontainError as error:
            failed(error, told=told)
            # as docker: with force, what is not there counts as removed
            status = status if force and isinstance(error, ImageNotFound) else 1
            continue
        for untagged in removal.untagged:
            print(f"Untagged: {untagged}")
        for deleted in removal.deleted:
            print(f"Deleted: {deleted}")
    return status
