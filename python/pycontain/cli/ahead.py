"""What some commands need in any case, begun while the command line is still being read.

The launcher, and the namespaces of a container of default options, take about 25 ms, and so does typer.
"""

from __future__ import annotations

import _thread

# what a command needs; the launcher alone is for those that unpack layers
_NEEDS = {"run": "warm_up", "pull": "launch", "load": "launch"}


def begin(command: str) -> None:
    """Return at once; a thread goes on, if this command needs anything."""
    if command in _NEEDS:
        _thread.start_new_thread(_make_ready, (_NEEDS[command],))


def _make_ready(need: str) -> None:
    from contextlib import suppress

    from pycontain.engine import default

    with suppress(Exception):  # the command itself comes upon it too, and tells
        getattr(default(spares=False), need)()
