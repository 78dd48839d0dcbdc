"""Who keeps a container that runs: its monitor, or the process in whose foreground it runs.

A monitor is asked over its socket. Somebody's foreground cannot be asked: its container is signalled from
here, and how it ended is in `state.json` by the time that its directory is unlocked.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time

from pycontain.errors import Conflict, ContainerNotFound, PycontainError, TimeoutExpired, Unsupported
from pycontain.runtime import events, kept, lifecycle
from pycontain.runtime.foreground import handles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain._core import Launcher, Monitor
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept
    from pycontain.runtime.records import Record

    Streams = tuple[int | None, int | None, int | None]

__all__ = ["NO_STREAMS", "end", "freeze", "kill", "monitor", "start", "stop", "wait"]

NO_STREAMS: Streams = (None, None, None)
# how soon the end of one in a foreground is seen
_INTERVAL = 0.01


def start(paths: Paths, container: Kept, launcher: Launcher, streams: Streams = NO_STREAMS) -> bool:
    """Start a container that goes on without this process; False: it runs already.

    Raises:
        Conflict: it is paused.
        ContainerNotFound: it is gone.
        StartError: it could not be started; `CommandNotFound` when there is no such command.
    """
    with kept.held(paths, container) as stopped:
        if stopped is None:
            if kept.state(paths, container).status == "paused":
                raise Conflict(
                    f'cannot start container "{container.record.name}": it is paused', hint="unpause it"
                )
            return False
        now = kept.find(paths, container.id)
        launcher.start_detached(now.config, _detached(paths, now), stopped.lock, streams=streams)
    return True


def _detached(paths: Paths, container: Kept) -> bytes:
    """What its monitor is told of it."""
    record = container.record
    options = record.options
    log, restart = lifecycle.log(options), lifecycle.restart(options)
    timeout = record.stop_timeout
    document: dict[str, object] = {
        "stdin": bool(options.get("stdin")),
        "stdin_once": record.stdin_once,
        "restart": {"on-failure": {"most": restart.most}}
        if restart.policy == "on-failure"
        else restart.policy,
        "stop_signal": record.stop_signal,
        "stop_timeout": None if timeout is None else math.ceil(timeout),
    }
    if record.health is not None:
        document["health"] = _health(record)
    if log.driver == "json-file":
        document["log"] = {"max_size": log.max_size, "max_files": log.max_files}
    if options.get("remove"):
        document["remove"] = {"directory": container.path, "name": f"{paths.names}/{record.name}"}
    return json.dumps(document).encode()


def _health(record: Record) -> dict[str, object]:
    found = dict(record.health or {})
    kind, *words = found.pop("test")
    found["args"] = words if kind == "CMD" else [*(record.shell or ("/bin/sh", "-c")), *words]
    return found


def monitor(container: Kept) -> Monitor | None:
    """Of one that was started to go on by itself, and runs."""
    from pycontain._core import Monitor

    try:
        return Monitor(container.path)
    except (ConnectionError, FileNotFoundError):
        return None


def stop(paths: Paths, container: Kept, *, number: int | None, timeout: float | None) -> None:
    """Ask it to end, and kill it after `timeout`; at once, if it does not handle the signal."""
    if not kept.state(paths, container).is_alive:
        return
    keeper = monitor(container)
    if keeper is not None:
        try:
            keeper.stop(number, timeout).wait()
        except ConnectionError:  # it has just ended
            wait(paths, container)
    else:
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
    keeper = monitor(container)
    try:
        if keeper is None:
            _signal(paths, container, signal.SIGKILL)
        else:
            keeper.stop(signal.SIGKILL).wait()
    except ConnectionError:
        pass  # it has just ended
    events.of_container(paths, "kill", container.record, signal=str(int(signal.SIGKILL)))
    wait(paths, container)


def kill(paths: Paths, container: Kept, number: int) -> None:
    """Send a signal to its first process.

    Raises:
        Conflict: it does not run.
    """
    if not kept.state(paths, container).is_alive:
        raise _does_not_run("kill", container)
    keeper = monitor(container)
    try:
        if keeper is None:
            _signal(paths, container, number)
        else:
            keeper.signal(number)
    except ConnectionError:
        raise _does_not_run("kill", container) from None
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


def freeze(paths: Paths, container: Kept, *, frozen: bool) -> None:
    """Pause it, or let it go on.

    Raises:
        Conflict: it does not run, or is so already.
        Unsupported: it has no control group of its own.
    """
    word = "pause" if frozen else "unpause"
    state = kept.state(paths, container)
    if not state.is_alive:
        raise _does_not_run(word, container)
    if (state.status == "paused") == frozen:
        reason = "it is paused already" if frozen else "it is not paused"
        raise Conflict(f'cannot {word} container "{container.record.name}": {reason}')
    keeper = monitor(container)
    if keeper is None:
        raise Unsupported(
            f'cannot {word} container "{container.record.name}": it is in the foreground of another process',
            hint="start it with `--detach`",
        )
    try:
        keeper.pause() if frozen else keeper.unpause()
    except ConnectionError:
        raise _does_not_run(word, container) from None
    events.of_container(paths, word, container.record)


def wait(paths: Paths, container: Kept, timeout: float | None = None) -> int:
    """Until it does not run, and is not to be started again; its exit code.

    Raises:
        ContainerNotFound: it is gone, and nobody saw how it ended.
        TimeoutExpired: it runs still.
    """
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    ended: int | None = None
    while True:
        try:
            state = kept.state(paths, container)
        except ContainerNotFound:
            if ended is None:
                raise
            return ended
        if not state.is_alive:
            return state.exit_code
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutExpired(container.record.args, timeout or 0, killed=False)
        keeper = monitor(container)
        if keeper is None:
            time.sleep(min(_INTERVAL, left))
            continue
        try:
            found = keeper.end().wait(None if left == math.inf else left)
        except ConnectionError:
            continue
        ended = ended if found is None else found.returncode


def _does_not_run(word: str, container: Kept) -> Conflict:
    return Conflict(f'cannot {word} container "{container.record.name}": it is not running')
