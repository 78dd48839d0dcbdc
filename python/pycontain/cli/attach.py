"""`pycontain attach`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers


def command(
    container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)],
    no_stdin: Annotated[bool, typer.Option("--no-stdin", help="Let it read nothing")] = False,
    sig_proxy: Annotated[
        bool, typer.Option("--sig-proxy/--no-sig-proxy", help="Pass signals on to it")
    ] = True,
    detach_keys: Annotated[
        str, typer.Option("--detach-keys", metavar="KEYS", help="What is typed to leave it")
    ] = "ctrl-p,ctrl-q",
) -> int:
    """Show what a container writes, and let it read what is typed, until it ends."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    status = containers.get(container).show(
        stdin=not no_stdin, detach_keys=detach_keys, pass_signals=sig_proxy
    )
    return 0 if status is None else status
