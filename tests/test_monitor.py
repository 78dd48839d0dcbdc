"""Containers that live on their own: their ends, their states, and that nobody else's end is theirs."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import leftovers
import pytest
from detached import Detached, start, wait_for
from pycontain import CommandNotExecutable, CommandNotFound, Engine
from pycontain._core import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOP = "while :; do sleep 0.05; done"

pytestmark = pytest.mark.guest


@pytest.fixture
def own(engine: Engine, engine_root: str, busybox: str) -> Iterator[Engine]:
    """The session's engine; afterwards nothing of a container is left but its directory."""
    before = leftovers.abandoned_launchers()
    yield engine
    if os.geteuid() == 0:
        wait_for(lambda: not leftovers.abandoned_launchers() - before)


def test_runs_until_its_end(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["sh", "-c", "read line; exit 3"], {"stdin": True})
    assert container.state["status"] == "running"
    assert container.state["pid"] == container.pid
    assert container.is_locked()
    waiting = container.monitor.end()
    reading, writing = os.pipe()
    container.monitor.attach((reading, None, None))
    os.write(writing, b"go\n")
    ended = waiting.wait()
    assert ended is not None
    assert ended.returncode == 3
    assert not container.is_locked()
    state = container.state
    assert (state["status"], state["exit_code"], state["pid"]) == ("exited", 3, 0)
    assert state["started"] < state["finished"]
    with pytest.raises(ConnectionError):
        Monitor(str(container.path))
    os.close(reading)
    os.close(writing)


def test_ends_of_caller_and_launcher_are_not_its_own(engine_root: str, busybox: str, own: Engine) -> None:
    script = f"""
import os, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from detached import start
from pycontain import Engine
container = start(Engine({engine_root!r}), {busybox!r}, ["sh", "-c", "while :; do echo on; sleep 0.05; done"])
print(container.path, container.pid, flush=True)
sys.stdin.read()
"""
    caller = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert caller.stdout is not None
    path, pid = caller.stdout.readline().split()
    container = Detached(Path(path), int(pid))
    everything = leftovers.processes()
    launchers = [p.pid for p in everything.values() if p.parent == caller.pid and p.is_the_runtimes]
    assert launchers
    for victim in (*launchers, caller.pid):
        os.kill(victim, signal.SIGKILL)
    caller.communicate()
    wait_for(lambda: not set(launchers) & set(leftovers.processes()))
    before = len(container.records())
    wait_for(lambda: len(container.records()) > before + 2)
    assert container.is_locked()
    assert container.monitor.stop().wait() is not None
    assert not container.is_locked()
    # the next engine collects what the killed launcher left
    with Engine(engine_root) as engine:
        engine.run(busybox, "true")


def test_killed_nursery_is_replaced(own: Engine, busybox: str) -> None:
    first = start(own, busybox, ["sleep", "1000"])
    below = [process.pid for process in leftovers.descendants(os.getpid(), leftovers.processes())]
    nurseries = [pid for pid in below if command_name(pid) == "pycontain-nurse"]
    assert nurseries
    for pid in nurseries:
        os.kill(pid, signal.SIGKILL)
    # the first has the spare that is there already
    others = [start(own, busybox, ["sleep", "1000"]) for _ in range(2)]
    assert all(container.is_locked() for container in (first, *others))
    for container in (first, *others):
        assert container.monitor.stop().wait() is not None
    wait_for(lambda: not set(nurseries) & set(leftovers.processes()))


def command_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_command_that_is_not_there_is_told(own: Engine, busybox: str, engine_root: str) -> None:
    with pytest.raises(CommandNotFound, match="execute `nonsense`"):
        start(own, busybox, ["nonsense"], {"restart": "always"})
    with pytest.raises(CommandNotExecutable):
        start(own, busybox, ["/etc"])
    states = [json.loads(path.read_text()) for path in Path(engine_root).glob("containers/*/state.json")]
    failed = [state for state in states if state["status"] == "created"]
    assert {(state["exit_code"], state["error"]) for state in failed} == {
        (127, "execute `nonsense`: not found in $PATH"),
        (126, "execute `/etc`: permission denied"),
    }


def test_what_does_not_handle_the_signal_is_killed_at_once(own: Engine, busybox: str) -> None:
    for command in (["sleep", "1000"], ["sh", "-c", f"trap '' TERM; {LOOP}"]):
        ended = start(own, busybox, command).monitor.stop(timeout=math.inf).wait()
        assert ended is not None
        assert ended.returncode == 137


