"""`pycontain image bootstrap`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.images import Images


def command(
    distribution: Annotated[
        str,
        typer.Argument(
            metavar="DISTRIBUTION[:SUITE]", show_default=False, help="debian:bookworm, ubuntu:noble"
        ),
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", show_default=False, help="The image's, if another")
    ] = None,
    mirror: Annotated[
        str | None, typer.Option("--mirror", metavar="URL", help="Where packages come from")
    ] = None,
    variant: Annotated[
        str,
        typer.Option(
            "--variant",
            metavar="VARIANT",
            help="Which packages it has [default: minbase]",
            show_default=False,
        ),
    ] = "minbase",
    include: Annotated[
        list[str] | None, typer.Option("--include", metavar="PACKAGE,...", help="Further packages")
    ] = None,
) -> None:
    """Make a base image from a distribution's package mirror."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    images: Images = default().images
    packages = [package for listed in include or () for package in listed.split(",")]
    image = images.bootstrap(distribution, name, mirror=mirror, variant=variant, include=packages)
    print(image.id)
