"""What a command that starts a container needs in any case, begun while the command line is still being read.

The launcher and the namespaces of a container of default options take about 25 ms, and so do the modules.
"""

from __future__ import annotations

import _thread
import os
import signal

_going_on = _thread.allocate_lock()


def begin() -> None:
    """Return at once; a thread goes on."""
    _going_on.acquire()
    signal.signal(signal.SIGINT, _interrupt)
    _thread.start_new_thread(_warm_up, ())


def _warm_up() -> None:
    try:
        from pycontain.engine import default

        default(spares=False).warm_up()
    except Exception:  # noqa: S110 - the command itself comes upon it too, and tells
        pass
    finally:
        _going_on.release()


def _interrupt(_number: int, _frame: object) -> None:
    """An exception within an import leaves that locked: the thread would wait for it, and we for that."""
    if _going_on.locked():
        os._exit(130)
    raise KeyboardInterrupt
