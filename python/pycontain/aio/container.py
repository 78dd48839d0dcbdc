"""Handles of containers that stay, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib

from pycontain.aio import process as processes
from pycontain.aio.waiting import finish, in_thread, items, to_the_end
from pycontain.containers import handle
from pycontain.errors import InvalidOption
from pycontain.runtime.completing import completed, given
from pycontain.runtime.sizes import limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from typing import Literal, Unpack, overload

    from pycontain._core import Process as Started
    from pycontain.aio.process import Process
    from pycontain.containers.conditions import Condition
    from pycontain.containers.executing import ExecOptions
    from pycontain.containers.logs import LogEntry
    from pycontain.options import Duration
    from pycontain.types import Completed

__all__ = ["Container"]


class Container:
    """As `pycontain.Container`, which says more. Made by the engine only."""

    __slots__ = ("_sync",)

    def __init__(self, sync: handle.Container) -> None:
        self._sync = sync

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self._sync.id

    @property
    def name(self) -> str:
        """What it is called now."""
        return self._sync.name

    @property
    def args(self) -> tuple[str, ...]:
        """The command that it was made to run."""
        return self._sync.args

    @property
    def labels(self) -> dict[str, str]:
        """Its own, and its image's."""
        return self._sync.labels

    @property
    def status(self) -> str:
        """What it does now: `created`, `running`, `paused`, `restarting`, `exited` or `dead`."""
        return self._sync.status

    inspect = in_thread(handle.Container.inspect)
    stats = in_thread(handle.Container.stats)
    start = in_thread(handle.Container.start)
    _read_secrets = in_thread(handle.Container._read_secrets)
    kill = in_thread(handle.Container.kill)
    pause = in_thread(handle.Container.pause)
    unpause = in_thread(handle.Container.unpause)
    rename = in_thread(handle.Container.rename)
    update = in_thread(handle.Container.update)
    top = in_thread(handle.Container.top)
    diff = in_thread(handle.Container.diff)
    copy_in = in_thread(handle.Container.copy_in)
    copy_out = in_thread(handle.Container.copy_out)
    put_archive = in_thread(handle.Container.put_archive)
    get_archive = in_thread(handle.Container.get_archive)
    read_bytes = in_thread(handle.Container.read_bytes)
    write_bytes = in_thread(handle.Container.write_bytes)
    export = in_thread(handle.Container.export)
    save = in_thread(handle.Container.save)
    commit = in_thread(handle.Container.commit)

    async def fork(self, name: str | None = None, *, start: bool | None = None) -> Container:
        """Make a container that begins with the files of this one as they are now."""
        return Container(await asyncio.to_thread(self._sync.fork, name, start=start))

    async def stop(self, *, signal: str | int | None = None, timeout: Duration | None = None) -> None:
        """Ask it to end, and kill it if it does not; at once, if it does not handle the signal."""
        await finish(self._sync._stop(signal, timeout))

    async def restart(self, *, signal: str | int | None = None, timeout: Duration | None = None) -> None:
        """`stop`, if it runs, and `start`."""
        await self._read_secrets()
        await self.stop(signal=signal, timeout=timeout)
        await self.start()

    async def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it with its files and its log; with `force` kill it, if it runs."""
        await to_the_end(lambda: self._sync.remove(force=force, volumes=volumes), lambda _: None)

    async def wait(self, timeout: Duration | None = None) -> int:
        """Until it does not run and is not to be started again; its exit code."""
        return await finish(self._sync._wait(timeout))

    async def wait_until(
        self,
        condition: Condition | Callable[[handle.Container], object],
        timeout: Duration | None = None,
    ) -> None:
        """Until it is so: `port(5432)`, `log_line("ready")`, `healthy()`, `exited()`, or what you ask for."""
        await finish(self._sync._until(condition, timeout))

    def logs(
        self,
        *,
        follow: bool = False,
        since: str | float | None = None,
        until: str | float | None = None,
        tail: int | None = None,
    ) -> AsyncIterator[LogEntry]:
        """What it wrote to its standard output and error, line by line, the oldest first."""
        return items(self._sync._log(follow, since, until, tail))

    if TYPE_CHECKING:

        @overload
        async def run(
            self,
            args: str | Sequence[str],
            *,
            input: bytes | str | None = None,
            text: Literal[False] = False,
            check: bool = True,
            timeout: Duration | None = None,
            **options: Unpack[ExecOptions],
        ) -> Completed[bytes]: ...

        @overload
        async def run(
            self,
            args: str | Sequence[str],
            *,
            input: bytes | str | None = None,
            text: Literal[True],
            check: bool = True,
            timeout: Duration | None = None,
            **options: Unpack[ExecOptions],
        ) -> Completed[str]: ...

        @overload
        async def run(
            self,
            args: str | Sequence[str],
            *,
            input: bytes | str | None = None,
            text: bool,
            check: bool = True,
            timeout: Duration | None = None,
            **options: Unpack[ExecOptions],
        ) -> Completed[bytes | str]: ...

    async def run(
        self,
        args: str | Sequence[str],
        *,
        input: bytes | str | None = None,
        text: bool = False,
        check: bool = True,
        timeout: Duration | None = None,
        **options: Unpack[ExecOptions],
    ) -> Completed[bytes | str]:
        """Run a command in it, and wait for that; to cancel this is to kill it."""
        most = limit("timeout", timeout)
        process = await self.exec(args, stdin=input is not None, **options)
        ended, out, err = await process.finished(given(input), most, text=text)
        return completed(process.args, ended, out, err, text=text, check=check)

    async def exec(
        self, args: str | Sequence[str], *, stdin: bool = False, **options: Unpack[ExecOptions]
    ) -> Process:
        """Start a command in it, and go on: a `Process`, shaped like `asyncio.subprocess.Process`."""
        from pycontain.containers.executing import prepared

        if options.get("tty"):
            raise InvalidOption("`tty` needs a terminal: `pycontain.Container.exec_foreground` has one")
        words, begin = await asyncio.to_thread(prepared, self._sync._paths, self._sync._kept, args, options)

        async def begun(streams: tuple[int, int, int]) -> Started:
            return await to_the_end(lambda: begin(streams), _give_up)

        name = self._sync._kept.record.name
        return await processes.start(words, begun, stdin=stdin, container=name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Container) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Container {self.id[:12]}>"


def _give_up(started: Started) -> None:
    with contextlib.suppress(Exception):
        started.end()
    started.close()
