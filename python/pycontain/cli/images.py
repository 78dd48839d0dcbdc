"""`pycontain images`."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pycontain.images import Image, Images

_NONE = "<none>"


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="[REPOSITORY[:TAG]]", show_default=False, help="Only these")
    ] = None,
    everything: Annotated[  # noqa: ARG001 - there are no hidden ones
        bool, typer.Option("--all", "-a", help="Show all images, those without a name too")
    ] = False,
    digests: Annotated[bool, typer.Option("--digests", help="Show digests")] = False,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Show ids in full")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only ids")] = False,
) -> None:
    """List images."""
    from pycontain.cli.columns import table
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    images: Images = default().images
    rows = [row for image in images.list() for row in _rows(image, name, no_trunc)]
    if quiet:
        for id in dict.fromkeys(row[3] for row in rows):
            typer.echo(id)
        return
    header = ("REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE")
    shown = [header, *rows]
    for line in table(shown if digests else [(*row[:2], *row[3:]) for row in shown]):
        typer.echo(line)


def _rows(image: "Image", name: str | None, no_trunc: bool) -> list[tuple[str, ...]]:
    """A row for each name, and one for an image without any."""
    from pycontain.cli.columns import size
    from pycontain.images.reference import parse

    wanted = parse(name) if name is not None else None
    tags = [parse(tag) for tag in image.tags]
    digests = {parse(digest).repository: parse(digest).digest for digest in image.digests}
    rest = (image.id if no_trunc else image.id[7:19], _created(image.created), size(image.size))
    rows: list[tuple[str, ...]] = [
        (tag.familiar_repository, tag.tag or _NONE, digests.get(tag.repository) or _NONE, *rest)
        for tag in tags
        if wanted is None
        or (tag.repository == wanted.repository and wanted.tag in {None, tag.tag} and not wanted.digest)
    ]
    if not tags and wanted is None:
        rows = [(_NONE, _NONE, _NONE, *rest)]
    return rows


def _created(text: str) -> str:
    import datetime

    from pycontain.cli.columns import age

    try:
        created = datetime.datetime.fromisoformat(text)
    except ValueError:
        return "N/A"
    if created.tzinfo is None or created.year < 1970:
        return "N/A"
    return age((datetime.datetime.now(datetime.UTC) - created).total_seconds())
