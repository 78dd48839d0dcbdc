"""What a command that starts a container needs in any case, begun while the command line is still being read.

The launcher and the namespaces of a container of default options take about 25 ms, and so does typer.
"""

from __future__ import annotations

import _thread


def begin() -> None:
    """Return at once; a thread goes on."""
    _thread.start_new_thread(_warm_up, ())


def _warm_up() -> None:
    from contextlib import suppress

    from pycontain.engine import default

    with suppress(Exception):  # the command itself comes upon it too, and tells
        default(spares=False).warm_up()
