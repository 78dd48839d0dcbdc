"""After every kind of end nothing of a container is on the host; and what is there is seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pycontain
import pytest
from containers import moments, seconds
from leftovers import Host, Watch, processes
from root_filesystems import with_file

if TYPE_CHECKING:
    from containers import Cli
    from pycontain import Engine


def test_a_container_that_runs_is_seen(cli: Cli, engine_root: str, busybox: str, nothing_left: Watch) -> None:
    before = Host.look(engine_root)
    with cli.start(busybox, "sh", "-c", "echo > /file; echo ready; sleep 600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        left = Host.look(engine_root).left(before)
        process.terminate()
    assert "processes left" in left
    assert f"{engine_root}/ephemeral/" in left


@pytest.mark.parametrize("options", [("--rm",), ("--rm", "--detach")], ids=" ".join)
def test_start_for_which_open_files_are_too_few_leaves_nothing(
    cli: Cli, busybox: str, nothing_left: Watch, options: tuple[str, ...]
) -> None:
    """However far it gets, in whichever process they are too few, it ends."""
    for limit in range(16, 46):
        done = run_with_open_files(limit, cli, "run", *options, busybox, "true")
        assert done.returncode == 0 or done.stderr.startswith(b"pycontain: "), (limit, done)


def run_with_open_files(limit: int, cli: Cli, *words: str) -> subprocess.CompletedProcess[bytes]:
    """At most this many."""
    return subprocess.run(
        ["sh", "-c", 'ulimit -n "$1" && shift && exec "$@"', "sh", str(limit), str(cli.program), *words],
        env=cli.environment,
        capture_output=True,
        timeout=seconds(60),
        check=False,
    )


def test_what_a_killed_launcher_left_waits_for_one_that_may_open_enough_files(
    cli: Cli, busybox: str, nothing_left: Watch
) -> None:
    with cli.start(busybox, "sh", "-c", "echo ready; sleep 600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        launcher = next(other for other in processes().values() if other.parent == process.pid)
        os.kill(launcher.pid, signal.SIGKILL)
    for limit in 18, 24:
        run_with_open_files(limit, cli, "run", "--rm", busybox, "true")
    cli.run(busybox, "true")


ENDS: dict[str, tuple[str, int, pycontain.ContainerOptions]] = {
    "success": ("true", 0, {}),
    "failure": ("exit 3", 3, {}),
    "death by a signal": ("sh -c 'kill -9 $$'; exit 137", 137, {}),
    "processes left behind": ("sleep 600 & setsid sleep 600 & true", 0, {}),
    "init": ("sleep 600 & exit 4", 4, {"init": True}),
    "files left open": ("exec 3> /file; sleep 600 < /file & true", 0, {}),
    "many files": ("for i in 1 2 3 4 5 6 7 8 9; do mkdir -p /d/$i/$i/$i; echo > /d/$i/$i/f; done", 0, {}),
    "files that only their owner may touch": (
        "mkdir -p /d/e; echo > /d/e/f; chmod 0 /d/e /d; chown -R 9 /d",
        0,
        {},
    ),
    "mounts inside": ("mkdir /m; mount -t tmpfs none /m && echo > /m/f", 0, {"cap_add": ["SYS_ADMIN"]}),
    "tmpfs and volumes": ("echo > /t/f; echo > /v/f", 0, {"tmpfs": ["/t"], "volumes": ["/v"]}),
}


@pytest.mark.parametrize("end", ENDS)
def test_after(engine: Engine, busybox: str, nothing_left: Watch, end: str) -> None:
    script, status, options = ENDS[end]
    run = engine.run(busybox, ["sh", "-c", script], check=False, **options)
    assert run.returncode == status, run


# what a container may do to its root directory, and the next one must not see
TRACES = {
    "a file": "echo trace > /trace",
    "a file in a directory of the image": "echo trace > /etc/trace",
    "a directory removed": "rm -r /tmp && mkdir /tmp && chmod 700 /tmp",
    "a file removed": "rm /etc/passwd",
    "mode": "chmod 700 /",
    "owner": "chown 7:7 /",
    "an attribute": "setfattr -n user.trace -v 1 / 2>/dev/null || chmod 711 /",
    "a hidden file": "mkdir /.trace; echo > /.trace/file; chmod 0 /.trace",
    "nothing": "true",
}
LOOK = "cd /; stat -c '%n %a %u:%g %F' / .[!.]* * etc/* tmp/* 2>&1 || true"


def test_the_next_container_finds_no_trace_of_the_last(engine: Engine, busybox: str) -> None:
    first = engine.run(busybox, ["sh", "-c", LOOK], text=True).stdout
    assert "/ 755 0:0 directory" in str(first)
    for name, trace in TRACES.items():
        engine.run(busybox, ["sh", "-c", trace])
        assert engine.run(busybox, ["sh", "-c", LOOK], text=True).stdout == first, name


def test_an_image_of_the_same_name_is_another_at_once(
    engine: Engine, busybox: str, busybox_layer: bytes, tmp_path: Path
) -> None:
    del busybox  # is there
    for content in (b"one", b"two", b"one"):
        extra = tmp_path / "extra.tar"
        extra.write_bytes(with_file(busybox_layer, "content", content))
        engine.images.import_(extra, "changing", changes=['CMD ["cat", "/content"]'])
        for _ in range(3):  # with a spare, too
            assert engine.run("changing").stdout == content
        # removed and made anew, its layer has the same path
        engine.images.remove("changing")
    engine.images.import_(extra, "changing", changes=['CMD ["cat", "/content"]'])
    assert engine.run("changing").stdout == b"one"
    engine.images.remove("changing")


@pytest.mark.parametrize("end", ["success", "failure", "processes left behind"])
def test_after_the_command_line(cli: Cli, busybox: str, nothing_left: Watch, end: str) -> None:
    script, status, _ = ENDS[end]
    assert cli.run(busybox, "sh", "-c", script).returncode == status


def test_a_name_goes_with_its_container(
    cli: Cli, engine_root: str, busybox: str, nothing_left: Watch
) -> None:
    assert cli.run("--name", "passing", busybox, "true").returncode == 0
    assert cli.run("--name", "passing", busybox, "no-such-command").returncode == 127


def test_a_start_that_fails_late_leaves_nothing(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    for options in ({"workdir": "/no/such"}, {"user": "stranger"}, {"sysctls": {"net.ipv4.none": "1"}}):
        with pytest.raises(pycontain.PycontainError):
            engine.run(busybox, "true", **options)


CALLER = "import pycontain; pycontain.run('busybox', 'sleep 0.01', memory='64m', pids_limit=50)"


@pytest.mark.timeout(240)
def test_killing_the_caller_at_any_moment(engine_root: str, busybox: str, nothing_left: Watch) -> None:
    environment = os.environ | {"PYCONTAIN_ROOT": engine_root}
    words = [sys.executable, "-c", CALLER]
    until_some_moment = moments(4, lambda: subprocess.run(words, env=environment, check=True))
    for _ in range(25):
        with subprocess.Popen(words, env=environment) as process:
            until_some_moment()
            process.kill()
    # what a killed one left of its directories goes with the next engine that starts
    subprocess.run(words, env=environment, check=True)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_the_command_line_at_any_moment(
    cli: Cli, busybox: str, nothing_left: Watch, number: int
) -> None:
    until_some_moment = moments(number, lambda: cli.run(busybox, "true"))
    for _ in range(12):
        with cli.start(busybox, "true") as process:
            until_some_moment()
            process.send_signal(number)
            process.wait(seconds(30))
    assert cli.run(busybox, "true").returncode == 0


def test_killing_the_launcher_kills_its_containers(
    engine_root: str, busybox: str, nothing_left: Watch
) -> None:
    from pycontain import Engine

    code = f"""