def test_what_handles_the_signal_gets_its_time(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["sh", "-c", f"trap 'sleep 0.2; exit 7' TERM; echo ready; {LOOP}"])
    wait_for(container.records)
    ended = container.monitor.stop(timeout=math.inf).wait()
    assert ended is not None
    assert ended.returncode == 7
    assert container.state["stopped_by_user"]


def test_what_does_not_end_in_time_is_killed(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["sh", "-c", f"trap 'echo no' USR1; echo ready; {LOOP}"])
    wait_for(container.records)
    ended = container.monitor.stop(signal.SIGUSR1, 0.3).wait()
    assert ended is not None
    assert ended.returncode == 137
    assert container.log() == b"ready\nno\n"


def test_init_passes_the_stop_signal_on(own: Engine, busybox: str) -> None:
    ended = start(own, busybox, ["sleep", "1000"], init=True).monitor.stop(timeout=math.inf).wait()
    assert ended is not None
    assert ended.returncode == 143


def test_stop_kills_all_inside(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["sh", "-c", "sleep 1000 & sleep 1000 & echo ready; wait"])
    wait_for(container.records)
    inside = {p.pid for p in leftovers.descendants(container.pid, leftovers.processes())}
    assert len(inside) == 2
    container.monitor.stop().wait()
    assert not inside & set(leftovers.processes())


def test_signal_reaches_the_first_process(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["sh", "-c", f"trap 'exit 5' USR1; echo ready; {LOOP}"])
    wait_for(container.records)
    waiting = container.monitor.end()
    container.monitor.signal(signal.SIGUSR1)
    ended = waiting.wait()
    assert ended is not None
    assert ended.returncode == 5
    assert not container.state["stopped_by_user"]


@pytest.mark.limits
def test_paused_stands_still(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["sh", "-c", "while :; do echo on; sleep 0.01; done"])
    wait_for(container.records)
    container.monitor.pause()
    assert container.state["status"] == "paused"
    before = container.log()
    with pytest.raises(Exception, match="is paused already"):
        container.monitor.pause()
    assert len(container.log()) <= len(before) + len("on\n")  # what was in the pipe
    container.monitor.unpause()
    assert container.state["status"] == "running"
    wait_for(lambda: len(container.log()) > len(before) + 10)
    container.monitor.pause()
    assert container.monitor.stop().wait() is not None


COUNT = "trap 'exit 5' TERM; while :; do echo on; sleep 0.01; done"


def stands_still(container: Detached) -> bool:
    time.sleep(0.1)  # for what is in the pipe
    before = len(container.log())
    time.sleep(0.3)
    return len(container.log()) == before


@pytest.mark.limits
def test_held_stands_still_until_the_last_who_holds_it_leaves(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["sh", "-c", COUNT])
    wait_for(container.records)
    first, second = container.monitor.hold(), container.monitor.hold()
    first.wait()
    second.wait()
    assert stands_still(container)
    first.leave()
    assert stands_still(container)
    del second  # as a SIGKILL of who holds it would
    wait_for(lambda: not stands_still(container))
    assert container.state["status"] == "running"
    assert container.monitor.stop().wait() is not None


@pytest.mark.limits
def test_pause_and_hold_do_not_undo_each_other(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["sh", "-c", COUNT])
    wait_for(container.records)
    hold = container.monitor.hold()
    hold.wait()
    container.monitor.pause()
    hold.leave()
    assert stands_still(container)
    assert container.state["status"] == "paused"
    hold = container.monitor.hold()
    hold.wait()
    container.monitor.unpause()
    assert stands_still(container)
    hold.leave()
    wait_for(lambda: not stands_still(container))
    assert container.monitor.stop().wait() is not None


@pytest.mark.limits
def test_paused_one_that_is_to_end_by_itself_is_not_told_to_be_paused(own: Engine, busybox: str) -> None:
    slow = "trap 'sleep 1; exit 5' TERM; while :; do echo on; sleep 0.01; done"
    container = start(own, busybox, ["sh", "-c", slow])
    wait_for(container.records)
    container.monitor.pause()
    waiting = container.monitor.stop()
    wait_for(lambda: container.state["status"] == "running")
    ended = waiting.wait()
    assert ended is not None
    assert ended.returncode == 5


@pytest.mark.limits
def test_what_is_started_again_waits_for_who_holds_it(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["sh", "-c", "echo on; sleep 1000"], {"restart": "always"})
    wait_for(container.records)
    hold = container.monitor.hold()
    hold.wait()
    container.monitor.signal(signal.SIGHUP)
    os.kill(container.state["pid"], signal.SIGKILL)
    wait_for(lambda: container.state["status"] == "restarting")
    time.sleep(0.5)
    assert container.state["status"] == "restarting"
    hold.leave()
    wait_for(lambda: container.log() == b"on\non\n")
    assert container.monitor.stop().wait() is not None


