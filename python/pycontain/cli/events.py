"""`pycontain events`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Annotated, Any

    import typer

    from pycontain.engine import Engine
    from pycontain.runtime.events import Event


def command(
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", "-f", metavar="KEY=VALUE", help="container, event, image, label, network or type"
        ),
    ] = None,
    template: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="json, or a Go template for each")
    ] = "",
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Those before, too: 10m ago, or RFC 3339")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="End then: 10m ago, or RFC 3339")
    ] = None,
) -> None:
    """Show what happens, as it happens."""
    import sys

    from pycontain.cli import filters as flags
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    engine: Engine = default()
    render = _renderer(template)
    chosen = flags.parsed(filters or (), flags.EVENTS)
    for event in engine.events(since=since, until=until, **chosen):
        print(render(event), flush=True)
        sys.stdout.flush()


def _renderer(template: str) -> Callable[[Event], str]:
    if not template:
        return _line
    from pycontain.cli.template import Fields, Template, as_json

    if template == "json":
        return lambda event: as_json(_document(event))
    parsed = Template(template)

    def render(event: Event) -> str:
        document = _document(event)
        actor = Fields(document["Actor"])
        # the first versions of docker's API called three of them otherwise
        old = {
            "Status": event.action,
            "ID": event.id,
            "From": event.attributes.get("image", ""),
            "Time": document["time"],
            "TimeNano": document["timeNano"],
            "Scope": document["scope"],
        }
        return parsed.render(Fields({**document, "Actor": actor}, zero=old))

    return render


def _document(event: Event) -> dict[str, Any]:
    return {
        "status": event.action,
        "id": event.id,
        "from": event.attributes.get("image", ""),
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": dict(event.attributes)},
        "scope": "local",
        "time": event.nanoseconds // 1_000_000_000,
        "timeNano": event.nanoseconds,
    }


def _line(event: Event) -> str:
    """`2026-01-31T12:00:00.000000000+00:00 container start 4f0c… (image=alpine, name=web)`."""
    import datetime

    from pycontain.escaping import escaped

    seconds, nanoseconds = divmod(event.nanoseconds, 1_000_000_000)
    zone = datetime.datetime.fromtimestamp(seconds).astimezone()
    moment, offset = zone.strftime("%Y-%m-%dT%H:%M:%S"), zone.strftime("%z")
    attributes = ", ".join(f"{name}={event.attributes[name]}" for name in sorted(event.attributes))
    when = f"{moment}.{nanoseconds:09}{offset[:3]}:{offset[3:]}"
    return escaped(f"{when} {event.type} {event.action} {event.id} ({attributes})")
