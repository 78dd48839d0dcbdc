"""Containers that run in the foreground of another process: signalled and waited for from here.

How one ended is in `state.json` by the time that its directory is unlocked.
"""

from __future__ import annotations

import math
import os
import signal
import time

from pycontain.errors import Conflict, PycontainError, TimeoutExpired
from pycontain.runtime import events, kept
from pycontain.runtime.foreground import handles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept

__all__ = ["end", "kill", "stop", "wait"]

# how soon the end of one in a foreground is seen
_INTERVAL = 0.01


def stop(paths: Paths, container: Kept, *, number: int | None, timeout: float | None) -> None:
    """Ask it to end, and kill it after `timeout`; at once, if it does not handle the signal."""
    if not kept.state(paths, container).is_alive:
        return
    _stop_attended(paths, container, number or container.record.stop_signal, timeout)
    events.of_container(paths, "stop", container.record)


def _stop_attended(paths: Paths, container: Kept, number: int, timeout: float | None) -> None:
    pid = kept.state(paths, container).pid
    if handles(pid, number) or container.record.options.get("init"):
        _signal(paths, container, number)
        patience = container.record.stop_timeout if timeout is None else timeout
        try:
            wait(paths, container, math.inf if patience is None else patience)
            return
        except TimeoutExpired:
            pass
    _signal(paths, container, signal.SIGKILL)
    wait(paths, container)


def end(paths: Paths, container: Kept) -> None:
    """Kill everything inside, and wait until it has ended."""
    _signal(paths, container, signal.SIGKILL)
    events.of_container(paths, "kill", container.record, signal=str(int(signal.SIGKILL)))
    wait(paths, container)


def kill(paths: Paths, container: Kept, number: int) -> None:
    """Send a signal to its first process.

    Raises:
        Conflict: it does not run.
    """
    if not kept.state(paths, container).is_alive:
        raise _does_not_run("kill", container)
    _signal(paths, container, number)
    events.of_container(paths, "kill", container.record, signal=str(int(number)))


def _signal(paths: Paths, container: Kept, number: int) -> None:
    """To the first process of one that has no monitor; its number is no other's while the container runs."""
    pid = kept.state(paths, container).pid
    try:
        process = os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        return
    if process < 0:
        return
    try:
        # the number was not another's when it was opened, if the container runs still
        if kept.state(paths, container).pid == pid:
            signal.pidfd_send_signal(process, number)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise PycontainError(f'cannot signal container "{container.record.name}": not permitted') from error
    finally:
        os.close(process)


def wait(paths: Paths, container: Kept, timeout: float | None = None) -> int:
    """Until it does not run, and is not to be started again; its exit code.

    Raises:
        ContainerNotFound: it is gone, and nobody saw how it ended.
        TimeoutExpired: it runs still.
    """
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        state = kept.state(paths, container)
        if not state.is_alive:
            return state.exit_code
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutExpired(container.record.args, timeout or 0, killed=False)
        time.sleep(min(_INTERVAL, left))


def _does_not_run(word: str, container: Kept) -> Conflict:
    return Conflict(f'cannot {word} container "{container.record.name}": it is not running')
