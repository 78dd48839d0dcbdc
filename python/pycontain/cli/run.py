"""`pycontain run`: a new container, one command in it, its streams and its exit status."""

import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pycontain.cli import options

OPTIONS_ANYWHERE = False  # what follows the image belongs to the command


def command(
    image: str, args: list[str] | None, explain: bool, detach: bool, detach_keys: str | None, **flags: Any
) -> int:
    """Create a container from an image and run a command in it.

    The image `host` is this machine's own programs and files, below a writable layer.
    """
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    image, words, given = request(image, args, flags)

    def start(**options: Any) -> int:
        if explain:
            typer.echo(default().explain(image, words, **options))
            return 0
        if detach:
            typer.echo(default().start(image, words, **options).id)
            return 0
        if detach_keys is not None:
            options["detach_keys"] = detach_keys
        status: int = default().run_foreground(image, words, **options)
        return status

    return pulling(start, image, given)


def pulling(start: Callable[..., int], image: str, given: dict[str, Any]) -> int:
    """Start what `given` describes; an image that has to be fetched first is, with progress on stderr."""
    from pycontain.errors import ImageNotFound

    when = given.get("pull", "missing")
    if when not in {"missing", "always"} or not image or image == "host":
        return start(**given)
    if when == "missing":
        try:
            return start(**{**given, "pull": "never"})
        except ImageNotFound:
            if image.startswith("sha256:"):
                raise
        from pycontain.images.reference import parse

        print(f"Unable to find image '{parse(image).with_default_tag().familiar}' locally", file=sys.stderr)
    from pycontain.cli.progress import shown
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    with shown(sys.stderr) as progress:
        default().images.pull(image, platform=given.get("platform"), progress=progress)
    return start(**{**given, "pull": "never"})


def request(
    image: str, args: list[str] | None, flags: dict[str, Any]
) -> tuple[str, list[str], dict[str, Any]]:
    """What the command line asks for: image, command, `ContainerOptions`."""
    given = options.given(flags)
    words = list(args or ())
    if "rootfs" in given:  # there is no image, so the command begins at once
        return "", [image, *words], given
    return image, words, given


def parameters() -> list[inspect.Parameter]:
    """The image, the command, and the options of a container."""
    kind = inspect.Parameter.KEYWORD_ONLY
    image = Annotated[str, typer.Argument(metavar="IMAGE", show_default=False)]
    args = Annotated[list[str] | None, typer.Argument(metavar="[COMMAND] [ARG...]", show_default=False)]
    return [
        inspect.Parameter("image", kind, annotation=image),
        inspect.Parameter("args", kind, default=None, annotation=args),
        *options.parameters(),
    ]


def _of_run() -> list[inspect.Parameter]:
    kind = inspect.Parameter.KEYWORD_ONLY
    detach = Annotated[
        bool, typer.Option("--detach", "-d", help="Start it in the background, and print its id")
    ]
    explain = Annotated[bool, typer.Option("--explain", help="Print what would be done, and do nothing")]
    keys = Annotated[
        str | None,
        typer.Option(
            "--detach-keys", metavar="KEYS", help="What is typed in a terminal to leave it: ctrl-p,ctrl-q"
        ),
    ]
    return [
        inspect.Parameter("detach", kind, default=False, annotation=detach),
        inspect.Parameter("detach_keys", kind, default=None, annotation=keys),
        inspect.Parameter("explain", kind, default=False, annotation=explain),
    ]


# typer reads the table through these two
_SIGNATURE = inspect.Signature([*parameters(), *_of_run()], return_annotation=int)
command.__signature__ = _SIGNATURE  # type: ignore[attr-defined]
command.__annotations__ = {name: parameter.annotation for name, parameter in _SIGNATURE.parameters.items()}
