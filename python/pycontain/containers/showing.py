"""`attach` and `start --attach`: a container with a monitor, on the streams of this process."""

from __future__ import annotations

import contextlib
import signal

from pycontain.containers import keeping
from pycontain.errors import Conflict, ContainerNotFound, PycontainError
from pycontain.runtime import attached, events, foreground, kept
from pycontain.runtime.pauses import finish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pycontain._core import Launcher, Waiting
    from pycontain.containers.keeping import Streams
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept

__all__ = ["show"]


def show(
    paths: Paths,
    container: Kept,
    launcher: Callable[[], Launcher] | None,
    *,
    stdin: bool,
    outputs: Collection[str],
    keys: str,
    pass_signals: bool,
    end_by_signals: bool,
    tied: bool,
) -> int | None:
    """Attach, after a start with `launcher`; the exit code, or None when it was left.

    With `end_by_signals`, one that does not handle a signal that would end any other process ends. What is
    `tied` ends when this process does.
    """
    options = container.record.options
    letters = attached.detach_keys(keys)

    end: Waiting | None = None

    def begin(streams: Streams) -> None:
        nonlocal end
        if launcher is not None:
            size = attached.window() if options.get("tty") else None
            end = keeping.start(paths, container, launcher(), streams, awaited=True, tied=tied, size=size)
        if end is None:
            end = _attach(paths, container, streams)

    ended_by: list[int] = []

    def send(number: int) -> None:
        with contextlib.suppress(Conflict, ContainerNotFound):
            pid = kept.state(paths, container).pid
            if end_by_signals and pid and not options.get("init") and foreground.ends(pid, number):
                ended_by.append(number)
                finish(keeping.stop(paths, container, number=number, timeout=None))
            else:
                keeping.kill(paths, container, number)

    def resize(rows: int, columns: int) -> None:
        keeper = keeping.monitor(container)
        if keeper is not None:
            with contextlib.suppress(ConnectionError, PycontainError):  # it has just ended
                keeper.resize(rows, columns)

    with foreground.passed_to(send) if pass_signals else contextlib.nullcontext():
        ended = attached.show(
            begin,
            stdin=stdin and bool(options.get("stdin")),
            outputs=outputs,
            terminal=bool(options.get("tty")),
            keys=letters,
            resize=resize,
        )
        if not ended:
            if end is not None:
                with contextlib.suppress(ConnectionError):
                    end.leave()
            events.of_container(paths, "detach", container.record)
            return None
        status = _status(paths, container, end)
    return 128 + ended_by[-1] if ended_by and status == 128 + signal.SIGKILL else status


def _status(paths: Paths, container: Kept, end: Waiting | None) -> int:
    """When it does not run, and is not to be started again; of one that is removed only `end` knows."""
    ended = None
    with contextlib.suppress(ConnectionError):  # the monitor was killed
        ended = end.wait() if end is not None else None
    try:
        return finish(keeping.wait(paths, container))
    except ContainerNotFound:
        if ended is None:
            raise
        return ended.returncode


def _attach(paths: Paths, container: Kept, streams: Streams) -> Waiting:
    name = container.record.name
    state = kept.state(paths, container)
    if not state.is_alive:
        raise Conflict(f'cannot attach to container "{name}": it is not running', hint="start it first")
    if state.status == "paused":
        raise Conflict(f'cannot attach to container "{name}": it is paused', hint="unpause it first")
    keeper = keeping.monitor(container)
    if keeper is None:
        raise Conflict(f'cannot attach to container "{name}": it is not running')
    try:
        keeper.attach(streams)
        end = keeper.end()
    except ConnectionError:
        raise Conflict(f'cannot attach to container "{name}": it is not running') from None
    events.of_container(paths, "attach", container.record)
    return end
