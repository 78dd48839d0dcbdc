"""`pycontain import`."""

from __future__ import annotations

import contextlib
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Annotated

    import typer

    from pycontain.images import Images

_PATIENCE = 60.0  # seconds in which nothing comes
_AGAIN = "nothing of it was kept: download it again"


def command(
    file: Annotated[
        str, typer.Argument(metavar="FILE|URL|-", show_default=False, help="A tar, or `-`: stdin")
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="[REPOSITORY[:TAG]]", show_default=False, help="The image's name")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--change", "-c", metavar="INSTRUCTION", help="Apply an instruction of a Dockerfile"),
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Put a message into the history")] = "",
    platform: Annotated[
        str | None, typer.Option(metavar="OS[/ARCH[/VARIANT]]", help="What the files are for")
    ] = None,
) -> None:
    """Make an image of a tar archive of files."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import InvalidOption

    if file == "-" and sys.stdin.isatty():
        raise InvalidOption("there is no archive: stdin is a terminal", hint="name a file in place of `-`")
    images: Images = default().images
    message = message or f"Imported from {file}"
    with _opened(file) as source:
        print(images.import_(source, name, changes=change or (), message=message, platform=platform).id)


@contextlib.contextmanager
def _opened(file: str) -> Iterator[str | IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
    elif file.startswith(("http://", "https://")):
        import http.client
        import urllib.request

        from pycontain.errors import RegistryUnreachable

        try:
            answer = urllib.request.urlopen(file, timeout=_PATIENCE)  # noqa: S310 - http or https
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            words = str(getattr(reason, "strerror", None) or reason).lower()
            raise RegistryUnreachable(f"cannot download `{file}`: {words}") from error
        with answer:
            try:
                yield answer
            except http.client.HTTPException as error:
                raise RegistryUnreachable(
                    f"cannot download `{file}`: the answer broke off: {error}", hint=_AGAIN
                ) from error
    else:
        yield file
