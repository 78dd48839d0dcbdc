"""What a container wrote: docker's json-file, one line of JSON for each of its lines.

    <container>/log/container.log     the newest; `.1`, `.2`, … before it

A line longer than 16 KiB is in several pieces, of which only the last has an end of line.
"""

from __future__ import annotations

import json
import time

import msgspec

from pycontain.errors import InvalidOption, Unsupported
from pycontain.images.filters import moment
from pycontain.runtime import kept, lifecycle
from pycontain.runtime.pauses import Pause
from pycontain.runtime.rotating import Lines
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept

__all__ = ["LogEntry", "entries", "path_of"]

# how soon a follower sees a line: each look is a read(2), an fstat(2) and a stat(2), 20 times a second
_INTERVAL = 0.05


class LogEntry(Value):
    """One line that a container wrote, or a piece of a very long one.

    Attributes:
        stream: `stdout` or `stderr`.
        timestamp: when, RFC 3339 in UTC with nanoseconds.
        line: as it was written, with its end of line; bytes that are no UTF-8 as `os.fsdecode` has them.
    """

    __slots__ = ("stream", "timestamp", "line")  # noqa: RUF023 - the constructor's order
    stream: str
    timestamp: str
    line: str

    def __init__(self, stream: str, timestamp: str, line: str) -> None:
        self._set(stream=stream, timestamp=timestamp, line=line)

    @property
    def time(self) -> float:
        """When, in seconds since the epoch."""
        return _seconds(self.timestamp)


class _Line(msgspec.Struct):
    log: str
    stream: str
    time: str


_decode = msgspec.json.Decoder(_Line).decode


def path_of(directory: str) -> str:
    """Of the file that is written to."""
    return f"{directory}/log/container.log"


def entries(
    paths: Paths,
    container: Kept,
    *,
    follow: bool,
    since: str | float | None,
    until: str | float | None,
    tail: int | None,
) -> Iterator[LogEntry | Pause]:
    """What is written; with `follow` what will be, too, as long as the container runs, and pauses between.

    Raises:
        ContainerNotFound: it is gone.
    """
    if tail is not None and tail < 0:
        raise InvalidOption(f"invalid value `{tail}` for `tail`: must not be negative")
    if lifecycle.log(container.record.options).driver == "none":
        raise Unsupported(
            f'no logs of container "{container.record.name}": '
            "configured logging driver does not support reading",
            hint="log driver `json-file` keeps what is written",
        )
    now = time.time()
    first, last = _moment(since, now), _moment(until, now) or None
    kept.state(paths, container)  # one that is gone wrote nothing that could be read
    return _between(
        _followed(paths, container, tail, last) if follow else _there(container, tail), first, last
    )


def _moment(text: str | float | None, now: float) -> float | None:
    """None: no bound. As docker: nothing is none, and `-10m` is to come."""
    if text is None or text == "":
        return None
    if isinstance(text, str) and text.startswith("-"):
        return 2 * now - moment(text[1:], now)
    return moment(text, now)


def _between(
    found: Iterator[LogEntry | Pause], first: float | None, last: float | None
) -> Iterator[LogEntry | Pause]:
    for entry in found:
        if isinstance(entry, Pause):
            yield entry
            continue
        if first is not None and entry.time < first:
            continue
        if last is not None and entry.time > last:
            return
        yield entry


def _there(container: Kept, tail: int | None) -> Iterator[LogEntry]:
    lines = Lines(path_of(container.path), last=tail)
    try:
        yield from _parsed(lines)
    finally:
        lines.close()


def _followed(
    paths: Paths, container: Kept, tail: int | None, last: float | None
) -> Iterator[LogEntry | Pause]:
    from pycontain.errors import ContainerNotFound

    lines = Lines(path_of(container.path), last=tail)
    try:
        while True:
            try:
                runs = kept.state(paths, container).is_alive
            except ContainerNotFound:
                return
            # what it wrote before it ended is there by now
            yield from _parsed(lines)
            if not runs or (last is not None and time.time() > last):
                return
            yield Pause(seconds=_INTERVAL)
    finally:
        lines.close()


def _parsed(lines: Lines) -> Iterator[LogEntry]:
    for text in lines.new():
        try:
            line = _decode(text)
        except msgspec.DecodeError:
            # bytes that are no UTF-8, which msgspec does not take; or nothing at all, of a writer that was
            # killed in the middle
            try:
                found = json.loads(text)
                line = _Line(found["log"], found["stream"], found["time"])
            except (ValueError, KeyError, TypeError):
                continue
        yield LogEntry(line.stream, line.time, line.log)


def _seconds(timestamp: str) -> float:
    import datetime

    try:
        return datetime.datetime.fromisoformat(timestamp).timestamp()
    except ValueError:
        return 0.0
