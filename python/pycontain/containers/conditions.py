"""What a container is waited for to be: `container.wait_until(port(5432))`."""

from __future__ import annotations

import re
import time

from pycontain.errors import Conflict, TimeoutExpired
from pycontain.runtime.pauses import Pause
from pycontain.runtime.records import ALIVE
from pycontain.runtime.sizes import invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pycontain.containers.handle import Container

    # whether it holds, and what was seen, in words
    Look = Callable[[], tuple[bool, str]]

__all__ = ["Condition", "exited", "healthy", "log_line", "port", "until"]

_SHORTEST, _LONGEST = 0.01, 0.1  # seconds between two looks
_LISTENS = "0A"  # in /proc/net/tcp: TCP_LISTEN, include/net/tcp_states.h


class Condition:
    """Something that a container may come to; made by the functions of this module."""

    __slots__ = ("_begin", "_text", "after_the_end")

    def __init__(self, text: str, begin: Callable[[Container], Look], *, after_the_end: bool = False) -> None:
        self._text = text
        self._begin = begin
        self.after_the_end = after_the_end

    def begin(self, container: Container) -> Look:
        """What looks at the container, each time that it is called."""
        return self._begin(container)

    def __str__(self) -> str:
        return self._text


def port(number: int) -> Condition:
    """Something inside listens at this TCP port."""

    def begin(container: Container) -> Look:
        def look() -> tuple[bool, str]:
            ports = _listening(container.inspect()["State"]["Pid"])
            return number in ports, f"listening: {', '.join(map(str, sorted(ports))) or 'nothing'}"

        return look

    return Condition(f"listens at port {number}", begin)


def log_line(pattern: str | re.Pattern[str]) -> Condition:
    """It has written a line in which this regular expression is found.

    Raises:
        InvalidOption: it is none.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise invalid("pattern", pattern, f"must be a regular expression: {error}") from None

    def begin(container: Container) -> Look:
        entries = container._log(follow=True)
        last = "nothing was written"

        def look() -> tuple[bool, str]:
            nonlocal last
            for entry in entries:
                if isinstance(entry, Pause):
                    break
                last = f"last line: {entry.line.rstrip()}"
                if compiled.search(entry.line):
                    return True, last
            return False, last

        return look

    return Condition(f"writes a line with `{compiled.pattern}`", begin)


def healthy() -> Condition:
    """Its health check has succeeded.

    `wait_until` raises `Conflict` of one that has none.
    """

    def begin(container: Container) -> Look:
        def look() -> tuple[bool, str]:
            state = container.inspect()["State"]
            health = state.get("Health")
            if health is None and state["Running"]:
                raise Conflict(
                    f'container "{container.name}" has no health check',
                    hint="`health_cmd=`, or an image that has one",
                )
            status = "none" if health is None else health["Status"]
            return status == "healthy", f"health: {status}"

        return look

    return Condition("is healthy", begin)


def exited() -> Condition:
    """It does not run, any more or yet, and is not to be started again: what `Container.wait` waits for."""

    def begin(container: Container) -> Look:
        def look() -> tuple[bool, str]:
            status = container.status
            return status not in ALIVE, f"status: {status}"

        return look

    return Condition("ends", begin, after_the_end=True)


def until(
    container: Container, condition: Condition | Callable[[Container], object], timeout: float | None
) -> Generator[Pause, None, None]:
    """Look until it holds; see `Container.wait_until`."""
    if isinstance(condition, Condition):
        look = condition.begin(container)
        text, after_the_end = str(condition), condition.after_the_end
    else:
        look, text, after_the_end = _own(container, condition), "is as it is waited for", False
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = _SHORTEST
    while True:
        runs = container.status in ALIVE
        holds, seen = look()  # after that: what came before its end counts
        if holds:
            return
        if not runs and not after_the_end:
            code = container.inspect()["State"]["ExitCode"]
            raise Conflict(f'container "{container.name}" ended with {code} before it {text}; {seen}')
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            message = f'container "{container.name}": after {timeout:g} s not yet that it {text}; {seen}'
            raise TimeoutExpired(container.args, timeout or 0, message=message)
        yield Pause(seconds=pause if left is None else min(pause, left))
        pause = min(_LONGEST, pause * 1.5)


def _own(container: Container, condition: Callable[[Container], object]) -> Look:
    def look() -> tuple[bool, str]:
        found = condition(container)
        return bool(found), f"seen: {found!r}"

    return look


def _listening(pid: int) -> set[int]:
    """The TCP ports at which anything listens in the network namespace of this process."""
    ports: set[int] = set()
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{table}") as file:
                rows = [line.split() for line in list(file)[1:]]
        except (OSError, ValueError):
            continue  # it has just ended
        ports.update(int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENS)
    return ports
