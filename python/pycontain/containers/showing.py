"""`attach` and `start --attach`: a container with a monitor, on the streams of this process."""

from __future__ import annotations

import contextlib

from pycontain.containers import keeping
from pycontain.errors import Conflict
from pycontain.runtime import attached, events, kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain._core import Launcher
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
    keys: str,
    pass_signals: bool,
) -> int | None:
    """Attach, after a start with `launcher`; the exit code, or None when it was left."""
    options = container.record.options
    letters = attached.detach_keys(keys)

    def begin(streams: Streams) -> None:
        if launcher is not None and keeping.start(paths, container, launcher(), streams):
            return
        _attach(paths, container, streams)

    def send(number: int) -> None:
        with contextlib.suppress(Conflict):
            keeping.kill(paths, container, number)

    def resize(rows: int, columns: int) -> None:
        keeper = keeping.monitor(container)
        if keeper is not None:
            with contextlib.suppress(ConnectionError):
                keeper.resize(rows, columns)

    with attached.signals_to(send) if pass_signals else contextlib.nullcontext():
        ended = attached.show(
            begin,
            stdin=stdin and bool(options.get("stdin")),
            terminal=bool(options.get("tty")),
            keys=letters,
            resize=resize,
        )
        if not ended:
            events.of_container(paths, "detach", container.record)
            return None
        return keeping.wait(paths, container)


def _attach(paths: Paths, container: Kept, streams: Streams) -> None:
    name = container.record.name
    state = kept.state(paths, container)
    if not state.is_alive:
        raise Conflict(f'cannot attach to container "{name}": it is not running', hint="start it first")
    if state.status == "paused":
        raise Conflict(f'cannot attach to container "{name}": it is paused', hint="unpause it first")
    keeper = keeping.monitor(container)
    if keeper is None:
        raise Conflict(f'cannot attach to container "{name}": it is in the foreground of another process')
    try:
        keeper.attach(streams)
    except ConnectionError:
        raise Conflict(f'cannot attach to container "{name}": it is not running') from None
    events.of_container(paths, "attach", container.record)
