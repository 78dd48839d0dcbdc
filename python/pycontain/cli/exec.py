"""`pycontain exec`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.containers import Containers

OPTIONS_ANYWHERE = False  # what follows the container belongs to the command


def command(
    container: Annotated[str, typer.Argument(metavar="CONTAINER", show_default=False)],
    args: Annotated[list[str], typer.Argument(metavar="COMMAND [ARG...]", show_default=False)],
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Let it go on in the background")] = False,
    detach_keys: Annotated[
        str, typer.Option("--detach-keys", metavar="KEYS", help="What is typed to leave it")
    ] = "ctrl-p,ctrl-q",
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env", "-e", metavar="NAME[=VALUE]", help="Set an environment variable, or pass one on"
        ),
    ] = None,
    env_file: Annotated[
        list[str] | None,
        typer.Option("--env-file", metavar="FILE", help="Set the environment variables of a file"),
    ] = None,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Let it read what is typed")
    ] = False,
    privileged: Annotated[bool, typer.Option("--privileged", help="Give it all capabilities")] = False,
    tty: Annotated[bool, typer.Option("--tty", "-t", help="Give it a terminal")] = False,
    user: Annotated[
        str, typer.Option("--user", "-u", metavar="USER[:GROUP]", help="Who runs it, by name or number")
    ] = "",
    workdir: Annotated[
        str, typer.Option("--workdir", "-w", metavar="DIR", help="Directory it starts in")
    ] = "",
) -> int:
    """Run a command in a container that runs."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    containers: Containers = default().containers
    return containers.get(container).exec_foreground(
        args,
        stdin=interactive,
        detach=detach,
        detach_keys=detach_keys,
        env=env or [],
        env_file=env_file or [],
        privileged=privileged,
        tty=tty,
        user=user,
        workdir=workdir,
    )
