"""`pycontain run`: a new container, one command in it, its streams and its exit status."""

from __future__ import annotations

import sys

from pycontain.cli import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable
    from typing import Any

OPTIONS_ANYWHERE = False  # what follows the image belongs to the command


def command(
    image: str,
    args: list[str] | None = None,
    *,
    attach: list[str] | None = None,
    explain: bool = False,
    detach: bool = False,
    detach_keys: str | None = None,
    quiet: bool = False,
    sig_proxy: bool = True,
    **flags: Any,
) -> int:
    """Create a container from an image and run a command in it.

    The image `host` is this machine's own programs and files, below a writable layer.
    """
    from pycontain.cli.each import failed, known
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    image, words, given = request(image, args, flags)

    def start(**options: Any) -> int:
        if explain:
            print(default().explain(image, words, **options))
            return 0
        if detach:
            print(default().start(image, words, **options).id)
            return 0
        if detach_keys is not None:
            options["detach_keys"] = detach_keys
        status: int = default().run_foreground(
            image, words, streams=streams, pass_signals=sig_proxy, **options
        )
        return status

    try:
        streams = _streams(attach, detach=detach)
        return pulling(start, image, given, quiet=quiet)
    except Exception as error:
        return failed(known(error), 125)


def _streams(attach: list[str] | None, *, detach: bool) -> set[str] | None:
    """Those that `--attach` names; None: all of them."""
    from pycontain.errors import InvalidOption

    streams = {name.lower() for name in attach or ()}
    for name in streams - {"stdin", "stdout", "stderr"}:
        raise InvalidOption(f"invalid value `{name}` for `--attach`: must be stdin, stdout or stderr")
    if streams and detach:
        raise InvalidOption("`--attach` and `--detach` exclude each other", hint="leave one of them out")
    return streams or None


def pulling(start: Callable[..., int], image: str, given: dict[str, Any], *, quiet: bool) -> int:
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
        if not quiet:
            from pycontain.images.reference import parse

            name = parse(image).with_default_tag().familiar
            print(f"Unable to find image '{name}' locally", file=sys.stderr)
    from pycontain.cli.progress import shown
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    with shown(sys.stderr, quiet=quiet) as progress:
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
    import typer

    return [
        options.parameter("image", str, typer.Argument(metavar="IMAGE", show_default=False)),
        options.parameter(
            "args", list[str] | None, typer.Argument(metavar="[COMMAND] [ARG...]", show_default=False), None
        ),
        *options.parameters(),
        options.parameter(
            "quiet", bool, typer.Option("--quiet", "-q", help="Do not show how the image is fetched"), False
        ),
    ]


def signature() -> inspect.Signature:
    """What typer reads in place of the function's own."""
    import inspect

    import typer

    attach = typer.Option(
        "--attach", "-a", metavar="STREAM", help="Of its streams only this: stdin, stdout, stderr"
    )
    detach = typer.Option("--detach", "-d", help="Start it in the background, and print its id")
    explain = typer.Option("--explain", help="Print what would be done, and do nothing")
    signals = typer.Option("--sig-proxy/--no-sig-proxy", help="Pass signals on to it", show_default=False)
    keys = typer.Option(
        "--detach-keys", metavar="KEYS", help="What is typed in a terminal to leave it: ctrl-p,ctrl-q"
    )
    return inspect.Signature(
        [
            *parameters(),
            options.parameter("attach", list[str] | None, attach, None),
            options.parameter("detach", bool, detach, False),
            options.parameter("detach_keys", str | None, keys, None),
            options.parameter("explain", bool, explain, False),
            options.parameter("sig_proxy", bool, signals, True),
        ]
    )
