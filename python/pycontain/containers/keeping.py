"""What a container's monitor is asked to do, over its socket.

How it ended is in `state.json` by the time that its directory is unlocked. What waits, yields what it waits
for: see `runtime.pauses`.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import time

from pycontain.errors import Conflict, ContainerNotFound, TimeoutExpired, Unsupported
from pycontain.runtime import events, kept, lifecycle
from pycontain.runtime.pauses import Pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from typing import Any, TypeVar

    from pycontain._core import Launcher, Monitor, Waiting
    from pycontain.paths import Paths
    from pycontain.runtime.joined import Joined
    from pycontain.runtime.kept import Kept
    from pycontain.runtime.records import Record

    T = TypeVar("T")
    Streams = tuple[int | None, int | None, int | None]
    Work = Generator[Pause, None, T]

__all__ = [
    "NO_STREAMS",
    "end",
    "freeze",
    "kill",
    "monitor",
    "restart_policy",
    "standing_still",
    "start",
    "start_first",
    "stop",
    "wait",
    "watched",
]

NO_STREAMS: Streams = (None, None, None)
# between the end of a monitor and that of its lock
_INTERVAL = 0.01


def start(
    paths: Paths,
    container: Kept,
    launcher: Launcher,
    streams: Streams = NO_STREAMS,
    *,
    awaited: bool = False,
    tied: bool = False,
    size: tuple[int, int] | None = None,
) -> Waiting | None:
    """Start a container that goes on without this process.

    Args:
        paths: where it is.
        container: which.
        launcher: starts it.
        streams: the ends of pipes, of whoever is attached from the beginning.
        awaited: its end is to be told.
        tied: it ends, and is removed, when what is returned is lost.
        size: rows and columns of its terminal.

    Returns:
        What tells of its end, if it is `awaited`; None: it runs already.

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
            return None
        now = kept.find(paths, container.id)
        detached = _detached(paths, now, awaited=awaited, tied=tied)
        config = now.config if size is None else _with_size(now.config, size)
        with _joined(paths, now, config) as joined:
            return launcher.start_detached(
                joined.config, joined.told(detached), stopped.lock, streams=streams, held=joined.fds
            )[2]


def start_first(paths: Paths, container: Kept, launcher: Launcher, config: bytes, lock: int) -> None:
    """As `start`, of one that was just made, by who has held its lock ever since.

    Args:
        paths: where it is.
        container: which.
        launcher: starts it.
        config: its configuration.
        lock: the fd that holds the lock on its directory.

    Raises:
        StartError: it could not be started; `CommandNotFound` when there is no such command.
    """
    detached = _detached(paths, container, awaited=False, tied=False)
    with _joined(paths, container, config) as joined:
        launcher.start_detached(
            joined.config, joined.told(detached), lock, streams=NO_STREAMS, held=joined.fds
        )


def _joined(paths: Paths, container: Kept, config: bytes) -> Joined:
    from pycontain.runtime.joined import join

    return join(paths, config, {"id": container.id, "name": container.record.name})


def _with_size(config: bytes, size: tuple[int, int]) -> bytes:
    document = json.loads(config)
    document["process"]["consoleSize"] = {"height": size[0], "width": size[1]}
    return json.dumps(document).encode()


def _detached(paths: Paths, container: Kept, *, awaited: bool, tied: bool) -> bytes:
    """What its monitor is told of it."""
    record = container.record
    options = record.options
    log = lifecycle.log(options)
    timeout = record.stop_timeout
    document: dict[str, object] = {
        "stdin": bool(options.get("stdin")),
        "stdin_once": record.stdin_once,
        "awaited": awaited,
        "tied": tied,
        "restart": restart_policy(options),
        "stop_signal": record.stop_signal,
        "stop_timeout": None if timeout is None else math.ceil(timeout),
    }
    if record.health is not None:
        document["health"] = _health(record)
    if log.driver == "json-file":
        document["log"] = {"max_size": log.max_size, "max_files": log.max_files}
    if options.get("remove") or tied:
        document["remove_if_lost"] = not options.get("remove")
        document["remove"] = {"directory": container.path, "name": f"{paths.names}/{record.name}"}
    return json.dumps(document).encode()


def restart_policy(options: Mapping[str, Any]) -> object:
    """As a monitor takes it."""
    restart = lifecycle.restart(options)
    return {"on-failure": {"most": restart.most}} if restart.policy == "on-failure" else restart.policy


