r"""The same for asyncio: the same names, and what waits is awaited.

>>> from pycontain import aio
>>> async with aio.Engine() as engine:
...     await engine.run("alpine", ["echo", "hi"])
...     async with engine.container("redis:7") as redis:
...         process = await redis.exec(["redis-cli", "monitor"])
...         async for line in process.stdout:
...             ...

Processes, their streams, ends, logs and events are waited for by the event loop itself: a thousand of them
take no thread. What reads and writes files, or asks a registry, is done in a thread of the loop's, which
calls `progress`, too; to cancel that is to stop waiting for it. To cancel a `run`, or to leave the block of a
container or process, is to kill it.
"""

from __future__ import annotations

from pycontain.aio.container import Container
from pycontain.aio.engine import Containers, Engine, Images, Networks
from pycontain.aio.process import Process

__all__ = ["Container", "Containers", "Engine", "Images", "Networks", "Process"]
