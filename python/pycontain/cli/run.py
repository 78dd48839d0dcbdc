"""`pycontain run`: a new container, one command in it, its streams and its exit status."""

import inspect
from typing import Annotated, Any

import typer

from pycontain.cli import options

OPTIONS_ANYWHERE = False  # what follows the image belongs to the command


def command(image: str, args: list[str] | None, explain: bool, **flags: Any) -> int:
    """Create a container from an image and run a command in it.

    The image `host` is this machine's own programs and files, below a writable layer.
    """
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    image, words, given = request(image, args, flags)
    engine = default(spares=False)
    if explain:
        typer.echo(engine.explain(image, words, **given))
        return 0
    status: int = engine.run_foreground(image, words, **given)
    return status


def request(
    image: str, args: list[str] | None, flags: dict[str, Any]
) -> tuple[str, list[str], dict[str, Any]]:
    """What the command line asks for: image, command, `ContainerOptions`."""
    given = options.given(flags)
    words = list(args or ())
    if "rootfs" in given:  # there is no image, so the command begins at once
        return "", [image, *words], given
    return image, words, given


def _parameters() -> list[inspect.Parameter]:
    kind = inspect.Parameter.KEYWORD_ONLY
    image = Annotated[str, typer.Argument(metavar="IMAGE", show_default=False)]
    args = Annotated[list[str] | None, typer.Argument(metavar="[COMMAND] [ARG...]", show_default=False)]
    explain = Annotated[bool, typer.Option("--explain", help="Print what would be done, and do nothing")]
    return [
        inspect.Parameter("image", kind, annotation=image),
        inspect.Parameter("args", kind, default=None, annotation=args),
        *options.parameters(),
        inspect.Parameter("explain", kind, default=False, annotation=explain),
    ]


# typer reads the table through these two
_SIGNATURE = inspect.Signature(_parameters(), return_annotation=int)
command.__signature__ = _SIGNATURE  # type: ignore[attr-defined]
command.__annotations__ = {name: parameter.annotation for name, parameter in _SIGNATURE.parameters.items()}
