"""Trying again: exponential back-off with jitter, as long as the registry wants it, up to a bound."""

from __future__ import annotations

import random
import threading

from pycontain.registry.received import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.errors import RegistryError

__all__ = ["Passing", "Retries", "Stopped", "seconds_of"]

_FIRST = 0.25
_LONGEST = 15.0
# a registry that asks for more is told as an error: nobody looks at a still progress bar for an hour
_LONGEST_ASKED = 60.0


class Passing(Exception):
    """A failure that may pass.

    Attributes:
        error: what it is in the end.
        after: how many seconds the registry asks to wait.
        tries: how often it is worth trying again at most; None: as often as anything.
    """

    def __init__(self, error: RegistryError, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after
        self.tries: int | None = None


class Stopped(Exception):
    """Something else failed meanwhile, or the user has had enough."""


class Retries:
    """What is left of the tries for one thing.

    Args:
        count: how often it is tried again.
        stop: set when waiting makes no sense any more.
    """

    def __init__(self, count: int, stop: threading.Event | None = None) -> None:
        self._count = count
        self._stop = stop or threading.Event()
        self._used = 0

    def wait(self, failure: Passing) -> None:
        """Wait for the next try.

        Raises:
            RegistryError: there is none, or the registry asks for too much patience.
            Stopped: `stop` was set.
        """
        if self._stop.is_set():
            raise Stopped
        too_long = failure.after is not None and failure.after > _LONGEST_ASKED
        most = self._count if failure.tries is None else min(failure.tries, self._count)
        if self._used >= most or too_long:
            raise failure.error from failure
        delay = min(_FIRST * 2**self._used, _LONGEST) * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        self._used += 1
        if self._stop.wait(delay if failure.after is None else max(failure.after, delay)):
            raise Stopped

    def start_over(self) -> None:
        """It got further: all tries are there again."""
        self._used = 0


def seconds_of(retry_after: str | None) -> float | None:
    """The header `Retry-After`: seconds, or a date."""
    if not retry_after:
        return None
    seconds = number(retry_after.strip())
    if seconds is not None:
        return float(seconds)
    import datetime
    import email.utils

    try:
        until = email.utils.parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=datetime.UTC)
    return max(0.0, (until - datetime.datetime.now(datetime.UTC)).total_seconds())
