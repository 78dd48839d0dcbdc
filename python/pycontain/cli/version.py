"""`pycontain version`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer


def command(
    template: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help="json, or a Go template")
    ] = "",
) -> None:
    """Show which versions are at work: pycontain's, Python's, the kernel's."""
    import os
    import platform

    from pycontain import __version__
    from pycontain.cli.inspection import renderer
    from pycontain.images.config import machine_platform

    render, system = renderer(template), os.uname()
    if render is None:
        print(f"pycontain  {__version__}")
        print(f"python     {platform.python_version()}")
        print(f"kernel     {system.sysname} {system.release} {system.machine}")
        return
    words = dict(zip(("Os", "Arch"), machine_platform(), strict=True))
    versions = {
        "Version": __version__,
        "PythonVersion": platform.python_version(),
        "KernelVersion": system.release,
    }
    print(render({"Client": versions | words, "Server": None}))
