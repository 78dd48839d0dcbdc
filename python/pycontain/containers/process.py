"""A process in a container, shaped like `subprocess.Popen`."""

from __future__ import annotations

import os
import selectors
import signal
import time

from pycontain.containers import keeping
from pycontain.errors import TimeoutExpired
from pycontain.runtime.sizes import limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

    from pycontain._core import Exit
    from pycontain._core import Process as Started
    from pycontain.options import Duration

__all__ = ["Process"]

_BLOCK = 1 << 16
_DAY = 86400.0  # poll(2) waits for no more than 24 of them


class Process:
    """Made by `Container.exec` only.

    Closing it, as the end of a `with` block does, kills it if it runs, and all that it started. What is asked
    of it after that is ValueError, as of a closed file; a `returncode` that is known stays.

    Attributes:
        args: the command.
        stdin: to write to; None where that was not asked for.
        stdout, stderr: to read from.
    """

    args: tuple[str, ...]
    stdin: IO[bytes] | None
    stdout: IO[bytes]
    stderr: IO[bytes]

    def __init__(
        self,
        args: Sequence[str],
        start: Callable[[tuple[int, int, int]], Started],
        *,
        stdin: bool,
        container: str,
    ) -> None:
        theirs: list[int] = []
        mine: list[int] = []
        try:
            if stdin:
                reading, writing = os.pipe()
                theirs.append(reading)
                mine.append(writing)
            else:
                theirs.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            for _ in ("stdout", "stderr"):
                reading, writing = os.pipe()
                theirs.append(writing)
                mine.append(reading)
            self._process = start((theirs[0], theirs[1], theirs[2]))
            self._container = container
        except BaseException:
            for descriptor in mine:
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self.args = tuple(args)
        self._ended: Exit | None = None
        self.stdin = os.fdopen(mine[0], "wb") if stdin else None
        self.stdout, self.stderr = os.fdopen(mine[-2], "rb"), os.fdopen(mine[-1], "rb")

    @property
    def pid(self) -> int:
        """Its number on this machine."""
        with keeping.watched(self._container):
            return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, 128 + n when signal n ended it; None: it runs still, or was not waited for."""
        return None if self._ended is None else self._ended.returncode

    def fileno(self) -> int:
        """Readable when there is news, at the latest when it has ended."""
        return self._process.fileno()

    def poll(self) -> int | None:
        """Its exit status, if it has ended."""
        if self._ended is None:
            self._ended = self._news(0)
        return self.returncode

    def wait(self, timeout: Duration | None = None) -> int:
        """Its exit status, once it has ended; what it writes has to be read by somebody meanwhile.

        Raises:
            Conflict: its container ended, and nobody saw how it did.
            InvalidOption: the timeout is none.
            StartError: it could not be started; `CommandNotFound` when there is no such command.
            TimeoutExpired: it runs still.
        """
        most = limit("timeout", timeout)
        if self._ended is None:
            self._ended = self._news(most)
            if self._ended is None:
                raise TimeoutExpired(self.args, most or 0, killed=False)
        return self._ended.returncode

    def _news(self, timeout: float | None) -> Exit | None:
        with keeping.watched(self._container):
            return self._process.wait(timeout)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            with keeping.watched(self._container):
                self._process.kill(number)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _end(self) -> None:
        with keeping.watched(self._container):
            self._process.end()
        self.wait()

    def communicate(self, input: bytes | None = None, timeout: Duration | None = None) -> tuple[bytes, bytes]:
        """Give it `input`, read both streams to their ends, and wait.

        Raises:
            InvalidOption: the timeout is none.
            TimeoutExpired: it did not end in time, and was killed with all that it started; has what came.
        """
        _, out, err = self._finished(input, limit("timeout", timeout), text=False)
        return out, err

    def _finished(
        self, input: bytes | None, timeout: float | None, *, text: bool
    ) -> tuple[Exit, bytes, bytes]:
        from pycontain.runtime.completing import expired

        deadline = None if timeout is None else time.monotonic() + timeout
        found: dict[int, list[bytes]] = {self.stdout.fileno(): [], self.stderr.fileno(): []}
        out, err = found.values()
        with selectors.PollSelector() as selector:
            for descriptor in found:
                selector.register(descriptor, selectors.EVENT_READ)
            rest = memoryview(input or b"")
            if self.stdin is not None:
                if rest:
                    os.set_blocking(self.stdin.fileno(), False)
                    selector.register(self.stdin.fileno(), selectors.EVENT_WRITE)
                else:
                    self.stdin.close()
            while selector.get_map():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    self._end()
                    raise expired(self.args, timeout, b"".join(out), b"".join(err), text=text)
                for key, _ in selector.select(None if left is None else min(left, _DAY)):
                    if key.fd not in found:
                        rest = self._feed(rest)
                        if not rest:
                            selector.unregister(key.fd)
                            assert self.stdin is not None
                            self.stdin.close()
                    elif block := os.read(key.fd, _BLOCK):
                        found[key.fd].append(block)
                    else:
                        selector.unregister(key.fd)
        self.wait()
        assert self._ended is not None
        return self._ended, b"".join(out), b"".join(err)

    def _feed(self, rest: memoryview) -> memoryview:
        assert self.stdin is not None
        try:
            return rest[os.write(self.stdin.fileno(), rest) :]
        except BlockingIOError:
            return rest
        except BrokenPipeError:
            return rest[:0]  # it reads no more

    def close(self) -> None:
        """Give up its streams, and kill it if it still runs, and all that it started."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self._process.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
