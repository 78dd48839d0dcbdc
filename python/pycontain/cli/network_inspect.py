"""`pycontain network inspect`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated, Any

    import typer

    from pycontain.networks import Networks


def command(
    names: Annotated[list[str], typer.Argument(metavar="NETWORK...", show_default=False)],
    template: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help="json, or a Go template for each")
    ] = "",
    verbose: Annotated[  # noqa: ARG001 - what docker adds is of services
        bool, typer.Option("--verbose", "-v", help="Changes nothing: there are no services")
    ] = False,
) -> int:
    """Show all about networks."""
    from pycontain.cli.inspection import show

    return show(names, network, template)


def network(name: str) -> dict[str, Any]:
    """All about the network of this name."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    networks: Networks = default().networks
    return networks.get(name).inspect()
