"""`pycontain login`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer


_UNENCRYPTED = """
WARNING! Your password will be stored unencrypted in {file}.
Configure a credential helper to remove this warning. See
https://docs.docker.com/go/credential-store/
"""


def command(
    server: Annotated[
        str | None, typer.Argument(metavar="[SERVER]", show_default=False, help="The registry")
    ] = None,
    username: Annotated[str | None, typer.Option("--username", "-u", help="Name")] = None,
    password: Annotated[str | None, typer.Option("--password", "-p", help="Password or token")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Take the password from stdin")
    ] = False,
) -> None:
    """Log in to a registry."""
    from pycontain.errors import InvalidOption
    from pycontain.registry.credentials import registry_of
    from pycontain.registry.login import login
    from pycontain.registry.settings import default_registry

    registry = registry_of(server) if server else default_registry()
    if password is not None:
        if password_stdin:
            raise InvalidOption("--password and --password-stdin exclude each other")
        print("WARNING! Using --password via the CLI is insecure. Use --password-stdin.", file=sys.stderr)
    if password_stdin:
        if not username:
            raise InvalidOption("--password-stdin needs a name", hint="give it: `--username NAME`")
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    username, password = _asked(username, password)
    file = login(registry, username, password)
    if file is not None:
        print(_UNENCRYPTED.format(file=file), file=sys.stderr)
    print("Login Succeeded")


def _asked(username: str | None, password: str | None) -> tuple[str, str]:
    """What is not given is asked for, on a terminal."""
    from pycontain.errors import InvalidOption

    if (not username or password is None) and not sys.stdin.isatty():
        raise InvalidOption(
            "cannot ask for name and password: stdin is not a terminal",
            hint="give `--username NAME --password-stdin`",
        )
    if not username:
        print("Username: ", end="", flush=True)
        username = sys.stdin.readline().strip()
    if password is None:
        import getpass

        password = getpass.getpass("Password: ")
    if not username or not password:
        raise InvalidOption("name and password must not be empty")
    return username, password
