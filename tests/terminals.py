"""A terminal that a test types at: the command line's program on a pty."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING

from containers import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from containers import Cli


class Terminal:
    """`run --rm WORDS`, or another command, on a terminal of its own."""

    def __init__(
        self,
        cli: Cli,
        *words: str,
        command: Sequence[str] = ("run", "--rm"),
        rows: int = 24,
        columns: int = 80,
    ) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns, tell=False)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", cli.program, *command, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=cli.environment,
        )
        os.close(slave)
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)

    def resize(self, rows: int, columns: int, *, tell: bool = True) -> None:
        """Of the terminal; the kernel tells those in front of it."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if tell:
            os.kill(self.process.pid, signal.SIGWINCH)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def _read(self, until: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self.master, 4096)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def expect(self, text: str) -> str:
        """What was shown up to and with `text`, since the last call."""
        until = time.monotonic() + seconds(20)
        while text not in self.seen:
            assert self._read(until), f"no {text!r} in {self.seen!r}"
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def end(self) -> tuple[int, str]:
        """The status of the program, and what it showed at last."""
        until = time.monotonic() + seconds(20)
        while self._read(until):
            pass
        return self.process.wait(timeout=seconds(20)), self.seen
