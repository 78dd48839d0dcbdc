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
    """Show which ports of a container are published. None are yet: there are no networks that could."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import NotFound

    containers: Containers = default().containers
    name = containers.get(container).name
    if port is not None:
        raise NotFound(f"no public port `{port if '/' in port else f'{port}/tcp'}` published for `{name}`")
