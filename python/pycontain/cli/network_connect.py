"""`pycontain network connect`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.networks import Networks


def command(
    network: Annotated[str, typer.Argument(metavar="NETWORK", show_default=False)],
    container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)],
    aliases: Annotated[
        list[str] | None, typer.Option("--alias", metavar="NAME", help="A further name of it in this network")
    ] = None,
    ip: Annotated[str | None, typer.Option("--ip", metavar="ADDRESS", help="Its IPv4 address")] = None,
    ip6: Annotated[str | None, typer.Option("--ip6", metavar="ADDRESS", help="Its IPv6 address")] = None,
) -> None:
    """Let a container be in a network: at once, if it runs, and at its next starts."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    networks: Networks = default().networks
    networks.connect(network, container, aliases=aliases or (), ip=ip, ip6=ip6)
