"""`pycontain cp`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    source: Annotated[str, typer.Argument(metavar="SOURCE", show_default=False)],
    target: Annotated[str, typer.Argument(metavar="TARGET", show_default=False)],
    archive: Annotated[bool, typer.Option("--archive", "-a", help="Keep the numbers of owners")] = False,
    follow_link: Annotated[
        bool, typer.Option("--follow-link", "-L", help="Copy what a link that is the source leads to")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not tell when it is done")] = False,
) -> None:
    """Copy files between a container and the host.

    One of SOURCE and TARGET is CONTAINER:PATH. The other is a path of the host, or `-`: a tar.
    """
    import sys

    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import InvalidOption

    containers: Containers = default().containers
    outside, inside = _split(source), _split(target)
    if (outside is None) == (inside is None):
        raise InvalidOption("one of the two has to be CONTAINER:PATH, and the other a path of the host")
    if inside is not None:
        name, path = inside
        container = containers.get(name)
        if source == "-":
            container.put_archive(sys.stdin.fileno(), path)
        else:
            container.copy_in(source, path, archive=archive, follow=follow_link)
    elif outside is not None:
        name, path = outside
        if not path:
            raise InvalidOption(f"`{source}` has no path", hint=f"give `{name}:/` for all files")
        container = containers.get(name)
        if target == "-":
            container.get_archive(path, sys.stdout.fileno(), follow=follow_link)
            return
        container.copy_out(path, target, archive=archive, follow=follow_link)
    if not quiet and sys.stderr.isatty():
        print(f"Successfully copied to {target}", file=sys.stderr)


def _split(text: str) -> tuple[str, str] | None:
    """Container and path; None: a path of the host. One with a colon begins with `/` or `.`."""
    name, colon, path = text.partition(":")
    return (name, path) if colon and name and not text.startswith(("/", ".")) else None
