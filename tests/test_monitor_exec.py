"""Further processes in a detached container: who they are, what they see, how they end."""

from __future__ import annotations

import json
import os
import resource
import signal
from typing import TYPE_CHECKING, Any

import leftovers
import pytest
from detached import Detached, start, wait_for
from pycontain import CommandNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain import Engine
    from pycontain._core import Process

LOOK = """id; cat /proc/self/cgroup; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
for kind in /proc/self/ns/*; do readlink $kind; done
hostname; ulimit -a; umask; ls /proc/self/fd | wc -l"""

pytestmark = pytest.mark.guest


@pytest.fixture
def container(engine: Engine, busybox: str) -> Iterator[Detached]:
    """One that does nothing."""
    container = start(engine, busybox, ["sleep", "1000"])
    yield container
    if container.is_locked():
        container.monitor.stop().wait()


def enter(container: Detached, args: list[str], streams: tuple[int, int, int], **process: Any) -> Process:
    """Start a process like the container's own."""
    config = json.loads((container.path / "config.json").read_text())
    detached = process.pop("detached", False)
    config["annotations"] |= process.pop("annotations", {})
    config["process"] |= {"args": args, **process}
    return container.monitor.exec(json.dumps(config).encode(), streams, detached=detached)


def output(container: Detached, args: list[str], **process: Any) -> tuple[int, bytes]:
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    inside = enter(container, args, (null, writing, writing), **process)
    os.close(writing)
    os.close(null)
    pieces = []
    while piece := os.read(reading, 1 << 16):
        pieces.append(piece)
    os.close(reading)
    ended = inside.wait()
    assert ended is not None
    return ended.returncode, b"".join(pieces)


def test_process_is_as_confined_as_the_first(engine: Engine, busybox: str) -> None:
    container = start(engine, busybox, ["sh", "-c", f"{LOOK}; exec sleep 1000"])
    wait_for(lambda: container.log().count(b"\n") > 15)
    status, seen = output(container, ["sh", "-c", LOOK])
    assert status == 0
    assert seen == container.log()
    container.monitor.stop().wait()


def test_streams_and_status_are_its_own(container: Detached) -> None:
    assert output(container, ["sh", "-c", "echo hi; exit 9"]) == (9, b"hi\n")
    assert output(container, ["cat", "/proc/1/cmdline"]) == (0, b"sleep\x001000\x00")
    assert container.records() == [] if (container.path / "log").exists() else True


def test_user_and_environment_are_as_asked(container: Detached) -> None:
    status, seen = output(
        container,
        ["sh", "-c", "id -u; echo $HOME $X; pwd"],
        annotations={"io.pycontain.user": "12:34"},
        env=["PATH=/bin", "X=y"],
        cwd="/proc",
    )
    assert (status, seen) == (0, b"12\n/ y\n/proc\n")


def test_command_that_is_not_there_is_told(container: Detached) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    with pytest.raises(CommandNotFound, match="execute `nonsense`"):
        enter(container, ["nonsense"], (null, null, null)).wait()
    os.close(null)


def test_terminal_is_its_own(container: Detached) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    size = {"height": 11, "width": 22}
    inside = enter(
        container, ["sh", "-c", "stty size; tty"], (null, null, null), terminal=True, consoleSize=size
    )
    master = inside.terminal()
    seen = b""
    while True:
        try:
            seen += os.read(master, 1000)
        except OSError:
            break  # the other side is closed
    assert seen == b"11 22\r\n/dev/pts/0\r\n"
    os.close(master)
    os.close(null)


def test_losing_it_kills_it_unless_it_is_detached(container: Detached) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    attached = enter(container, ["sleep", "1000"], (null, null, null))
    detached = enter(container, ["sleep", "1000"], (null, null, null), detached=True)
    pids = attached.pid, detached.pid
    attached.close()
    detached.close()
    wait_for(lambda: pids[0] not in leftovers.processes())
    assert pids[1] in leftovers.processes()
    container.monitor.stop().wait()
    assert pids[1] not in leftovers.processes()
    os.close(null)


def test_signals_reach_it(container: Detached) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    inside = enter(container, ["sleep", "1000"], (null, null, null))
    assert inside.pid in leftovers.processes()
    inside.kill(signal.SIGTERM)
    ended = inside.wait()
    assert ended is not None
    assert ended.returncode == 143
    os.close(null)


def test_hundred_at_once(container: Detached) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    inside = [enter(container, ["sh", "-c", f"exit {n}"], (null, null, null)) for n in range(100)]
    ended = [process.wait() for process in inside]
    assert [one and one.returncode for one in ended] == list(range(100))
    os.close(null)


@pytest.mark.limits
def test_paused_container_refuses(container: Detached) -> None:
    container.monitor.pause()
    null = os.open(os.devnull, os.O_RDWR)
    with pytest.raises(Exception, match="is paused"):
        enter(container, ["true"], (null, null, null)).wait()
    container.monitor.unpause()
    assert enter(container, ["true"], (null, null, null)).wait() is not None
    os.close(null)


@pytest.mark.limits
def test_command_waits_while_nothing_may_run(container: Detached) -> None:
    hold = container.monitor.hold()
    hold.wait()
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    inside = enter(container, ["sh", "-c", "echo in"], (null, writing, null))
    os.close(writing)
    os.close(null)
    assert inside.wait(0.3) is None
    hold.leave()
    assert os.read(reading, 10) == b"in\n"
    os.close(reading)
    ended = inside.wait()
    assert ended is not None
    assert ended.returncode == 0


def test_who_uses_up_the_monitors_files_is_refused_and_it_can_be_stopped(container: Detached) -> None:
    monitor = leftovers.processes()[container.state["pid"]].parent
    resource.prlimit(monitor, resource.RLIMIT_NOFILE, (128, 128))
    null = os.open(os.devnull, os.O_RDWR)
    inside = []

    def enter_many() -> None:
        for _ in range(128):
            process = enter(container, ["sleep", "1000"], (null, null, null))
            assert process.pid > 0
            inside.append(process)

    with pytest.raises(Exception, match="the limit of open files of its monitor is reached"):
        enter_many()
    os.close(null)
    assert len(inside) > 10
    assert container.monitor.stop().wait() is not None


def test_door_that_was_stopped_is_not_waited_for(container: Detached) -> None:
    assert output(container, ["true"])[0] == 0
    monitor = leftovers.processes()[container.state["pid"]].parent
    doors = [
        p.pid for p in leftovers.processes().values() if p.parent == monitor and "door" in name_of(p.pid)
    ]
    os.kill(doors[0], signal.SIGSTOP)
    with pytest.raises(Exception, match="enter the container: connection timed out"):
        output(container, ["true"])
    assert output(container, ["true"])[0] == 0


def name_of(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read()
