"""How the event loop waits for what a thread would wait for, and what is left to a thread."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import Any, ParamSpec, TypeVar

from pycontain.runtime.pauses import Pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
    from typing import Concatenate, Protocol

    class _HasFileno(Protocol):
        def fileno(self) -> int: ...


__all__ = ["finish", "in_thread", "items", "readable", "to_the_end"]

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(
    method: Callable[Concatenate[Any, P], T],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """A method that does the same as that of `self._sync`, in a thread."""

    @functools.wraps(method)
    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(method, self._sync, *args, **kwargs)

    return call


async def to_the_end(call: Callable[[], T], undo: Callable[[T], object]) -> T:
    """Call it in a thread, which is waited for in any case: it uses what the caller gives up on the way out.

    Args:
        call: what.
        undo: with what it returned, when nobody wants that any more.
    """
    task = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(BaseException):
                await asyncio.wait((task,))
        if task.exception() is None:
            undo(task.result())
        raise


async def readable(source: _HasFileno, seconds: float | None = None) -> None:
    """Until there is something to read, or it has been closed, or so many seconds have passed."""
    loop = asyncio.get_running_loop()
    news: asyncio.Future[None] = loop.create_future()
    descriptor = source.fileno()
    loop.add_reader(descriptor, lambda: None if news.done() else news.set_result(None))
    try:
        await asyncio.wait((news,), timeout=seconds)
    finally:
        loop.remove_reader(descriptor)
        news.cancel()


async def pass_by(pause: Pause) -> None:
    """Wait for what it says."""
    if pause.on is None:
        await asyncio.sleep(1 if pause.seconds is None else pause.seconds)
    else:
        await readable(pause.on, pause.seconds)


async def finish(work: Generator[Pause, None, T]) -> T:
    """Wait until the work is done; what it returns."""
    try:
        while True:
            try:
                pause = next(work)
            except StopIteration as stop:
                result: T = stop.value
                return result
            await pass_by(pause)
    finally:
        work.close()


async def items(found: Iterator[T | Pause]) -> AsyncIterator[T]:
    """Those between which there are pauses."""
    for item in found:
        if isinstance(item, Pause):
            await pass_by(item)
        else:
            yield item
