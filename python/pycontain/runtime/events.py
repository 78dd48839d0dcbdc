"""What happens to containers and networks, for whoever wants to follow it.

    <root>/events/events.jsonl      an object a line, in docker's shape; above 4 MiB renamed to `.1`

Each event is one write at the end of the file, by the process that made it happen: lines of several never
mix. An event that cannot be written, on a full disk, stops nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from pycontain.runtime.pauses import Pause
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pycontain.paths import Paths
    from pycontain.runtime.records import Record
    from pycontain.runtime.rotating import Lines

__all__ = ["Event", "of_container", "watch", "write"]

_MOST = 4 << 20
# how soon a follower sees an event; each look is one fstat(2) and one stat(2)
_INTERVAL = 0.05


class Event(Value):
    """Something that happened.

    Attributes:
        type: of what: `container`, `network`.
        action: `create`, `start`, `die`, `destroy`, `rename`, …
        id: whose.
        attributes: its name, its image and its labels, and what the action adds: `exitCode`, `oldName`.
        time: seconds since the epoch.
        nanoseconds: the same, exactly.
    """

    __slots__ = ("type", "action", "id", "attributes", "nanoseconds")  # noqa: RUF023 - the constructor's order
    type: str
    action: str
    id: str
    attributes: Mapping[str, str]
    nanoseconds: int

    def __init__(
        self, type: str, action: str, id: str, attributes: Mapping[str, str], nanoseconds: int
    ) -> None:
        self._set(type=type, action=action, id=id, attributes=dict(attributes), nanoseconds=nanoseconds)

    @property
    def time(self) -> float:
        """Seconds since the epoch."""
        return self.nanoseconds / 1e9

    def __hash__(self) -> int:
        return hash((self.type, self.action, self.id, self.nanoseconds))


def of_container(paths: Paths, action: str, record: Record, **more: str) -> None:
    """Something happened to a container."""
    attributes = {**record.labels, "image": record.image, "name": record.name, **more}
    write(paths, Event("container", action, record.id, attributes, time.time_ns()))


def write(paths: Paths, event: Event) -> None:
    """Tell of it; nothing fails for want of that."""
    import json

    actor = {"ID": event.id, "Attributes": event.attributes}
    document = {
        "Type": event.type,
        "Action": event.action,
        "Actor": actor,
        "scope": "local",
        "time": event.nanoseconds // 1_000_000_000,
        "timeNano": event.nanoseconds,
    }
    line = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(errors="replace") + b"\n"
    with contextlib.suppress(OSError), _opened(_path(paths)) as descriptor:
        os.write(descriptor, line)
        if os.fstat(descriptor).st_size > _MOST:
            _rotate(descriptor, _path(paths))


def watch(
    paths: Paths, since: float | None, until: float | None, wanted: Callable[[Event], bool]
) -> Iterator[Event | Pause]:
    """What has happened since then, and what happens from now on or until then; with pauses to wait in.

    Now is the moment of the call.
    """
    from pycontain.runtime.rotating import Lines

    if since is None and until is not None:
        since = 0.0
    lines = Lines(_path(paths), last=0 if since is None else None)
    return _watched(lines, since, until, wanted)


def _watched(
    lines: Lines, since: float | None, until: float | None, wanted: Callable[[Event], bool]
) -> Iterator[Event | Pause]:
    try:
        while True:
            over = until is not None and time.time() >= until
            for event in _events(lines):
                if until is not None and event.time > until:
                    return
                if (since is None or event.time >= since) and wanted(event):
                    yield event
            if over:
                return
            yield Pause(seconds=_INTERVAL if until is None else max(min(_INTERVAL, until - time.time()), 0))
    finally:
        lines.close()


def _events(lines: Lines) -> Iterator[Event]:
    import json

    for line in lines.new():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # not all of a line was written
            found = json.loads(line)
            actor = found["Actor"]
            yield Event(found["Type"], found["Action"], actor["ID"], actor["Attributes"], found["timeNano"])


def _path(paths: Paths) -> str:
    return f"{paths.root}/events/events.jsonl"


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """The file to write to; nobody renames it meanwhile, so an older file gets no more lines."""
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    yield descriptor
                    return
        finally:
            os.close(descriptor)


def _open(path: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        return os.open(path, flags, 0o600)


def _rotate(descriptor: int, path: str) -> None:
    """Unless somebody else is writing or does it: whoever writes next comes by here, too."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if os.path.samestat(os.fstat(descriptor), os.stat(path)):
        os.rename(path, f"{path}.1")
