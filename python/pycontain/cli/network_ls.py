"""`pycontain network ls`."""

from __future__ import annotations

from pycontain.cli.formatting import FORMAT_HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated, Any

    import typer

    from pycontain.networks import Network, Networks


def _label_header(name: str) -> str:
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


_HEADERS: dict[str, Any] = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
    "Label": _label_header,
}
_USUAL = ("ID", "Name", "Driver", "Scope")
_NEVER = "0001-01-01 00:00:00 +0000 UTC"


def command(
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            "-f",
            metavar="KEY=VALUE",
            help="dangling, driver, id, label, name, scope, type",
        ),
    ] = None,
    template: Annotated[str, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP)] = "",
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Show ids in full")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only ids")] = False,
) -> None:
    """List networks."""
    from pycontain.cli import filters as flags
    from pycontain.cli.formatting import lines
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    networks: Networks = default().networks
    found = networks.list(**flags.parsed(filters or (), flags.NETWORKS))
    rows = [_row(one, no_trunc=no_trunc) for one in found]
    if quiet and not template:
        print("".join(f"{row['ID']}\n" for row in rows), end="")
        return
    shown: list[Any] = [_fields(row, one) for row, one in zip(rows, found, strict=True)] if template else rows
    for line in lines(shown, _HEADERS, _USUAL, template):
        print(line)


def _row(one: Network, *, no_trunc: bool) -> dict[str, str]:
    versions = {subnet.prefix.version for subnet in one.subnets}
    return {
        "ID": one.id if no_trunc else one.id[:12],
        "Name": one.name,
        "Driver": one.driver,
        "Scope": "local",
        "IPv4": str(4 in versions).lower(),
        "IPv6": str(6 in versions).lower(),
        "Internal": str(one.internal).lower(),
        "Labels": ",".join(f"{name}={text}" for name, text in one.labels.items()),
        "CreatedAt": one.created.replace("T", " ").replace("Z", " +0000 UTC") or _NEVER,
    }


def _fields(row: dict[str, str], one: Network) -> dict[str, object]:
    from pycontain.cli.template import Fields

    # as of `ps`: a method in docker
    return Fields(row, name="*network.networkContext", zero={"Label": lambda name: one.labels.get(name, "")})
