"""What waits is written once, as a generator that yields what it waits for: a thread does, or an event loop.

>>> def ended(process):
...     while (status := process.poll()) is None:
...         yield Pause(process)
...     return status
>>> finish(ended(process))
0
"""

from __future__ import annotations

import select
import time
from typing import NamedTuple, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Protocol

    class _HasFileno(Protocol):
        def fileno(self) -> int: ...


__all__ = ["Pause", "finish", "items"]

T = TypeVar("T")
# no signal that comes just before poll(2) is noticed later than this
_LONGEST = 1.0


class Pause(NamedTuple):
    """Until there is something to read, if there is something to be read from, or `seconds` have passed."""

    on: _HasFileno | None = None
    seconds: float | None = None

    def sleep(self) -> None:
        """Wait in this thread."""
        if self.on is None:
            time.sleep(_LONGEST if self.seconds is None else self.seconds)
            return
        poll = select.poll()
        poll.register(self.on.fileno(), select.POLLIN)
        deadline = None if self.seconds is None else time.monotonic() + self.seconds
        while True:
            left = _LONGEST if deadline is None else min(_LONGEST, deadline - time.monotonic())
            if poll.poll(max(0, left) * 1000) or (deadline is not None and left <= 0):
                return


def finish(work: Generator[Pause, None, T]) -> T:
    """Wait in this thread until the work is done; what it returns."""
    while True:
        try:
            pause = next(work)
        except StopIteration as stop:
            result: T = stop.value
            return result
        pause.sleep()


def items(found: Iterator[T | Pause]) -> Iterator[T]:
    """Those between which there are pauses, in this thread."""
    for item in found:
        if isinstance(item, Pause):
            item.sleep()
        else:
            yield item
