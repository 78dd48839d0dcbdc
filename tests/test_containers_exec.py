"""Further processes in containers: `exec`, `Container.run` and `Container.exec`."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import containers
import detached
import pycontain
import pytest
from pycontain.errors import CommandNotFound, Conflict, ExitError, InvalidOption, TimeoutExpired
from terminals import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain import Container, Engine, Event

pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)


@pytest.fixture
def box(engine: Engine, busybox: str) -> Iterator[Container]:
    """A container that does nothing."""
    container = engine.start(busybox, ["sleep", "1000"], env=["OWN=yes"], workdir="/tmp", hostname="box")
    yield container
    container.remove(force=True)


def test_command_runs_in_the_container_with_its_streams_apart(box: Container, cli: containers.Cli) -> None:
    done = box.run(["sh", "-c", "hostname; echo $OWN; pwd; cat >&2"], input="typed\n", text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("box\nyes\n/tmp\n", "typed\n", 0)
    by_cli = cli("exec", "-i", box.name, "sh", "-c", "hostname; echo $OWN; pwd; cat >&2", input=b"typed\n")
    assert (by_cli.stdout, by_cli.stderr, by_cli.returncode) == (b"box\nyes\n/tmp\n", b"typed\n", 0)


def test_failures_carry_status_and_streams(box: Container, cli: containers.Cli) -> None:
    with pytest.raises(ExitError) as failed:
        box.run("sh -c 'echo out; echo err >&2; exit 3'")
    assert (failed.value.returncode, failed.value.stdout, failed.value.stderr) == (3, b"out\n", b"err\n")
    assert box.run("false", check=False).returncode == 1
    assert cli("exec", box.name, "sh", "-c", "exit 3").returncode == 3
    with pytest.raises(CommandNotFound):
        box.run(["no-such-command"])
    assert cli("exec", box.name, "no-such-command").returncode == 127
    detached = cli("exec", "-d", box.name, "no-such-command")
    assert detached.returncode == 127
    assert b"no-such-command" in detached.stderr
    with pytest.raises(InvalidOption, match="no command"):
        box.run([])


def test_options_change_user_environment_and_directory(box: Container, cli: containers.Cli) -> None:
    command = ["sh", "-c", "id -u; id -g; echo $OWN $NEW; pwd"]
    done = box.run(command, user="12:34", env={"NEW": "x"}, workdir="/bin", text=True)
    assert done.stdout == "12\n34\nyes x\n/bin\n"
    flags = ["-u", "12:34", "-e", "NEW=x", "-w", "/bin"]
    assert cli("exec", *flags, box.name, *command).stdout == b"12\n34\nyes x\n/bin\n"
    for wrong in ({"workdir": "tmp"}, {"user": "a:b:c"}, {"colour": "red"}):
        with pytest.raises(InvalidOption):
            box.run(["true"], **wrong)  # type: ignore[call-overload]


def test_privileged_has_all_capabilities(box: Container) -> None:
    def effective(**options: bool) -> int:
        status = box.run(["cat", "/proc/self/status"], text=True, **options)  # type: ignore[call-overload]
        return int(containers.fields(str(status.stdout))["CapEff"], 16)

    assert effective() == containers.DEFAULT_CAPABILITIES
    assert effective(privileged=True) > containers.DEFAULT_CAPABILITIES


def test_process_is_a_popen(box: Container) -> None:
    with box.exec(["cat"], stdin=True) as cat:
        assert cat.poll() is None
        assert cat.stdin
        cat.stdin.write(b"one\n")
        cat.stdin.flush()
        assert cat.stdout.readline() == b"one\n"
        with pytest.raises(TimeoutExpired, match="still runs"):
            cat.wait(0.01)
        cat.stdin.close()
        assert cat.wait() == cat.returncode == 0
    with box.exec(["sleep", "1000"]) as sleeper:
        pid = sleeper.pid
        assert Path(f"/proc/{pid}").exists()
        sleeper.kill()
        assert sleeper.wait() == 137
    with box.exec(["sleep", "1000"]) as left:
        pid = left.pid
    deadline = time.monotonic() + containers.seconds(30)
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_large_streams_pass_both_ways(box: Container) -> None:
    data = os.urandom(1 << 20)
    assert box.run(["sh", "-c", "tee /dev/stderr"], input=data).stdout == data


def test_timeout_kills_the_command_alone(box: Container) -> None:
    with pytest.raises(TimeoutExpired) as expired:
        box.run(["sh", "-c", "echo early; exec sleep 1000"], timeout=1)
    assert expired.value.stdout == b"early\n"
    assert box.status == "running"
    assert box.run(["true"]).returncode == 0


_OFFSPRING = {
    "of its session": "sleep 4321 & sleep 4322",
    "that left its session": "setsid sleep 4321 & setsid sh -c 'sleep 4322; true' & sleep 1000",
    "that outlives it": "sleep 4321 & sleep 4322 &",
}


@pytest.mark.parametrize("command", _OFFSPRING.values(), ids=_OFFSPRING)
def test_timeout_kills_what_the_command_started(box: Container, command: str) -> None:
    for _ in range(5):  # what is killed first differs
        with pytest.raises(TimeoutExpired):
            box.run(["sh", "-c", command], timeout=0.3)
    assert sleeping(box) == []


def test_exec_that_is_given_up_takes_along_what_it_started(box: Container) -> None:
    with box.exec(["sh", "-c", "sleep 4321 & echo ready; sleep 1000"]) as process:
        assert process.stdout.readline() == b"ready\n"
        assert sleeping(box) == ["sleep 4321"]
    detached.wait_for(lambda: sleeping(box) == [])


def test_what_a_command_leaves_running_goes_on(box: Container) -> None:
    box.run(["sh", "-c", "sleep 4321 >/dev/null 2>&1 </dev/null &"], timeout=10)
    assert sleeping(box) == ["sleep 4321"]


def sleeping(box: Container) -> list[str]:
    """The commands inside that these tests know again."""
    lines = box.run(["ps", "-o", "args"], text=True).stdout.splitlines()
    return [line for line in lines if line.startswith("sleep 432")]


def test_timeouts_are_times_as_everywhere(box: Container, engine: Engine, busybox: str) -> None:
    short, long = timedelta(milliseconds=200), float("inf")
    timeout: Any
    for timeout in (long, 1e30, "1m"):
        assert engine.run(busybox, "true", timeout=timeout).returncode == 0
        assert box.run("true", timeout=timeout).returncode == 0
        with box.exec("true") as process:
            assert process.communicate(timeout=timeout) == (b"", b"")
            assert process.wait(timeout) == 0
    with box.exec("sleep 100") as process:
        for call in (box.wait, process.wait):
            for timeout in (short, "200ms", 0, -1):
                with pytest.raises(TimeoutExpired):
                    call(timeout)
            with pytest.raises(InvalidOption):
                call(float("nan"))
    for run in (box.run, lambda args, timeout: engine.run(busybox, args, timeout=timeout)):
        with pytest.raises(TimeoutExpired, match=r"within 0\.2 s"):
            run("sleep 100", timeout=short)
        with pytest.raises(InvalidOption):
            run("sleep 100", timeout=float("nan"))
    with pytest.raises(TimeoutExpired):
        box.wait_until(lambda _: False, timeout=-1)


@pytest.mark.parametrize("timeout", [-1, float("inf"), 10**30])
def test_stop_that_waits_for_ever_is_written_down(engine: Engine, busybox: str, timeout: float) -> None:
    made = engine.create(busybox, "true", stop_timeout=timeout)
    try:
        assert made.inspect()["Config"]["StopTimeout"] == -1
        made.start()
        made.wait(containers.seconds(20))
        made.stop(timeout=timeout)
    finally:
        made.remove(force=True)


def test_many_at_once(box: Container) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = pool.map(lambda number: box.run(["echo", str(number)], text=True).stdout, range(50))
    assert list(done) == [f"{number}\n" for number in range(50)]


def test_in_the_background_it_goes_on(box: Container, cli: containers.Cli) -> None:
    done = cli("exec", "-d", box.name, "sh", "-c", "sleep 0.3; echo done > /made")
    assert (done.returncode, done.stdout) == (0, b"")
    deadline = time.monotonic() + containers.seconds(30)
    while box.run(["cat", "/made"], check=False).stdout != b"done\n":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_terminal_is_given(box: Container, cli: containers.Cli) -> None:
    script = "test -t 0 && test -t 1 && echo terminal; exit 4"
    with Terminal(cli, "-it", box.name, "sh", "-c", script, command=["exec"]) as terminal:
        terminal.expect("terminal")
        assert terminal.end()[0] == 4


def test_command_that_is_left_goes_on_and_may_write(box: Container, cli: containers.Cli) -> None:
    script = """
        stty -echo; echo ready; read line; echo "$line"
        until test -e /go; do sleep 0.05; done
        seq 100000; tty > /done; sleep 1234
    """
    words = ["-it", "--detach-keys", "ctrl-x,q", box.name, "sh", "-c", script]
    began = time.time()
    with Terminal(cli, *words, command=["exec"]) as terminal:
        terminal.expect("ready")
        terminal.type("a\x18b\n")  # the keys do not go on
        terminal.expect("a\x18b")
        terminal.type("\x18")
        terminal.type("q")
        assert terminal.end()[0] == 0
    box.write_bytes("/go", b"")
    deadline = time.monotonic() + containers.seconds(30)
    while box.run(["grep", "-q", "^/dev/pts/", "/done"], check=False).returncode != 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    box.run(["sh", "-c", "ps | grep -q '[s]leep 1234'"])
    told = cli("events", "--since", str(began), "--until", str(time.time()), "--format", "{{.Action}}")
    assert "exec_detach" in told.stdout.decode().splitlines()


def test_events_tell_of_commands_and_of_health(own: Engine, fresh_cli: containers.Cli) -> None:
    box = own.start("busybox", ["sleep", "1000"], health_cmd="test -e /well", health_interval=0.1)
    with pytest.raises(ExitError):
        box.run(["sh", "-c", "exit 3"])
    with pytest.raises(CommandNotFound):
        box.run(["no-such-command"])
    box.write_bytes("/well", b"")
    box.wait_until(pycontain.healthy(), timeout=containers.seconds(20))

    def told(**filters: Any) -> list[Event]:
        return list(own.events(until=time.time(), container=[box.id], **filters))

    deadline = time.monotonic() + containers.seconds(10)
    while not told(event=["health_status"]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [event.action for event in told(event=["health_status"])] == ["health_status: healthy"]
    of_commands = told(event=["exec_create", "exec_start", "exec_die"])
    assert not [event for event in of_commands if "no-such-command" in event.action]
    (create,) = (event for event in of_commands if event.action == "exec_create: sh -c exit 3")
    same = [event for event in of_commands if event.attributes["execID"] == create.attributes["execID"]]
    assert [event.action for event in same] == [
        "exec_create: sh -c exit 3",
        "exec_start: sh -c exit 3",
        "exec_die",
    ]
    assert same[-1].attributes["exitCode"] == "3"
    shown = fresh_cli("events", "--until", "0s", "--filter", "event=exec_die", "--format", "{{.Action}}")
    assert shown.stdout.splitlines()[0] == b"exec_die"


def test_only_a_running_container_takes_commands(engine: Engine, busybox: str, cli: containers.Cli) -> None:
    container = engine.create(busybox, "true", name="idle")
    try:
        with pytest.raises(Conflict, match='container "idle" is not running'):
            container.run(["true"])
        refused = cli("exec", "idle", "true")
        assert refused.returncode == 1
        assert refused.stderr.startswith(b'pycontain: container "idle" is not running\n')
    finally:
        container.remove()
    paused = engine.start(busybox, ["sleep", "1000"])
    try:
        paused.pause()
        with pytest.raises(Conflict, match="is paused"):
            paused.run(["true"])
    finally:
        paused.remove(force=True)
