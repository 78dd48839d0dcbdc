"""`pycontain volume rm`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.volumes import Volumes


def command(
    names: Annotated[list[str], typer.Argument(metavar="VOLUME...", show_default=False)],
    force: Annotated[bool, typer.Option("--force", "-f", help="One that is not there is as good")] = False,
) -> int:
    """Remove volumes that no container uses; on after one that cannot go, with status 1 then."""
    from pycontain.cli.each import each
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    volumes: Volumes = default().volumes
    return each(names, lambda name: volumes.remove(name, force=force))
