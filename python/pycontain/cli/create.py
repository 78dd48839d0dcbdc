"""`pycontain create`."""

import inspect
from typing import Any

import typer

from pycontain.cli import run

OPTIONS_ANYWHERE = False  # what follows the image belongs to the command


def command(image: str, args: list[str] | None, **flags: Any) -> int:
    """Make a container from an image, and start nothing."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    image, words, given = run.request(image, args, flags)

    def create(**options: Any) -> int:
        typer.echo(default().create(image, words, **options).id)
        return 0

    return run.pulling(create, image, given)


# typer reads the table through these two
_SIGNATURE = inspect.Signature(run.parameters(), return_annotation=int)
command.__signature__ = _SIGNATURE  # type: ignore[attr-defined]
command.__annotations__ = {name: parameter.annotation for name, parameter in _SIGNATURE.parameters.items()}