def test_failure_is_tried_again_as_often_as_asked(own: Engine, busybox: str) -> None:
    container = start(
        own, busybox, ["sh", "-c", "echo run; exit 4"], {"restart": {"on-failure": {"most": 2}}}
    )
    wait_for(lambda: container.state["status"] == "exited")
    assert container.log() == b"run\n" * 3
    assert container.state["restart_count"] == 2
    assert container.state["exit_code"] == 4


def test_success_is_not_tried_again(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["true"], {"restart": {"on-failure": {"most": 0}}})
    wait_for(lambda: not container.is_locked())
    assert (container.state["status"], container.state["restart_count"]) == ("exited", 0)


def test_files_stay_from_run_to_run(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["sh", "-c", "cat f; echo x >> f; id -u"], {"restart": "always"})
    wait_for(lambda: b"x\nx\n0\n" in container.log())
    container.monitor.stop().wait()


def test_stop_ends_what_would_be_started_again(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["sh", "-c", "echo run"], {"restart": "always"})
    wait_for(lambda: container.state["restart_count"] >= 2)
    assert container.monitor.stop().wait() is not None
    assert container.state["status"] == "exited"
    assert not container.is_locked()


def test_policy_can_change_while_it_runs(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["sh", "-c", "read line; echo run; exit 1"], {"stdin": True})
    container.monitor.set_restart(b'{"on-failure": {"most": 1}}')
    container.monitor.signal(signal.SIGUSR1)  # nothing happens: it does not handle it
    reading, writing = os.pipe()
    container.monitor.attach((reading, None, None))
    os.write(writing, b"\n")
    wait_for(lambda: container.state["restart_count"] == 1 and container.state["status"] == "running")
    container.monitor.stop().wait()
    os.close(reading)
    os.close(writing)


@pytest.mark.limits
def test_new_limits_hold_from_run_to_run(own: Engine, busybox: str) -> None:
    find = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null"
    container = start(
        own, busybox, ["sh", "-c", f"read line; {find}"], {"stdin": True, "restart": "always"}, pids_limit=50
    )
    container.monitor.update(b'{"pids": {"limit": 77}}')
    reading, writing = os.pipe()
    for runs in (1, 2):
        container.monitor.attach((reading, None, None))
        os.write(writing, b"\n")
        wait_for(
            lambda: container.state["restart_count"] == runs and container.state["status"] == "running"  # noqa: B023
        )
    container.monitor.stop().wait()
    assert container.log() == b"77\n" * 2
    os.close(reading)
    os.close(writing)


def test_directory_and_name_go_with_it(own: Engine, busybox: str, tmp_path: Path) -> None:
    link = tmp_path / "name"
    remains = {"directory": "", "name": str(link)}

    def note(path: Path) -> None:
        link.symlink_to(path)
        remains["directory"] = str(path)

    # the document is made after `prepare` has seen the directory
    container = start(own, busybox, ["sleep", "1000"], {"remove": remains}, prepare=note)
    container.monitor.stop().wait()
    assert not container.path.exists()
    assert not link.is_symlink()


@pytest.mark.limits
def test_out_of_memory_is_told(own: Engine, busybox: str) -> None:
    container = start(own, busybox, ["sh", "-c", "read line; tail /dev/zero"], {"stdin": True}, memory="16m")
    waiting = container.monitor.end()
    reading, writing = os.pipe()
    container.monitor.attach((reading, None, None))
    os.write(writing, b"\n")
    ended = waiting.wait()
    assert ended is not None
    assert ended.oom_killed
    assert container.state["oom_killed"]
    os.close(reading)
    os.close(writing)


@pytest.mark.root
def test_killed_monitor_takes_the_container_along(own: Engine, busybox: str, engine_root: str) -> None:
    container = start(own, busybox, ["sleep", "1000"])
    waiting = container.monitor.end()
    monitor = leftovers.processes()[container.pid].parent
    cgroup = container.state["cgroup"]
    os.kill(monitor, signal.SIGKILL)
    with pytest.raises(ConnectionError):
        waiting.wait()
    wait_for(lambda: container.pid not in leftovers.processes())
    assert not container.is_locked()
    with Engine(engine_root) as other:  # the next launcher
        other.run(busybox, "true")
        wait_for(
            lambda: not [name for name in leftovers.cgroups() if name.endswith(os.path.basename(cgroup))]
        )
