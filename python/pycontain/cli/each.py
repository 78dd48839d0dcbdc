"""One thing after another, as docker's commands with several names do it: on after one that failed."""

from __future__ import annotations

import typer

from pycontain.cli.options import in_flags
from pycontain.errors import NotFound, PycontainError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["each", "failed"]


def each(
    names: Iterable[str],
    act: Callable[[str], object],
    *,
    missing_is_done: bool = False,
    shown: Callable[[object], str] | None = None,
) -> int:
    """Print each name for which `act` has been done; returns 1 when it failed for one of them.

    Args:
        names: as they were given.
        act: is called with each.
        missing_is_done: what is not there is told of, and is no failure.
        shown: what is printed instead of the name, made of what `act` returned.
    """
    status = 0
    for name in names:
        try:
            done = act(name)
        except PycontainError as error:
            failed(error)
            status = status if missing_is_done and isinstance(error, NotFound) else 1
            continue
        typer.echo(name if shown is None else shown(done))
    return status


def failed(error: PycontainError) -> None:
    """Tell of a failure after which the command goes on."""
    typer.echo(f"pycontain: {in_flags(str(error))}", err=True)
    if error.hint:
        typer.echo(f"hint: {in_flags(error.hint)}", err=True)
