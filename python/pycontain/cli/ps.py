"""`pycontain ps`."""

from __future__ import annotations

from pycontain.cli.formatting import FORMAT_HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Annotated, Any

    import typer

    from pycontain.containers import Containers
    from pycontain.containers.listing import Summary


def _label_header(name: str) -> str:
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


_HEADERS: dict[str, Any] = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Label": _label_header,  # as a template calls it: `{{.Label "com.example.tier"}}` stands below `tier`
}
_USUAL = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
_SHORT_MOUNT = 15
_IGNORED = "WARNING: Ignoring custom format, because both --format and --quiet are set."


def command(
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Show those that do not run as well")
    ] = False,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", "-f", metavar="KEY=VALUE", help="Only these; may be given several times"),
    ] = None,
    template: Annotated[str, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP)] = "",
    last: Annotated[
        int | None, typer.Option("--last", "-n", metavar="N", help="The last N made, running or not")
    ] = None,
    latest: Annotated[bool, typer.Option("--latest", "-l", help="The last one made, running or not")] = False,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Show everything in full")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only ids")] = False,
    size: Annotated[bool, typer.Option("--size", "-s", help="Show how much they wrote")] = False,
) -> None:
    """List containers."""
    import gc
    import sys

    from pycontain.cli import filters as flags
    from pycontain.cli.formatting import lines
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    gc.disable()  # of 1,000 containers nothing is garbage before the end, and looking for it takes 25 ms
    containers: Containers = default().containers
    chosen = flags.parsed(filters or (), flags.CONTAINERS)
    count = 1 if latest else last if last is not None and last > 0 else None
    found = containers.summaries(all=everything, last=count, **chosen)
    if quiet:
        if template:
            print(_IGNORED, file=sys.stderr)
        print("".join(f"{one.id if no_trunc else one.id[:12]}\n" for one in found), end="")
        return
    sizes = _sizes if size or ".Size" in template else None
    rows = [_row(one, sizes, no_trunc=no_trunc) for one in found]
    shown: list[Any] = [_fields(row, one) for row, one in zip(rows, found, strict=True)] if template else rows
    for line in lines(shown, _HEADERS, (*_USUAL, "Size") if size else _USUAL, template):
        print(line)


def _row(one: Summary, sizes: Callable[[Summary], str] | None = None, *, no_trunc: bool) -> dict[str, str]:
    from pycontain.cli.columns import when
    from pycontain.cli.status import command_text, status
    from pycontain.containers.published import listed

    running_for, created_at = when(one.created)
    image = one.image
    if image.startswith("sha256:") and not no_trunc:
        image = image[7:19]
    mounts = [mount.name or mount.source for mount in one.mounts]
    return {
        "Command": command_text(one.args, in_full=no_trunc),
        "CreatedAt": created_at,
        "ID": one.id if no_trunc else one.id[:12],
        "Image": image,
        "Labels": ",".join(f"{name}={text}" for name, text in one.labels.items()),
        "LocalVolumes": str(sum(mount.type == "volume" for mount in one.mounts)),
        "Mounts": ",".join(mounts if no_trunc else map(_short, mounts)),
        "Names": one.name,
        "Networks": ",".join(one.networks),
        "Ports": listed(one.state.networks, one.exposed),
        "RunningFor": running_for,
        "Size": "0B" if sizes is None else sizes(one),
        "State": one.state.status,
        "Status": status(one.state),
    }


def _fields(row: dict[str, str], one: Summary) -> dict[str, object]:
    from pycontain.cli.template import Fields

    # a method in docker: a template may call it, and JSON does not show it
    return Fields(
        row, name="*formatter.ContainerContext", zero={"Label": lambda name: one.labels.get(name, "")}
    )


def _short(text: str) -> str:
    return text if len(text) <= _SHORT_MOUNT else text[: _SHORT_MOUNT - 1] + "…"


def _sizes(one: Summary) -> str:
    from pycontain.cli.columns import size
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    document = containers.get(one.id).inspect(size=True)
    return f"{size(document['SizeRw'])} (virtual {size(document['SizeRootFs'])})"
