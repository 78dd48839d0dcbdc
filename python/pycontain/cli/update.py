"""`pycontain update`."""

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pycontain.cli import options

if TYPE_CHECKING:
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


def _signature() -> inspect.Signature:
    from pycontain.containers.updating import OPTIONS

    names = Annotated[list[str], typer.Argument(metavar="CONTAINER...", show_default=False)]
    first = inspect.Parameter("names", inspect.Parameter.KEYWORD_ONLY, annotation=names)
    flags = [parameter for parameter in options.parameters() if parameter.name in OPTIONS]
    return inspect.Signature([first, *flags], return_annotation=int)


# typer reads the table through these two
_SIGNATURE = _signature()
command.__signature__ = _SIGNATURE  # type: ignore[attr-defined]
command.__annotations__ = {name: parameter.annotation for name, parameter in _SIGNATURE.parameters.items()}
