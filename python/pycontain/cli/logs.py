"""`pycontain logs`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers

_DIGITS = 9


def command(
    container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)],
    details: Annotated[
        bool, typer.Option("--details", help="A blank before each line, as docker has without details")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on for as long as it runs")] = False,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Nothing older: 10m ago, or RFC 3339")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Nothing younger: 10m ago, or RFC 3339")
    ] = None,
    tail: Annotated[
        str, typer.Option("--tail", "-n", metavar="N", help="Begin with the last N lines")
    ] = "all",
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Show when each was written")
    ] = False,
) -> None:
    """Show what a container wrote to its standard output and error."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    found = containers.get(container).logs(follow=follow, since=since, until=until, tail=_count(tail))
    streams = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    blank = " " if details else ""
    for entry in found:
        stream = streams.get(entry.stream, sys.stdout.buffer)
        text = f"{blank}{entry.line}"
        if timestamps:
            text = f"{_padded(entry.timestamp)} {text}"
        stream.write(text.encode(errors="surrogateescape"))
        if follow or stream is sys.stderr.buffer:
            stream.flush()


def _count(tail: str) -> int | None:
    """As docker: what is no number, or below 0, means all."""
    return int(tail) if tail.isascii() and tail.isdecimal() else None


def _padded(timestamp: str) -> str:
    whole, _, fraction = timestamp.removesuffix("Z").partition(".")
    return f"{whole}.{fraction:0<{_DIGITS}}Z"
