"""`pycontain version`."""

import os
import platform

import typer

from pycontain import __version__


def command() -> None:
    """Show which versions are at work: pycontain's, Python's, the kernel's."""
    system = os.uname()
    typer.echo(f"pycontain  {__version__}")
    typer.echo(f"python     {platform.python_version()}")
    typer.echo(f"kernel     {system.sysname} {system.release} {system.machine}")
