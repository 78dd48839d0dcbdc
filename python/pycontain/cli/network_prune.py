"""`pycontain network prune`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.networks import Networks


def command(
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="until, label or label!")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask")] = False,
) -> None:
    """Remove networks that nothing uses."""
    from pycontain.cli import filters as flags
    from pycontain.cli.confirmation import confirmed, print_networks
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    chosen = flags.parsed(filters or (), flags.PRUNE)
    if not force and not confirmed(
        "This will remove all custom networks not used by at least one container."
    ):
        return
    networks: Networks = default().networks
    print_networks(networks.prune(**chosen))
