"""`engine.container()`, a container for a block, and `wait_until`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import containers
import pycontain
import pytest
from pycontain.errors import CommandNotFound, Conflict, TimeoutExpired
from pycontain.images import staging

if TYPE_CHECKING:
    from pycontain import Container, Engine

pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)
LONG = containers.seconds(20)
SERVER = "echo starting; sleep 0.2; echo ready >&2; exec nc -l -p 8080"


def test_it_is_removed_at_the_end_of_the_block(own: Engine) -> None:
    with own.container("busybox", ["sh", "-c", SERVER], name="web") as web:
        assert own.containers.get("web") == web
        assert web.status == "running"
    with own.container("busybox", ["true"]) as ended:
        ended.wait()
        assert ended.status == "exited"  # it is not gone before
    with own.container("busybox", ["true"]) as gone:
        gone.remove(force=True)
    with own.container("busybox", ["sleep", "1000"]) as again:
        again.stop()
        again.start()
    with pytest.raises(ZeroDivisionError), own.container("busybox", ["sleep", "1000"]):
        raise ZeroDivisionError
    with pytest.raises(CommandNotFound), own.container("busybox", ["no-such-command"]):
        raise AssertionError
    assert own.containers.list(all=True) == ()
    assert staging.names(own._paths.names) == []


CALLER = """
import sys, time
from pycontain import Engine
with Engine(sys.argv[1]) as engine:
    with engine.container("busybox", "sleep 1000", name="web", restart="always") as web:
        exec(sys.argv[2])
        print("ready", flush=True)
        time.sleep(1000)
"""


@pytest.mark.parametrize("before", ["", "web.restart()", "web.stop(); web.start()"])
def test_killed_caller_leaves_nothing(own: Engine, before: str) -> None:
    words = [sys.executable, "-c", CALLER, own._paths.root, before]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as caller:
        assert caller.stdout
        assert caller.stdout.readline() == b"ready\n"
        pid = own.containers.get("web").inspect()["State"]["Pid"]
        caller.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + LONG
    while own.containers.list(all=True) or os.path.isdir(f"/proc/{pid}") or staging.names(own._paths.names):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_is_waited_for(own: Engine) -> None:
    with own.container("busybox", ["sh", "-c", SERVER], health_cmd="true", health_interval=0.1) as web:
        web.wait_until(pycontain.log_line("^rea.y"), timeout=LONG)
        web.wait_until(pycontain.port(8080), timeout=LONG)
        web.wait_until(pycontain.healthy(), timeout=LONG)
        web.wait_until(lambda one: one.run(["true"]), LONG)
        web.run(["sh", "-c", "nc 127.0.0.1 8080 < /dev/null"], check=False)  # killed, if the server is faster
        web.wait_until(pycontain.exited())


def test_one_that_was_not_started_has_not_to_end(own: Engine) -> None:
    made = own.create("busybox", ["sleep", "1000"])
    made.wait_until(pycontain.exited(), timeout=LONG)
    assert made.wait() == 0
    made.remove()


def test_giving_up_says_what_was_seen_last(own: Engine) -> None:
    def gives_up(container: Container, condition: pycontain.Condition) -> str:
        with pytest.raises(TimeoutExpired) as error:
            container.wait_until(condition, timeout=0.3)
        return str(error.value)

    with own.container("busybox", ["sh", "-c", SERVER], health_cmd="false", health_interval=0.1) as web:
        web.wait_until(pycontain.port(8080), timeout=LONG)
        assert gives_up(web, pycontain.port(80)).endswith("listens at port 80; listening: 8080")
        assert gives_up(web, pycontain.log_line("never")).endswith("`never`; last line: ready")
        assert "is healthy; health: " in gives_up(web, pycontain.healthy())
        assert gives_up(web, pycontain.exited()).endswith("ends; status: running")


def test_what_cannot_come_true_is_not_waited_for(own: Engine) -> None:
    with own.container("busybox", ["sh", "-c", "echo no room; exit 3"]) as ended:
        with pytest.raises(Conflict, match=r"ended with 3 before it .*; last line: no room"):
            ended.wait_until(pycontain.log_line("ready"))
        with pytest.raises(Conflict, match="ended with 3 before it listens at port 80; listening: nothing"):
            ended.wait_until(pycontain.port(80))
        ended.wait_until(pycontain.log_line("no room"))
        ended.wait_until(pycontain.exited())
    with own.container("busybox", ["sleep", "1000"]) as box, pytest.raises(Conflict, match="no health check"):
        box.wait_until(pycontain.healthy())
