"""`pycontain create`."""

from __future__ import annotations

from pycontain.cli import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect
    from typing import Any

OPTIONS_ANYWHERE = False  # what follows the image belongs to the command


def command(image: str, args: list[str] | None = None, *, quiet: bool = False, **flags: Any) -> int:
    """Make a container from an image, and start nothing."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    image, words, given = run.request(image, args, flags)

    def create(**options: Any) -> int:
        print(default().create(image, words, **options).id)
        return 0

    return run.pulling(create, image, given, quiet=quiet)


def signature() -> inspect.Signature:
    """What typer reads in place of the function's own."""
    import inspect

    return inspect.Signature(run.parameters())
