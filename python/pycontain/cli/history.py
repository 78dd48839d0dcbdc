"""`pycontain history`."""

from __future__ import annotations

from pycontain.cli.formatting import FORMAT_HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Annotated

    import typer

    from pycontain.images import Image, Images

_HEADERS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
_MISSING = "<missing>"  # of which image that step was the last: images do not tell
_LONGEST = 45


def command(
    name: Annotated[str, typer.Argument(metavar="IMAGE", show_default=False)],
    template: Annotated[str, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP)] = "",
    human: Annotated[
        bool,
        typer.Option("--human/--no-human", "-H", help="Show ages and short sizes; --human=false: exact ones"),
    ] = True,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Show everything in full")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only ids")] = False,
) -> None:
    """Show how an image was made, the last step first."""
    from pycontain.cli.formatting import fields, lines
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    images: Images = default().images
    steps = list(_rows(images.get(name), human=human, no_trunc=no_trunc))
    if quiet and not template:
        for step in steps:
            print(step["ID"])
        return
    made = "CreatedSince" if human else "CreatedAt"
    rows = [fields(step, "historyContext") for step in steps] if template else steps
    for line in lines(rows, _HEADERS, ("ID", made, "CreatedBy", "Size", "Comment"), template):
        print(line)


def _rows(image: Image, *, human: bool, no_trunc: bool) -> Iterator[dict[str, str]]:
    from pycontain.cli.columns import size, when
    from pycontain.escaping import escaped
    from pycontain.images.listing import created_seconds

    id = image.id if no_trunc else image.id[7:19]
    for step in reversed(image.history):
        created = created_seconds(step.created)
        command = step.created_by.replace("\t", " ").replace("\n", " ")
        if not no_trunc and len(command) > _LONGEST:
            command = command[: _LONGEST - 1] + "…"
        yield {
            "ID": id,
            "CreatedSince": when(created)[0],
            "CreatedAt": "N/A" if created is None else _rfc3339(created),
            "CreatedBy": escaped(command),
            "Size": size(step.size) if human else str(step.size),
            "Comment": escaped(step.comment),
        }
        id = _MISSING


def _rfc3339(seconds: float) -> str:
    import datetime

    local = datetime.datetime.fromtimestamp(int(seconds)).astimezone()
    return local.isoformat().replace("+00:00", "Z")
