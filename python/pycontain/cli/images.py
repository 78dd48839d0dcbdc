"""`pycontain images`."""

from __future__ import annotations

from pycontain.cli.formatting import FORMAT_HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Annotated

    import typer

    from pycontain.images import Images
    from pycontain.images.listing import Summary

_NONE = "<none>"
_HEADERS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}
_USUAL = ("Repository", "Tag", "ID", "CreatedSince", "Size")
_WITH_DIGESTS = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[REPOSITORY[:TAG]]", show_default=False, help="Only these; a pattern may have * and ?"
        ),
    ] = None,
    everything: Annotated[  # noqa: ARG001 - there are no hidden ones
        bool, typer.Option("--all", "-a", help="Show all images, those without a name too")
    ] = False,
    digests: Annotated[bool, typer.Option("--digests", help="Show digests")] = False,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", "-f", metavar="KEY=VALUE", help="dangling, label, before, since, until, reference"
        ),
    ] = None,
    template: Annotated[str, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP)] = "",
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Show ids in full")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only ids")] = False,
) -> None:
    """List images."""
    from pycontain.cli import filters as flags
    from pycontain.cli.formatting import fields, lines
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    images: Images = default().images
    chosen = flags.parsed(filters or (), flags.IMAGES)
    if name is not None:
        chosen.setdefault("reference", []).append(name)
    found = images.summaries(**chosen)
    shows_digests = digests or "{{.Digest}}" in template
    cells = [row for image in found for row in rows(image, digests=shows_digests, no_trunc=no_trunc)]
    if quiet and not template:
        print("".join(f"{row['ID']}\n" for row in cells), end="")
        return
    shown = [fields(row, "imageContext") for row in cells] if template else cells
    for line in lines(shown, _HEADERS, _WITH_DIGESTS if digests else _USUAL, template):
        print(line)


def rows(image: Summary, *, digests: bool, no_trunc: bool) -> Iterator[dict[str, str]]:
    """What docker's fields have for each of its names."""
    from pycontain.cli.columns import size, when

    created_since, created_at = when(image.created)
    rest = {
        "ID": image.id if no_trunc else image.id[7:19],
        "CreatedSince": created_since,
        "CreatedAt": created_at,
        "Size": size(image.size),
        "VirtualSize": size(image.size),
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
    }
    for repository, tag, digest in _names(image, digests=digests):
        yield {"Repository": repository, "Tag": tag, "Digest": digest, **rest}


def _names(image: Summary, *, digests: bool) -> Iterator[tuple[str, str, str]]:
    """A row for each tag; one for a repository in which it has only a digest; one if it has no name."""
    known: dict[str, list[str]] = {}
    for reference in image.digests:
        known.setdefault(reference.familiar_repository, []).append(reference.digest or _NONE)
    tagged = set()
    for reference in image.tags:
        repository = reference.familiar_repository
        tagged.add(repository)
        for digest in known.get(repository, [_NONE]) if digests else [_NONE]:
            yield repository, reference.tag or _NONE, digest
    for repository in known.keys() - tagged:
        for digest in known[repository] if digests else [_NONE]:
            yield repository, _NONE, digest
    if not image.references:
        yield _NONE, _NONE, _NONE
