"""`pycontain search`."""

from __future__ import annotations

from pycontain.cli.formatting import FORMAT_HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.registry.searching import Found

_HEADERS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
    "IsAutomated": "AUTOMATED",
}
_USUAL = ("Name", "Description", "StarCount", "IsOfficial")
_SHORT = 45
_MOST = 100
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def command(
    term: Annotated[str, typer.Argument(metavar="[REGISTRY/]TERM", show_default=False)],
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", "-f", metavar="KEY=VALUE", help="stars=N, is-official=true"),
    ] = None,
    template: Annotated[str, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP)] = "",
    limit: Annotated[int, typer.Option(metavar="N", help="At most so many: 1 to 100")] = 25,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Show descriptions in full")] = False,
) -> None:
    """Look for images in a registry."""
    from pycontain.cli.formatting import fields, lines
    from pycontain.errors import InvalidOption
    from pycontain.registry import Client
    from pycontain.registry.searching import search

    if not 1 <= limit <= _MOST:
        raise InvalidOption(f"--limit is {limit}, not 1 to {_MOST}")
    stars, official = _wanted(filters or [])
    with Client() as client:
        registry, rest = _registry(term, client.settings.default)
        found = search(client, registry, rest, limit)
    rows = [
        _row(one, no_trunc=no_trunc)
        for one in found
        if one.stars >= stars and official in {None, one.official}
    ]
    shown = [fields(row, "searchContext") for row in rows] if template else rows
    for line in lines(shown, _HEADERS, _USUAL, template):
        print(line)


def _registry(term: str, default: str) -> tuple[str, str]:
    first, slash, rest = term.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        return first, rest
    return default, term


def _wanted(filters: list[str]) -> tuple[int, bool | None]:
    """The least number of stars, and whether only official ones."""
    from pycontain.errors import InvalidOption
    from pycontain.registry.received import number

    stars, official = 0, None
    for text in filters:
        key, _, value = text.partition("=")
        if key == "stars" and (least := number(value)) is not None:
            stars = least
        elif key == "is-official" and value.lower() in _TRUTH:
            official = _TRUTH[value.lower()]
        else:
            raise InvalidOption(f"invalid filter `{text}`", hint="filters are stars=N, is-official=true")
    return stars, official


def _row(found: Found, *, no_trunc: bool) -> dict[str, str]:
    description = found.description
    if len(description) > _SHORT and not no_trunc:
        description = description[: _SHORT - 1] + "…"
    return {
        "Name": found.name,
        "Description": description,
        "StarCount": str(found.stars),
        "IsOfficial": "[OK]" if found.official else "",
        "IsAutomated": "",
    }
