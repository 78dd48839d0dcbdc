"""`pycontain update`."""

from __future__ import annotations

from pycontain.cli import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect
    from typing import Any

    from pycontain.containers import Containers


def command(names: list[str], **flags: Any) -> int:
    """Change limits and the restart policy of containers; goes on after a failure, and exits with 1 then."""
    from pycontain.cli.each import each
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import InvalidOption

    given = options.given(flags)
    if not given:
        raise InvalidOption("nothing to change", hint="give at least one flag")
    containers: Containers = default().containers
    return each(names, lambda name: containers.get(name).update(**given))


def signature() -> inspect.Signature:
    """What typer reads in place of the function's own."""
    import inspect

    import typer

    from pycontain.containers.updating import OPTIONS

    names = typer.Argument(metavar="CONTAINER...", show_default=False)
    flags = [parameter for parameter in options.parameters() if parameter.name in OPTIONS]
    return inspect.Signature([options.parameter("names", list[str], names), *flags])