def _health(record: Record) -> dict[str, object]:
    found = dict(record.health or {})
    kind, *words = found.pop("test")
    found["args"] = words if kind == "CMD" else [*(record.shell or ("/bin/sh", "-c")), *words]
    return found


def monitor(container: Kept) -> Monitor | None:
    """Of one that runs."""
    from pycontain._core import Monitor

    try:
        return Monitor(container.path)
    except (ConnectionError, FileNotFoundError):
        return None


@contextlib.contextmanager
def watched(name: str) -> Iterator[None]:
    """What a process in a container does is told by the container's monitor, which may be killed.

    Raises:
        Conflict: it was.
    """
    try:
        yield
    except ConnectionError as error:
        if error.errno is not None:  # of a stream of this process
            raise
        raise Conflict(
            f'container "{name}" ended, and nobody saw how the command in it did',
            hint="was its monitor killed?",
        ) from None


def stop(paths: Paths, container: Kept, *, number: int | None, timeout: float | None) -> Work[None]:
    """Ask it to end, and kill it after `timeout`; at once, if it does not handle the signal."""
    if not kept.state(paths, container).is_alive:
        return
    yield from _ended(paths, container, lambda keeper: keeper.stop(number, timeout))
    events.of_container(paths, "stop", container.record)


def end(paths: Paths, container: Kept) -> Work[None]:
    """Kill everything inside, and wait until it has ended."""
    yield from _ended(paths, container, lambda keeper: keeper.stop(signal.SIGKILL))
    events.of_container(paths, "kill", container.record, signal=str(int(signal.SIGKILL)))


def _ended(paths: Paths, container: Kept, ask: Callable[[Monitor], Waiting]) -> Work[None]:
    keeper = monitor(container)
    try:
        if keeper is not None:
            waiting = ask(keeper)
            yield Pause(waiting)
            waiting.wait()
            return
    except ConnectionError:
        pass
    with contextlib.suppress(ContainerNotFound):  # it has just ended, and may go with that
        yield from wait(paths, container)


@contextlib.contextmanager
def standing_still(paths: Paths, container: Kept, *, hint: str | None = None) -> Iterator[bool]:
    """Nothing in the container runs for the block; gives whether it is stopped.

    It is its monitor that suspends it, and lets it go on when this process is killed in the block.

    Args:
        paths: where it is.
        container: which.
        hint: for when that cannot be done.

    Raises:
        Conflict: it ends at this moment.
        ContainerNotFound: it is gone.
        Unsupported: it runs and has no control group of its own.
    """
    with kept.held(paths, container) as stopped:
        if stopped is not None:
            yield True
            return
    if kept.cgroup(container) is None:
        raise Unsupported(
            f"cannot pause container `{container.record.name}`: it has no control group of its own",
            hint=hint or "stop it first",
        )
    keeper = monitor(container)
    try:
        if keeper is None:
            raise ConnectionError
        hold = keeper.hold()
        hold.wait()
    except ConnectionError:
        name = container.record.name
        raise Conflict(f'container "{name}" is about to end', hint="try again when it has") from None
    try:
        yield False
    finally:
        with contextlib.suppress(ConnectionError):  # the monitor was killed
            hold.leave()


def kill(paths: Paths, container: Kept, number: int) -> None:
    """Send a signal to its first process.

    Raises:
        Conflict: it does not run.
    """
    if not kept.state(paths, container).is_alive:
        raise _does_not_run("kill", container)
    keeper = monitor(container)
    if keeper is None:
        raise _does_not_run("kill", container)
    try:
        keeper.signal(number)
    except (ConnectionError, Conflict):
        raise _does_not_run("kill", container) from None
    events.of_container(paths, "kill", container.record, signal=str(int(number)))


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
        raise _does_not_run(word, container)
    try:
        keeper.pause() if frozen else keeper.unpause()
    except ConnectionError:
        raise _does_not_run(word, container) from None
    events.of_container(paths, word, container.record)


def wait(paths: Paths, container: Kept, timeout: float | None = None) -> Work[int]:
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
            yield Pause(seconds=min(_INTERVAL, left))
            continue
        try:
            waiting = keeper.end()
            yield Pause(waiting, None if left == math.inf else left)
            found = waiting.wait(0)
        except ConnectionError:
            continue
        ended = ended if found is None else found.returncode


def _does_not_run(word: str, container: Kept) -> Conflict:
    return Conflict(f'cannot {word} container "{container.record.name}": it is not running')
