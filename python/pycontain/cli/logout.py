"""`pycontain logout`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer


def command(
    server: Annotated[
        str | None, typer.Argument(metavar="[SERVER]", show_default=False, help="The registry")
    ] = None,
) -> None:
    """Log out of a registry."""
    from pycontain.registry.credentials import registry_of
    from pycontain.registry.login import logout
    from pycontain.registry.settings import default_registry

    registry = registry_of(server) if server else default_registry()
    if logout(registry):
        print(f"Removing login credentials for {registry}")
    else:
        print(f"Not logged in to {registry}")
