"""`pycontain inspect`: whatever has the name."""

from __future__ import annotations

from pycontain.cli.container_inspect import container
from pycontain.cli.image_inspect import image
from pycontain.cli.network_inspect import network
from pycontain.cli.volume_inspect import volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Annotated, Any

    import typer

# in the order in which a name is looked up
_KINDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "container": container,
    "image": image,
    "network": network,
    "volume": volume,
}


def command(
    names: Annotated[list[str], typer.Argument(metavar="NAME|ID...", show_default=False)],
    template: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help="json, or a Go template for each")
    ] = "",
    size: Annotated[bool, typer.Option("--size", "-s", help="Show sizes of containers")] = False,
    kind: Annotated[
        str,
        typer.Option("--type", metavar="TYPE", help="Only container, image, network or volume"),
    ] = "",
) -> int:
    """Show all about containers, images, networks and volumes, whichever has the name."""
    from pycontain.cli.inspection import show
    from pycontain.errors import ImageNotFound, InvalidOption, NotFound

    if kind and kind not in _KINDS:
        raise InvalidOption(f'unknown type: "{kind}": must be one of {", ".join(_KINDS)}')

    def find(name: str) -> dict[str, Any]:
        for lookup in [_KINDS[kind]] if kind else _KINDS.values():
            try:
                return container(name, size=True) if size and lookup is container else lookup(name)
            except (NotFound, InvalidOption) as error:
                failure = error
        if kind:
            raise failure
        raise ImageNotFound(f"no such object: `{name}`")

    return show(names, find, template)
