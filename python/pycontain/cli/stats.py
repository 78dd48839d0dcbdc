"""`pycontain stats`."""

from __future__ import annotations

from pycontain.cli.formatting import FORMAT_HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Annotated, Any

    import typer

    from pycontain.containers import Containers
    from pycontain.containers.metering import Stats

_HEADERS = {
    "ID": "CONTAINER ID",
    "Container": "CONTAINER",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
    "Throttled": "THROTTLED",
    "OOMKills": "OOM KILLS",
    "Pressure": "PRESSURE",
}
_USUAL = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_CLEAR = "\033[2J\033[H"
_INTERVAL = 1.0


def command(
    names: Annotated[list[str] | None, typer.Argument(metavar="[CONTAINER...]", show_default=False)] = None,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Show those that do not run as well")
    ] = False,
    template: Annotated[str, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP)] = "",
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Show it once")] = False,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Show everything in full")] = False,
) -> None:
    """Show what containers use, again and again."""
    import sys
    import time

    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    clear = _CLEAR if sys.stdout.isatty() and not no_stream else ""
    while True:
        began = time.monotonic()
        _show(lambda: containers.stats(names or (), all=everything), clear, template, no_trunc=no_trunc)
        if no_stream:
            return
        time.sleep(max(0.0, began + _INTERVAL - time.monotonic()))


def _show(read: Callable[[], Sequence[Stats]], clear: str, template: str, *, no_trunc: bool) -> None:
    from pycontain.cli.formatting import fields, lines

    rows: list[Any] = [_row(one, no_trunc=no_trunc) for one in read()]
    if template:
        rows = [fields(row, "StatsContext") for row in rows]
    text = "\n".join(lines(rows, _HEADERS, _USUAL, template))
    print(clear + text, end="\n" if text else "", flush=True)


def _row(one: Stats, *, no_trunc: bool) -> dict[str, str]:
    from pycontain.cli.columns import binary_size, size

    return {
        "BlockIO": f"{size(one.io.read)} / {size(one.io.written)}",
        "CPUPerc": f"{one.cpu_share * 100:.2f}%",
        "Container": one.id if no_trunc else one.id[:12],
        "ID": one.id if no_trunc else one.id[:12],
        "MemPerc": f"{one.memory_share * 100:.2f}%",
        "MemUsage": f"{binary_size(one.memory)} / {binary_size(one.memory_limit)}",
        "Name": one.name,
        "NetIO": f"{size(one.network.received)} / {size(one.network.sent)}",
        "OOMKills": str(one.oom_kills),
        "PIDs": str(one.pids),
        "Pressure": ", ".join(f"{what} {share * 100:.0f}%" for what, share in one.pressure.items()),
        "Throttled": f"{one.throttled:.3g}s",
    }
