"""A process in a container, shaped like `asyncio.subprocess.Process`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from pycontain.aio.waiting import readable
from pycontain.containers import keeping
from pycontain.runtime.completing import expired

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pycontain._core import Exit
    from pycontain._core import Process as Started

__all__ = ["Process", "start"]

_BLOCK = 1 << 16


class Process:
    """Made by `Container.exec` only.

    Leaving an `async with` block of it kills it, if it runs, and all that it started.

    Attributes:
        args: the command.
        stdin: to write to; None where that was not asked for.
        stdout, stderr: to read from.
    """

    args: tuple[str, ...]
    stdin: asyncio.StreamWriter | None
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader

    def __init__(
        self,
        args: Sequence[str],
        started: Started,
        container: str,
        stdin: asyncio.StreamWriter | None,
        outputs: Sequence[tuple[asyncio.StreamReader, asyncio.BaseTransport]],
    ) -> None:
        self.args = tuple(args)
        self.stdin = stdin
        (self.stdout, first), (self.stderr, second) = outputs
        self._transports = (first, second)
        self._started = started
        self._container = container
        self._ended: Exit | None = None
        self._waiting: asyncio.Task[Exit] | None = None

    @property
    def pid(self) -> int:
        """Its number on this machine."""
        return self._started.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, 128 + n when signal n ended it; None: it runs still, or nobody waited for it."""
        return None if self._ended is None else self._ended.returncode

    def fileno(self) -> int:
        """Readable when there is news, at the latest when it has ended."""
        return self._started.fileno()

    async def wait(self) -> int:
        """Its exit status, once it has ended; what it writes has to be read by somebody meanwhile.

        Raises:
            StartError: it could not be started; `CommandNotFound` when there is no such command.
        """
        return (await self._end()).returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self._ended is None:
            self._started.kill(number)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]:
        """Give it `input`, read both streams to their ends, and wait. It goes on if this is cancelled."""
        out, err = bytearray(), bytearray()
        await self._communicate(input, out, err)
        return bytes(out), bytes(err)

    async def finished(
        self, input: bytes | None, timeout: float | None, *, text: bool
    ) -> tuple[Exit, bytes, bytes]:
        """The same, but it is killed, with all that it started, when that takes too long or is cancelled.

        Raises:
            TimeoutExpired: it did not end in time; has what came.
        """
        out, err = bytearray(), bytearray()
        try:
            async with asyncio.timeout(timeout):
                await self._communicate(input, out, err)
        except TimeoutError:
            await self.close()
            raise expired(self.args, timeout, bytes(out), bytes(err), text=text) from None
        except BaseException:
            await self.close()
            raise
        return await self._end(), bytes(out), bytes(err)

    async def close(self) -> None:
        """Kill it, if it still runs, and all that it started, wait for its end, and give up its streams."""
        with contextlib.suppress(Exception):
            if self._ended is None:
                self._started.end()
        # even if whoever waits is cancelled a second time
        with contextlib.suppress(Exception):
            await asyncio.shield(self._end_once())
        self._give_up()

    async def __aenter__(self) -> Process:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _communicate(self, input: bytes | None, out: bytearray, err: bytearray) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_read(self.stdout, out))
            group.create_task(_read(self.stderr, err))
            if self.stdin is not None:
                group.create_task(_feed(self.stdin, input))
        await self._end()
        self._give_up()

    async def _end(self) -> Exit:
        # cancelling one who waits is nothing to the others
        return await asyncio.shield(self._end_once())

    def _end_once(self) -> asyncio.Task[Exit]:
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_task(self._watch())
        return self._waiting

    async def _watch(self) -> Exit:
        with keeping.watched(self._container):
            while (ended := self._started.wait(0)) is None:
                await readable(self._started)
        self._ended = ended
        return ended

    def _give_up(self) -> None:
        for transport in self._transports:
            transport.close()
        if self.stdin is not None:
            self.stdin.close()
        self._started.close()


async def start(
    args: Sequence[str],
    begin: Callable[[tuple[int, int, int]], Awaitable[Started]],
    *,
    stdin: bool,
    container: str = "",
) -> Process:
    """Let it begin on pipes, of which the event loop has the other ends."""
    writer = None
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as mine:
        if stdin:
            reading, writing = os.pipe()
            theirs.callback(os.close, reading)
            writer = await _writer(writing)
            mine.callback(writer.close)
        else:
            reading = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            theirs.callback(os.close, reading)
        ends, outputs = [reading], []
        for _ in range(2):
            reading, writing = os.pipe()
            theirs.callback(os.close, writing)
            ends.append(writing)
            outputs.append(await _reader(reading))
            mine.callback(outputs[-1][1].close)
        started = await begin((ends[0], ends[1], ends[2]))
        mine.pop_all()
    return Process(args, started, container, writer, outputs)


async def _reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    return reader, transport


async def _writer(descriptor: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())  # it knows how to hold a writer up
    transport, _ = await loop.connect_write_pipe(lambda: protocol, os.fdopen(descriptor, "wb", 0))
    return asyncio.StreamWriter(transport, protocol, None, loop)


async def _read(reader: asyncio.StreamReader, into: bytearray) -> None:
    while block := await reader.read(_BLOCK):
        into += block


async def _feed(writer: asyncio.StreamWriter, input: bytes | None) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it reads no more
        writer.write(input or b"")
        await writer.drain()
    writer.close()
