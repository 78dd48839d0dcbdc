"""`pycontain port`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)],
    port: Annotated[str | None, typer.Argument(metavar="[PRIVATE_PORT[/PROTO]]", show_default=False)] = None,
) -> None:
    """Show which ports of a container are published."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import NotFound
    from pycontain.runtime.ports import pair

    containers: Containers = default().containers
    found = containers.get(container)
    published = found.ports()
    if port is None:
        for inside, places in published.items():
            for place in places:
                print(f"{inside} -> {pair(*place)}")
        return
    wanted = port if "/" in port else f"{port}/tcp"
    if not published.get(wanted):
        raise NotFound(f"no public port `{wanted}` published for `{found.name}`")
    for place in published[wanted]:
        print(pair(*place))
