"""`pycontain push`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.images import Images


def command(
    name: Annotated[str, typer.Argument(metavar="NAME[:TAG]", show_default=False)],
    all_tags: Annotated[
        bool, typer.Option("--all-tags", "-a", help="Send every tag of the repository that is here")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the image's full name")] = False,
) -> None:
    """Send an image to its registry."""
    from pycontain.cli.progress import shown
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.images.reference import parse

    reference = parse(name)
    images: Images = default().images
    with shown(quiet=quiet) as progress:
        if all_tags:
            images.push_all(name, progress=progress)
        else:
            if not (quiet or reference.tag):
                print("Using default tag: latest", flush=True)
            images.push(name, progress=progress)
    if quiet:
        print(reference.repository if all_tags else str(reference.with_default_tag()))
