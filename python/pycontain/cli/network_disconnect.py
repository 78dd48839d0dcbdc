"""`pycontain network disconnect`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.networks import Networks


def command(
    network: Annotated[str, typer.Argument(metavar="NETWORK", show_default=False)],
    container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="A container that is not in it counts as taken out")
    ] = False,
) -> None:
    """Take a container out of a network: at once, if it runs, and for its next starts."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    networks: Networks = default().networks
    networks.disconnect(network, container, force=force)
