"""`pycontain network rm`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.networks import Networks


def command(
    names: Annotated[list[str], typer.Argument(metavar="NETWORK...", show_default=False)],
    force: Annotated[bool, typer.Option("--force", "-f", help="What is not there counts as removed")] = False,
) -> int:
    """Remove networks; goes on after one that cannot be removed, and exits with 1 then."""
    from pycontain.cli.each import failed
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import NetworkNotFound, PycontainError

    networks: Networks = default().networks
    status = 0
    told: set[str] = set()
    for name in names:
        try:
            networks.remove(name)
        except PycontainError as error:
            if not (force and isinstance(error, NetworkNotFound)):
                failed(error, told=told)
                status = 1
            continue
        print(name, flush=True)
    return status
