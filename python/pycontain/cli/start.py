"""`pycontain start`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    names: Annotated[list[str], typer.Argument(metavar="CONTAINER...", show_default=False)],
    attach: Annotated[
        bool, typer.Option("--attach", "-a", help="Show what it writes, pass on signals, and exit as it does")
    ] = False,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="The same, and let it read what is typed")
    ] = False,
    detach_keys: Annotated[
        str, typer.Option("--detach-keys", metavar="KEYS", help="What is typed to leave it")
    ] = "ctrl-p,ctrl-q",
) -> int:
    """Start containers in the background; goes on after one that cannot be started, and exits with 1 then."""
    from pycontain.cli.each import each
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import InvalidOption

    containers: Containers = default().containers
    if not attach and not interactive:
        return each(names, lambda name: containers.get(name).start())
    if len(names) > 1:
        raise InvalidOption("cannot attach to several containers at once", hint="name one")
    container = containers.get(names[0])
    status = container.show(start=True, stdin=interactive, detach_keys=detach_keys)
    return 0 if status is None else status