import os, pycontain, signal, threading, time
engine = pycontain.Engine({engine_root!r})
def kill():
    time.sleep(1)
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(open(f"/proc/{{name}}/stat").read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid():
            os.kill(int(name), signal.SIGKILL)
threading.Thread(target=kill).start()
try:
    engine.run({busybox!r}, ["sleep", "600"], check=False)
except pycontain.PycontainError as error:
    print("told")
else:
    print("not told")
print(engine.run({busybox!r}, ["echo", "again"], text=True).stdout)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=seconds(60)
    )
    # the next engine collects what is left
    with Engine(engine_root) as engine:
        engine.run(busybox, "true")
    assert done.stdout.split() == ["told", "again"], done


def test_no_descriptor_is_left_open(engine: Engine, busybox: str) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    engine.run(busybox, "true")
    before = count()
    for _ in range(20):
        engine.run(busybox, "true", input=b"x")
        with pytest.raises(pycontain.CommandNotFound):
            engine.run(busybox, "no-such-command")
    assert count() <= before


def test_host_directories_hold_no_rest(engine: Engine, engine_root: str, busybox: str) -> None:
    watch = Watch.begin(engine_root)
    for _ in range(10):
        engine.run(busybox, "true")
    watch.check()
    assert list((Path(engine_root) / "staging").iterdir()) == []
