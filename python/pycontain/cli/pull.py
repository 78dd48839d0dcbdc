"""`pycontain pull`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.images import Images


def command(
    name: Annotated[str, typer.Argument(metavar="NAME[:TAG|@DIGEST]", show_default=False)],
    all_tags: Annotated[
        bool, typer.Option("--all-tags", "-a", help="Fetch every tag of the repository")
    ] = False,
    platform: Annotated[
        str | None, typer.Option(metavar="OS[/ARCH[/VARIANT]]", help="Which of the image's platforms")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the image's full name")] = False,
) -> None:
    """Fetch an image from its registry."""
    from pycontain.cli.progress import shown
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.images.reference import parse

    reference = parse(name)
    images: Images = default().images
    if all_tags:
        with shown(quiet=quiet) as progress:
            images.pull_all(name, platform=platform, progress=progress)
        print(reference.repository)
        return
    if not (quiet or reference.tag or reference.digest):
        print("Using default tag: latest", flush=True)
    with shown(quiet=quiet) as progress:
        images.pull(name, platform=platform, progress=progress)
    print(str(reference.with_default_tag()))
