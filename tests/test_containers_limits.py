"""What containers use, what runs in them, and limits that change while they run."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import containers
import pytest
from detached import wait_for
from pycontain.errors import Conflict, ContainerNotFound, InvalidOption

if TYPE_CHECKING:
    from pycontain import Engine

pytestmark = [pytest.mark.root, pytest.mark.timeout(containers.seconds(60) + 60)]
BUSY = "while :; do :; done"


def test_stats_tell_what_a_container_uses(own: Engine) -> None:
    busy = own.start("busybox", ["sh", "-c", f"sleep 1000 & {BUSY}"], memory="64m", cpus=0.5)
    idle = own.start("busybox", ["sleep", "1000"])
    wait_for(lambda: busy.stats().cpu > 0.1)
    wait_for(lambda: busy.stats().throttled > 0)
    of_busy = busy.stats()
    assert 0 < of_busy.cpu_share < 1
    assert (of_busy.memory_limit, of_busy.pids, of_busy.oom_kills) == (64 << 20, 2, 0)
    assert 0 < of_busy.memory < 64 << 20
    assert of_busy.memory_share == of_busy.memory / of_busy.memory_limit
    of_idle = idle.stats()
    assert of_idle.pids == 1
    assert of_idle.memory_limit == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert {one.id for one in own.stats()} == {busy.id, idle.id}
    for one in (busy, idle):
        one.stop()
    assert own.stats() == ()
    assert [(one.cpu, one.pids) for one in own.containers.stats(all=True)] == [(0, 0)] * 2
    with pytest.raises(ContainerNotFound):
        own.containers.stats(["nobody"])


def test_stats_tell_of_what_was_killed_for_want_of_memory(own: Engine) -> None:
    fill = "while :; do sh -c 'x=x; while :; do x=$x$x; done'; sleep 0.2; done"
    container = own.start("busybox", ["sh", "-c", fill], memory="16m")
    wait_for(lambda: container.stats().oom_kills > 0)
    assert container.status == "running"


def test_stats_are_shown_as_docker_does(own: Engine, fresh_cli: containers.Cli) -> None:
    container = own.start("busybox", ["sleep", "1000"], name="idle", memory="64m")
    header, line = fresh_cli("stats", "--no-stream").stdout.decode().splitlines()
    assert header.split("  ")[0] == "CONTAINER ID"
    assert line.split()[:3] == [container.id[:12], "idle", "0.00%"]
    assert " / 64MiB " in line
    shown = json.loads(fresh_cli("stats", "--no-stream", "--format", "json", "idle").stdout)
    of_docker = {"BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"}
    assert of_docker <= shown.keys()
    with subprocess.Popen(
        [fresh_cli.program, "stats", "--format", "{{.Name}} {{.PIDs}}"],
        stdout=subprocess.PIPE,
        env=fresh_cli.environment,
    ) as stream:
        assert stream.stdout is not None
        assert [stream.stdout.readline() for _ in range(2)] == [b"idle 1\n"] * 2
        stream.terminate()


def test_top_shows_what_runs_inside(own: Engine, fresh_cli: containers.Cli) -> None:
    container = own.start("busybox", ["sh", "-c", "sleep 1001 & exec sleep 1000"], name="two")
    wait_for(lambda: [row[-1] for row in container.top()[1]] == ["sleep 1000", "sleep 1001"])
    container.run(["true"])  # by a process of ours, which waits for more
    titles, rows = container.top()
    assert titles == ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
    first, second = (dict(zip(titles, row, strict=True)) for row in rows)
    assert (first["CMD"], second["CMD"]) == ("sleep 1000", "sleep 1001")
    assert int(first["PID"]) == container.inspect()["State"]["Pid"]
    assert second["PPID"] == first["PID"]
    titles, by_ps = container.top(["-o", "pid,args"])
    assert titles == ("PID", "COMMAND")
    assert sorted(by_ps) == [(row["PID"], row["CMD"]) for row in (first, second)]
    assert b"sleep 1001" in fresh_cli("top", "two", "aux").stdout
    with pytest.raises(InvalidOption, match="column PID"):
        container.top(["-o", "args"])
    container.stop()
    with pytest.raises(Conflict, match="not running"):
        container.top()


def test_limits_change_while_it_runs_and_stay(own: Engine, fresh_cli: containers.Cli) -> None:
    container = own.start("busybox", ["sleep", "1000"], name="up", memory="64m", pids_limit=5)
    for memory in ("128m", "32m"):
        assert fresh_cli("update", "--memory", memory, "--cpus", "0.5", "up").stdout == b"up\n"
        assert container.stats().memory_limit == int(memory[:-1]) << 20
    container.update(pids_limit=-5, cpu_quota=20_000, restart="always")
    for _ in range(2):
        host = container.inspect()["HostConfig"]
        assert (host["Memory"], host["CpuQuota"], host["NanoCpus"]) == (32 << 20, 20_000, 0)
        assert (host["PidsLimit"], host["RestartPolicy"]["Name"]) == (None, "always")
        assert container.stats().memory_limit == 32 << 20
        container.restart()
    assert [event.action for event in own.events(until=time.time())].count("update") == 3


def test_what_cannot_be_changed_is_refused_and_nothing_is(own: Engine, fresh_cli: containers.Cli) -> None:
    container = own.create("busybox", ["sleep", "1000"], name="still", memory="64m")
    before = container.inspect()["HostConfig"]
    with pytest.raises(InvalidOption, match="cannot be changed"):
        container.update(hostname="other")  # type: ignore[call-arg]
    for words in (["--memory", "1k"], ["--restart", "often"], ["--memory", "64m", "--memory-swap", "32m"]):
        refused = fresh_cli("update", *words, "still")
        assert (refused.returncode, refused.stdout) == (1, b"")
        assert refused.stderr.startswith(f"pycontain: invalid value `{words[-1]}` for `{words[-2]}`".encode())
    assert fresh_cli("update", "still").returncode == 1
    assert container.inspect()["HostConfig"] == before
    container.update(memory="128m")
    container.start()
    assert container.stats().memory_limit == 128 << 20
    container.remove(force=True)


def test_no_port_is_published(own: Engine, fresh_cli: containers.Cli) -> None:
    own.create("busybox", name="still")
    assert (fresh_cli("port", "still").returncode, fresh_cli("port", "still").stdout) == (0, b"")
    assert (
        fresh_cli("port", "still", "80").stderr
        == b"pycontain: no public port `80/tcp` published for `still`\n"
    )
