"""`pycontain version`."""

from __future__ import annotations

import os
import platform

from pycontain import __version__


def command() -> None:
    """Show which versions are at work: pycontain's, Python's, the kernel's."""
    system = os.uname()
    print(f"pycontain  {__version__}")
    print(f"python     {platform.python_version()}")
    print(f"kernel     {system.sysname} {system.release} {system.machine}")
