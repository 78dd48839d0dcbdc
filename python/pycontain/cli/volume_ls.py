"""`pycontain volume ls`."""

from __future__ import annotations

from pycontain.cli.formatting import FORMAT_HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.volumes import Volume, Volumes

HEADERS = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Availability": "AVAILABILITY",
    "Group": "GROUP",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Mountpoint": "MOUNTPOINT",
    "Scope": "SCOPE",
    "Size": "SIZE",
    "Status": "STATUS",
}


def command(
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", "-f", metavar="KEY=VALUE", help="dangling, driver, label or name"),
    ] = None,
    template: Annotated[str, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP)] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only names")] = False,
) -> None:
    """List volumes."""
    from pycontain.cli import filters as flags
    from pycontain.cli.formatting import lines
    from pycontain.cli.template import Fields
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    volumes: Volumes = default().volumes
    found = volumes.list(**flags.parsed(filters or (), flags.VOLUMES))
    if quiet and not template:
        print("".join(f"{volume.name}\n" for volume in found), end="")
        return
    rows = [
        # a method in docker: a template may call it, and JSON does not show it
        Fields(
            row(one),
            name="*formatter.volumeContext",
            zero={"Label": lambda key, one=one: one.labels.get(key, "")},
        )
        for one in found
    ]
    for line in lines(rows, HEADERS, ("Driver", "Name"), template):
        print(line)


def row(volume: Volume) -> dict[str, str]:
    """What docker's fields have for it."""
    return {
        "Availability": "N/A",
        "Driver": "local",
        "Group": "N/A",
        "Labels": ",".join(f"{key}={text}" for key, text in volume.labels.items()),
        "Links": "N/A",
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    }
