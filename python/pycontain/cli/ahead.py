"""What some commands need in any case, begun while their modules are still being imported.

The launcher takes 5 ms, the namespaces of a container of default options 20.
"""

from __future__ import annotations

import _thread
import os
import signal

_going_on = _thread.allocate_lock()


def begin(*, a_container: bool) -> None:
    """Start a launcher, and let it make ready a container's namespaces; returns at once, a thread goes on."""
    _going_on.acquire()
    signal.signal(signal.SIGINT, _interrupt)
    _thread.start_new_thread(_warm_up, (a_container,))


def _warm_up(a_container: bool) -> None:
    try:
        from pycontain.engine import default

        engine = default(spares=False)
        if a_container:
            engine.warm_up()
        else:
            engine._get_launcher()
    except Exception:  # noqa: S110 - the command itself comes upon it too, and tells
        pass
    finally:
        _going_on.release()


def _interrupt(_number: int, _frame: object) -> None:
    """An exception within an import leaves that locked: the thread would wait for it, and we for that."""
    if _going_on.locked():
        os._exit(130)
    raise KeyboardInterrupt
