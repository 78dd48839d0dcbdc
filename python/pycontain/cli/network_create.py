"""`pycontain network create`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Annotated

    import typer

    from pycontain.networks import Networks


def command(
    name: Annotated[str, typer.Argument(metavar="NETWORK", show_default=False)],
    attachable: Annotated[  # noqa: ARG001 - every network is
        bool, typer.Option("--attachable", help="Changes nothing: containers can come into any network")
    ] = False,
    aux_addresses: Annotated[
        list[str] | None,
        typer.Option("--aux-address", metavar="NAME=ADDRESS", help="An address that no container gets"),
    ] = None,
    driver: Annotated[
        str, typer.Option("--driver", "-d", metavar="DRIVER", help="bridge, which is the default")
    ] = "bridge",
    gateway: Annotated[
        list[str] | None,
        typer.Option("--gateway", metavar="ADDRESS", help="The bridge's own address, in each subnet"),
    ] = None,
    internal: Annotated[
        bool, typer.Option("--internal", help="Nothing but its containers is reached from it")
    ] = False,
    ip_range: Annotated[
        list[str] | None,
        typer.Option("--ip-range", metavar="SUBNET", help="Containers get addresses of this part alone"),
    ] = None,
    ipam_driver: Annotated[
        str, typer.Option("--ipam-driver", metavar="DRIVER", help="default, and no other")
    ] = "default",
    ipv6: Annotated[bool, typer.Option("--ipv6", help="With addresses of IPv6 as well")] = False,
    labels: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY[=VALUE]", help="Label the network")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--opt", "-o", metavar="KEY=VALUE", help="An option of the driver")
    ] = None,
    subnet: Annotated[
        list[str] | None,
        typer.Option("--subnet", metavar="SUBNET", help="Its addresses; of IPv4, of IPv6, or both"),
    ] = None,
) -> None:
    """Make a network."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import Unsupported

    if ipam_driver != "default":
        raise Unsupported(f"IPAM driver `{ipam_driver}` is not known", hint="`default` is the only one")
    networks: Networks = default().networks
    made = networks.create(
        name,
        driver=driver,
        subnet=_apart(subnet),
        gateway=_apart(gateway),
        ip_range=_apart(ip_range),
        aux_addresses=aux_addresses or (),
        ipv6=ipv6,
        internal=internal,
        labels=labels or (),
        options=options or (),
    )
    print(made.id)


def _apart(values: Iterable[str] | None) -> list[str]:
    """With commas between them, or each with a flag of its own."""
    return [part for value in values or () for part in value.split(",")]
