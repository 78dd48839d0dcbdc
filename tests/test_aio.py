"""`pycontain.aio`: nothing outlives a cancelled task, and a thousand of anything take no thread each."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import time
from typing import TYPE_CHECKING, Any, ParamSpec

import containers
import leftovers
import pycontain
import pytest
from pycontain import aio
from pycontain.errors import (
    CommandNotFound,
    Conflict,
    ContainerNotFound,
    ExitError,
    InvalidOption,
    TimeoutExpired,
    VolumeNotFound,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pycontain import Engine

pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)
P = ParamSpec("P")


def asynchronous(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def processes_of(engine: Engine) -> set[int]:
    """Those of the containers that stay."""
    return {found["State"]["Pid"] for found in (one.inspect() for one in engine.containers.list())}


@asynchronous
async def test_run_is_that_of_the_other_engine(own: Engine) -> None:
    async with aio.Engine(own._paths.root) as engine:
        done = await engine.run("busybox", ["sh", "-c", "cat; echo err >&2"], input="text", text=True)
        assert (done.stdout, done.stderr, done.returncode) == ("text", "err\n", 0)
        assert done.usage.cpu is not None
        big = os.urandom(1 << 20)
        assert (await engine.run("busybox", ["cat"], input=big)).stdout == big
        with pytest.raises(ExitError) as failed:
            await engine.run("busybox", ["sh", "-c", "echo out; echo err >&2; exit 3"])
        assert (failed.value.returncode, failed.value.stdout, failed.value.stderr) == (3, b"out\n", b"err\n")
        with pytest.raises(CommandNotFound):
            await engine.run("busybox", ["no-such-command"])
        with pytest.raises(TimeoutExpired) as expired:
            await engine.run("busybox", ["sh", "-c", "echo part; sleep 100"], timeout=0.5, text=True)
        assert expired.value.stdout == "part\n"
        for wrong in (float("nan"), "soon"):
            with pytest.raises(InvalidOption, match="timeout"):
                await engine.run("busybox", ["true"], timeout=wrong)


@asynchronous
async def test_many_at_once_take_no_thread_each(own: Engine) -> None:
    async with aio.Engine(own._paths.root) as engine:
        gone = threading.Event()
        most = 0

        def count() -> None:
            nonlocal most
            while not gone.wait(0.01):
                most = max(most, threading.active_count())

        counter = threading.Thread(target=count)
        counter.start()
        try:
            runs = (engine.run("busybox", ["echo", str(number)]) for number in range(150))
            outs = [done.stdout for done in await asyncio.gather(*runs)]
            async with engine.container("busybox", ["sleep", "1000"]) as box:
                execs = (box.run(["echo", str(number)]) for number in range(150))
                assert outs == [done.stdout for done in await asyncio.gather(*execs)]
        finally:
            gone.set()
            counter.join()
        assert outs == [f"{number}\n".encode() for number in range(150)]
        assert most < 50


@asynchronous
async def test_cancelled_run_is_killed(own: Engine) -> None:
    async with aio.Engine(own._paths.root) as engine:
        await engine.run("busybox", ["true"])
        watch = leftovers.Watch.begin(own._paths.root)
        for pause in (0, 0.001, 0.005, 0.02, 0.1, 0.3):
            tasks = [asyncio.create_task(engine.run("busybox", ["sleep", "1000"])) for _ in range(3)]
            await asyncio.sleep(pause)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(result) for result in results} == {asyncio.CancelledError}
        watch.check()


@asynchronous
async def test_cancelled_exec_takes_along_what_it_started(own: Engine) -> None:
    async with aio.Engine(own._paths.root) as engine, engine.container("busybox", ["sleep", "1000"]) as box:
        for command in ("sleep 4321 & sleep 4322", "sleep 4321 &"):
            task = asyncio.create_task(box.run(["sh", "-c", command]))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert b"sleep 432" not in (await box.run(["ps", "-o", "args"])).stdout


@asynchronous
async def test_process_is_shaped_like_that_of_asyncio(own: Engine) -> None:
    async with aio.Engine(own._paths.root) as engine, engine.container("busybox", ["sleep", "1000"]) as box:
        process = await box.exec(["sh", "-c", "while read line; do echo got $line; done; exit 4"], stdin=True)
        assert process.stdin
        assert process.returncode is None
        for word in (b"one", b"two"):
            process.stdin.write(word + b"\n")
            await process.stdin.drain()
            assert await process.stdout.readline() == b"got " + word + b"\n"
        process.stdin.close()
        assert await process.wait() == 4
        assert process.returncode == 4
        assert [line async for line in process.stdout] == []
        async with await box.exec(["sleep", "1000"]) as sleeper:
            assert os.path.isdir(f"/proc/{sleeper.pid}")
        assert sleeper.returncode == 137
        sleeper = await box.exec(["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"])
        assert await sleeper.stdout.readline() == b"ready\n"
        sleeper.terminate()
        assert await sleeper.communicate() == (b"", b"")
        assert sleeper.returncode == 7
        with pytest.raises(CommandNotFound):
            await (await box.exec(["no-such-command"])).wait()
        with pytest.raises(TimeoutExpired):
            await box.run(["sleep", "1000"], timeout=0.2)
        task = asyncio.create_task(box.run(["sleep", "999"]))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        deadline = time.monotonic() + containers.seconds(10)
        while "sleep 999" in str((await box.run(["ps"], text=True)).stdout):
            assert time.monotonic() < deadline


@asynchronous
async def test_life_of_a_container(own: Engine) -> None:
    async with aio.Engine(own._paths.root) as engine:
        watching = engine.events(type=["container"])
        following = asyncio.ensure_future(anext(watching))
        await asyncio.sleep(0.1)
        made = await engine.create("busybox", ["sh", "-c", "echo ready; exec sleep 1000"], name="made")
        event = await following
        assert (event.action, event.attributes["name"]) == ("create", "made")
        await made.start()
        await made.wait_until(pycontain.log_line("ready"), timeout=containers.seconds(20))
        assert [entry.line async for entry in made.logs()] == ["ready\n"]
        assert (await made.inspect())["State"]["Running"]
        assert (await made.stats()).pids == 1
        await made.write_bytes("/file", b"content")
        other = await made.fork("other")
        assert await other.read_bytes("/file") == b"content"
        assert {one.name for one in await engine.containers.list()} == {"made", "other"}
        with pytest.raises(TimeoutExpired):
            await made.wait("100ms")
        with pytest.raises(TimeoutExpired):
            await made.run("sleep 100", timeout=-1)
        for wait in (made.wait, functools.partial(made.run, "true")):
            with pytest.raises(InvalidOption, match="timeout"):
                await wait(timeout=float("nan"))
        waits = [asyncio.create_task(one.wait()) for one in (made, other)]
        await asyncio.gather(made.stop(), other.stop())
        assert [await wait for wait in waits] == [137, 137]
        await made.remove()
        with pytest.raises(ContainerNotFound):
            await engine.containers.get("made")
        image = await other.commit("copy:1")
        assert image.tags == ("copy:1",)
        assert [one.id for one in await engine.images.list("copy")] == [image.id]


@asynchronous
async def test_block_leaves_nothing_however_it_is_left(own: Engine) -> None:
    async with aio.Engine(own._paths.root) as engine:
        for error in (None, ValueError, asyncio.CancelledError):
            try:
                async with engine.container("busybox", ["sleep", "1000"], name="block"):
                    assert len(processes_of(own)) == 1
                    if error is not None:
                        raise error
            except (ValueError, asyncio.CancelledError):
                assert error is not None
            assert own.containers.list(all=True) == ()
        for pause in (0, 0.005, 0.02, 0.05):

            async def hold() -> None:
                async with engine.container("busybox", ["sleep", "1000"]):
                    await asyncio.sleep(1000)

            task = asyncio.create_task(hold())
            await asyncio.sleep(pause)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert own.containers.list(all=True) == ()
        with pytest.raises(Conflict):
            async with engine.container("busybox", ["true"]) as ended:
                await ended.wait_until(pycontain.port(80))


@asynchronous
async def test_volumes(own: Engine) -> None:
    async with aio.Engine(own._paths.root) as engine:
        made = await engine.volumes.create("data", labels={"a": "b"})
        assert (made.name, made.labels, made.options) == ("data", {"a": "b"}, {})
        await engine.run("busybox", ["sh", "-c", "echo x > /d/x"], volumes=["data:/d"])
        assert [volume.name for volume in await engine.volumes.list(label=["a"])] == ["data"]
        assert (await (await engine.volumes.get("data")).inspect())["Mountpoint"] == made.mountpoint
        assert (await engine.volumes.prune()).names == ()
        assert (await engine.volumes.prune(all=True)).names == ("data",)
        with pytest.raises(VolumeNotFound):
            await made.remove()
