"""Containers that go on by themselves: started, stopped, paused, waited for, attached to; logs."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import containers
import leftovers
import pytest
from detached import monitor_of
from pycontain.errors import (
    CommandNotFound,
    Conflict,
    ContainerNotFound,
    InvalidOption,
    TimeoutExpired,
    Unsupported,
)
from pycontain.images import staging
from pycontain.images.config import Healthcheck
from pycontain.runtime import lifecycle
from pycontain.runtime.attached import detach_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain import Container, Engine

pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)

TRAP = 'trap "echo stopped; exit 7" TERM; echo ready; while :; do sleep 0.05; done'


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + containers.seconds(30)
    while not condition():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.01)


def log(container: Container) -> str:
    return "".join(entry.line for entry in container.logs())


def test_container_goes_on_when_its_starter_has_ended(own: Engine, fresh_cli: containers.Cli) -> None:
    done = fresh_cli("run", "-d", "--name", "on", "busybox", "sh", "-c", "echo begun; exec sleep 100")
    assert (done.returncode, done.stderr) == (0, b"")
    container = own.containers.get(done.stdout.decode().strip())
    assert container.status == "running"
    assert own.containers.list() == (container,)
    wait_until(lambda: log(container) == "begun\n")
    assert fresh_cli("logs", "on").stdout == b"begun\n"
    assert fresh_cli("ps", "--format", "{{.Names}} {{.State}}").stdout == b"on running\n"
    pid = container.inspect()["State"]["Pid"]
    assert os.path.exists(f"/proc/{pid}")
    began = time.monotonic()
    assert fresh_cli("stop", "on").stdout == b"on\n"
    assert time.monotonic() - began < containers.seconds(8)  # docker waits ten seconds for what cannot come
    assert (container.status, container.wait()) == ("exited", 137)
    assert not os.path.exists(f"/proc/{pid}")


def test_stop_gives_who_handles_it_time(own: Engine) -> None:
    container = own.start("busybox", ["sh", "-c", TRAP])
    wait_until(lambda: log(container) == "ready\n")
    container.stop()
    assert container.wait() == 7
    assert log(container) == "ready\nstopped\n"


def test_stop_kills_who_takes_too_long(own: Engine) -> None:
    container = own.start("busybox", ["sh", "-c", "trap : TERM; echo ready; while :; do sleep 0.05; done"])
    wait_until(lambda: log(container) == "ready\n")
    container.stop(timeout=0.1)
    assert container.wait() == 137


def test_start_goes_on_with_the_files_that_are_there(own: Engine, fresh_cli: containers.Cli) -> None:
    container = own.create("busybox", ["sh", "-c", "echo run >> /runs; cat /runs"], name="again")
    assert fresh_cli("start", "again").stdout == b"again\n"
    assert container.wait() == 0
    container.start()
    assert container.wait() == 0
    assert log(container) == "run\nrun\nrun\n"
    assert container.inspect()["State"]["Status"] == "exited"


def test_start_of_what_runs_does_nothing(own: Engine) -> None:
    container = own.start("busybox", ["sleep", "100"])
    pid = container.inspect()["State"]["Pid"]
    container.start()
    assert container.inspect()["State"]["Pid"] == pid
    container.restart(timeout=0)
    assert container.inspect()["State"]["Pid"] not in {pid, 0}


def test_command_that_cannot_be_started_is_told(own: Engine, fresh_cli: containers.Cli) -> None:
    with pytest.raises(CommandNotFound):
        own.start("busybox", ["no-such-command"], name="wrong")
    assert own.containers.get("wrong").status == "created"
    done = fresh_cli("run", "-d", "busybox", "no-such-command")
    assert (done.returncode, done.stdout) == (127, b"")
    with pytest.raises(CommandNotFound):
        own.start("busybox", ["no-such-command"], name="gone", remove=True)
    with pytest.raises(ContainerNotFound):
        own.containers.get("gone")


def test_kill_pause_and_unpause(own: Engine, fresh_cli: containers.Cli) -> None:
    container = own.start(
        "busybox", ["sh", "-c", "trap 'echo got; exit 3' USR1; echo ready; while :; do sleep 0.05; done"]
    )
    wait_until(lambda: log(container) == "ready\n")
    assert fresh_cli("pause", container.name).returncode == 0
    assert container.status == "paused"
    assert "(Paused)" in fresh_cli("ps", "--format", "{{.Status}}").stdout.decode()
    with pytest.raises(Conflict, match="paused"):
        container.pause()
    with pytest.raises(Conflict, match="paused"):
        container.start()
    assert fresh_cli("unpause", container.name).returncode == 0
    with pytest.raises(Conflict, match="not paused"):
        container.unpause()
    assert fresh_cli("kill", "-s", "USR1", container.name).returncode == 0
    assert container.wait() == 3
    for act in (container.kill, container.pause, container.unpause):
        with pytest.raises(Conflict, match="is not running"):
            act()
    assert fresh_cli("wait", container.name).stdout == b"3\n"


def test_wait_takes_a_timeout(own: Engine) -> None:
    container = own.start("busybox", ["sleep", "100"])
    with pytest.raises(TimeoutExpired, match="still runs"):
        container.wait(timeout=0.05)
    assert container.status == "running"


def test_removed_by_itself(own: Engine, fresh_cli: containers.Cli) -> None:
    container = own.start("busybox", ["sh", "-c", "sleep 0.3; exit 4"], name="short", remove=True)
    assert container.wait() == 4
    wait_until(lambda: staging.names(own._paths.containers) == [])
    assert staging.names(own._paths.names) == []
    other = own.start("busybox", ["sleep", "100"], remove=True)
    other.remove(force=True)
    wait_until(lambda: staging.names(own._paths.containers) == [])


def test_failing_container_is_started_again(own: Engine) -> None:
    container = own.start("busybox", ["sh", "-c", "echo run; exit 1"], restart="on-failure:2")
    assert container.wait() == 1
    assert log(container) == "run\n" * 3
    document = container.inspect()
    assert document["RestartCount"] == 2
    assert document["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}


def test_stopped_container_stays_stopped(own: Engine) -> None:
    container = own.start("busybox", ["sleep", "100"], restart="always")
    container.stop()
    time.sleep(0.3)
    assert container.status == "exited"


def test_health_is_asked_for(own: Engine, fresh_cli: containers.Cli) -> None:
    container = own.start(
        "busybox",
        ["sleep", "1000"],
        name="patient",
        health_cmd="test -e /well",
        health_interval="100ms",
        health_retries=2,
    )
    assert container.inspect()["Config"]["Healthcheck"]["Test"] == ["CMD-SHELL", "test -e /well"]
    wait_until(lambda: container.inspect()["State"]["Health"]["Status"] == "unhealthy")
    assert "(unhealthy)" in fresh_cli("ps", "--format", "{{.Status}}").stdout.decode()
    container.run(["touch", "/well"])
    wait_until(lambda: own.containers.list(health=["healthy"]) == (container,))
    [*_, last] = container.inspect()["State"]["Health"]["Log"]
    assert last["ExitCode"] == 0


def test_options_of_health() -> None:
    image = Healthcheck(["CMD", "true"], interval=5)
    found = lifecycle.health({"health_timeout": "1s"}, image)
    assert found
    assert (found["test"], found["interval"], found["timeout"]) == (["CMD", "true"], 5000, 1000)
    assert (found["retries"], found["start_period"], found["start_interval"]) == (3, 0, 5000)
    found = lifecycle.health({}, Healthcheck(["CMD", "true"], interval=1e-9, timeout=-5, start_period=-1))
    assert found
    assert (found["interval"], found["timeout"], found["start_period"]) == (100, 30_000, 0)
    assert lifecycle.health({"no_healthcheck": True}, image) is None
    assert lifecycle.health({}, Healthcheck(["NONE"])) is None
    assert lifecycle.health({}, None) is None
    for wrong in (
        {"health_retries": -1},
        {"health_interval": "x"},
        {"no_healthcheck": True, "health_cmd": "a"},
    ):
        with pytest.raises(InvalidOption):
            lifecycle.health(wrong, image)


def test_log_is_rotated_or_not_written(own: Engine) -> None:
    loud = own.start(
        "busybox",
        ["sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done"],
        log_opt={"max-size": "10k", "max-file": "3"},
    )
    assert loud.wait() == 0
    lines = log(loud).splitlines()
    assert lines == [f"line {number}" for number in range(2000)][-len(lines) :]
    assert 50 < len(lines) < 2000
    assert loud.inspect()["HostConfig"]["LogConfig"]["Config"] == {"max-size": "10k", "max-file": "3"}
    silent = own.start("busybox", ["echo", "hi"], log_driver="none")
    silent.wait()
    with pytest.raises(Unsupported, match="does not support reading"):
        log(silent)


def test_logs_are_followed_until_it_ends(own: Engine, fresh_cli: containers.Cli) -> None:
    own.start(
        "busybox", ["sh", "-c", "echo one; sleep 0.3; echo two >&2; sleep 0.3; echo three"], name="slow"
    )
    done = fresh_cli("logs", "-f", "slow")
    assert (done.stdout, done.stderr) == (b"one\nthree\n", b"two\n")


def test_start_attached_passes_streams_and_status(own: Engine, fresh_cli: containers.Cli) -> None:
    own.create("busybox", ["sh", "-c", "cat; echo error >&2; exit 5"], name="cat", stdin=True)
    done = fresh_cli("start", "-ai", "cat", input=b"hello\n")
    assert (done.returncode, done.stdout, done.stderr) == (5, b"hello\n", b"error\n")
    assert fresh_cli("logs", "cat").stdout == b"hello\n"


def test_attach_shows_what_comes_and_passes_signals(own: Engine, fresh_cli: containers.Cli) -> None:
    container = own.start(
        "busybox", ["sh", "-c", TRAP.replace("sleep 0.05", "echo tick; sleep 0.05")], name="ticking"
    )
    process = subprocess.Popen(
        [fresh_cli.program, "attach", "ticking"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=fresh_cli.environment,
    )
    assert process.stdout
    assert process.stdout.readline() == b"tick\n"
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=containers.seconds(30))
    assert rest.endswith(b"stopped\n")
    assert process.returncode == container.wait() == 7


def test_terminal_is_left_by_its_keys(own: Engine, fresh_cli: containers.Cli) -> None:
    container = own.start("busybox", ["sh"], name="shell", tty=True, stdin=True)
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [fresh_cli.program, "attach", "shell"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=fresh_cli.environment,
    )
    os.close(theirs)
    try:
        os.write(mine, b"echo $((6*7))\n")
        seen = b""
        while b"42" not in seen:
            seen += os.read(mine, 1024)
        os.write(mine, b"\x10\x11")
        assert process.wait(containers.seconds(30)) == 0
    finally:
        process.kill()
        process.wait()
        os.close(mine)
    assert container.status == "running"


def test_container_outlives_the_kill_of_its_starter_and_ends_with_its_monitor(own: Engine) -> None:
    container = own.start("busybox", ["sleep", "100"])
    pid = container.inspect()["State"]["Pid"]
    with open(f"/proc/{pid}/stat") as file:
        monitor = int(file.read().rpartition(")")[2].split()[1])
    own.close()  # the launcher ends
    assert container.status == "running"
    os.kill(monitor, signal.SIGKILL)
    wait_until(lambda: container.status == "exited")
    assert container.inspect()["State"]["ExitCode"] == 255
    container.remove()


def test_events_of_a_life(own: Engine) -> None:
    container = own.start("busybox", ["sleep", "100"], name="seen")
    container.pause()
    container.unpause()
    container.stop()
    container.remove()
    found = [event.action for event in own.events(until=time.time(), container=["seen"])]
    assert found == ["create", "start", "pause", "unpause", "die", "stop", "destroy"]
    begun = time.time()
    own.start("busybox", "false", name="again", restart="on-failure:1").wait()
    own.start("busybox", ["sh", "-c", "exit 3"], name="gone", remove=True)
    wait_until(lambda: staging.names(own._paths.names) == ["again"])
    happened = list(own.events(since=begun, until=time.time()))
    again = [event.action for event in happened if event.attributes["name"] == "again"]
    assert again == ["create", "start", "die", "start", "die"]
    gone = [(event.action, event.attributes.get("exitCode")) for event in happened][-2:]
    assert gone == [("die", "3"), ("destroy", None)]


@pytest.mark.parametrize(
    ("value", "policy"),
    [
        ("no", ("no", 0)),
        ("always", ("always", 0)),
        ("unless-stopped", ("unless-stopped", 0)),
        ("on-failure", ("on-failure", 0)),
        ("on-failure:3", ("on-failure", 3)),
    ],
)
def test_restart_policies(value: str, policy: tuple[str, int]) -> None:
    found = lifecycle.restart({"restart": value})
    assert (found.policy, found.most) == policy


@pytest.mark.parametrize("value", ["never", "always:3", "on-failure:", "on-failure:-1", "on-failure:x"])
def test_wrong_restart_policies(value: str) -> None:
    with pytest.raises(InvalidOption, match="restart"):
        lifecycle.restart({"restart": value})


def test_options_of_logs() -> None:
    found = lifecycle.log({"log_opt": ["max-size=1m", "max-file=2"]})
    assert (found.driver, found.max_size, found.max_files) == ("json-file", 1 << 20, 2)
    assert lifecycle.log({"log_opt": ["max-file=2"]}).max_size is None
    with pytest.raises(Unsupported, match="syslog"):
        lifecycle.log({"log_driver": "syslog"})
    for wrong in (["tag=x"], ["max-size"], ["max-size=x"], ["max-size=1m", "max-file=0"]):
        with pytest.raises(InvalidOption):
            lifecycle.log({"log_opt": wrong})
    with pytest.raises(InvalidOption):
        lifecycle.check({"restart": "always", "remove": True})


def test_detach_keys() -> None:
    assert detach_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert detach_keys("ctrl-@,a") == b"\x00a"
    assert detach_keys("") == b""
    for wrong in ("ctrl-", "ab", "ctrl-1", "é"):
        with pytest.raises(InvalidOption):
            detach_keys(wrong)


def test_what_is_to_run_is_started_after_a_boot(own: Engine, fresh_cli: containers.Cli) -> None:
    policies = {"always": "always", "stopped": "always", "left": "unless-stopped", "unless": "unless-stopped"}
    for name, policy in policies.items():
        own.start("busybox", ["sleep", "1000"], name=name, restart=policy)
    own.start("busybox", ["sleep", "1000"], name="never")
    own.start("busybox", ["sleep", "1000"], name="gone", remove=True)
    own.create("busybox", name="made", restart="always")
    for name in ("stopped", "left"):
        own.containers.get(name).stop()
    for container in own.containers.list():  # what a boot does, as far as a container can tell
        monitor = leftovers.processes()[container.inspect()["State"]["Pid"]].parent
        os.kill(monitor, signal.SIGKILL)
    wait_until(lambda: own.containers.list() == ())
    shown = fresh_cli("ps", "-a", "--format", "{{.Names}} {{.Status}}").stdout.decode()
    assert "always Exited (255)" in shown
    started = fresh_cli("system", "start")
    assert (started.returncode, started.stdout.split()) == (0, [b"always", b"stopped", b"unless"])
    assert {one.name for one in own.containers.list()} == {"always", "stopped", "unless"}
    assert {one.name for one in own.containers.list(all=True)} == {*policies, "never", "made"}
    assert fresh_cli("system", "start").stdout == b""
    for container in own.containers.list(all=True):
        container.remove(force=True)


def test_signals_are_not_passed_on_if_so_wished(own: Engine, fresh_cli: containers.Cli) -> None:
    words = "run --sig-proxy=false --name alone busybox sleep 100".split()
    shown = subprocess.Popen([fresh_cli.program, *words], env=fresh_cli.environment)
    wait_until(lambda: [one.status for one in own.containers.list()] == ["running"])
    shown.terminate()
    assert shown.wait() == -signal.SIGTERM
    assert own.containers.get("alone").status == "running"


def test_monitors_of_several_commands_share_one_executable(own: Engine, fresh_cli: containers.Cli) -> None:
    """It has megabytes; and what has a launcher's token only is not executed."""
    with open(f"{own._paths.run}/launchers/{os.getpid():x}-0-0", "w", encoding="utf-8") as token:
        fcntl.flock(token, fcntl.LOCK_EX)
        ids = [fresh_cli("run", "-d", "busybox", "sleep", "100").stdout.decode().strip() for _ in range(3)]
        os.unlink(token.name)
    found = {os.stat(f"/proc/{monitor_of(own.containers.get(id))}/exe").st_ino for id in ids}
    assert len(found) == 1
    assert os.stat("/proc/self/exe").st_ino not in found
