"""The Python API with real containers: results, errors, time limits, threads, forks, several engines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pycontain
import pytest
from containers import seconds
from pycontain import errors

if TYPE_CHECKING:
    from pathlib import Path

    from containers import Cli
    from leftovers import Watch
    from pycontain import Engine

UNIQUE = 4242  # seconds that a sleep is told, by which it is found in the process table


def sleeping(count: int) -> list[str]:
    """Processes of the machine that sleep so many seconds."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", str(count).encode()]:
            found.append(name)
    return found


def wait_until_gone(count: int) -> None:
    until = time.monotonic() + seconds(10)
    while sleeping(count):
        assert time.monotonic() < until, f"`sleep {count}` still runs"
        time.sleep(0.02)


def test_result_has_what_a_completed_process_has(engine: Engine, busybox: str) -> None:
    run = engine.run(busybox, ["sh", "-c", "echo out; echo err >&2"])
    assert run.args == ("sh", "-c", "echo out; echo err >&2")
    assert (run.returncode, run.stdout, run.stderr, run.oom_killed) == (0, b"out\n", b"err\n", False)
    with pytest.raises(AttributeError):
        run.returncode = 1


def test_text_is_decoded(engine: Engine, busybox: str) -> None:
    run = engine.run(busybox, ["sh", "-c", "cat; printf 'h\\303\\251' >&2"], input="grün\n", text=True)
    assert (run.stdout, run.stderr) == ("grün\n", "hé")


def test_text_that_is_no_utf_8_does_no_harm(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    with pytest.raises(UnicodeDecodeError):
        engine.run(busybox, ["printf", "\\377"], text=True)


def test_command_in_one_string_is_split_as_by_a_shell(engine: Engine, busybox: str) -> None:
    assert engine.run(busybox, "printf '%s|' 'a b' c").stdout == b"a b|c|"


def test_command_of_the_image_is_run_when_none_is_given(engine: Engine, busybox: str) -> None:
    assert engine.run(busybox, input=b"echo by the shell\n").stdout == b"by the shell\n"


def test_failure_raises_with_both_streams(engine: Engine, busybox: str) -> None:
    with pytest.raises(pycontain.ExitError) as raised:
        engine.run(busybox, ["sh", "-c", "echo out; echo err >&2; exit 3"])
    error = raised.value
    assert (error.returncode, error.stdout, error.stderr, error.oom_killed) == (3, b"out\n", b"err\n", False)
    assert "3" in str(error)
    assert engine.run(busybox, "false", check=False).returncode == 1


def test_unknown_image_is_named(engine: Engine) -> None:
    with pytest.raises(errors.ImageNotFound, match="no/such:image"):
        engine.run("no/such:image", "true", pull="never")
    with pytest.raises(errors.InvalidOption):
        engine.run("No Such Image", "true")


def test_unknown_option_is_named(engine: Engine, busybox: str) -> None:
    with pytest.raises(errors.InvalidOption, match="memroy") as raised:
        engine.run(busybox, "true", memroy="1g")  # type: ignore[call-overload]
    assert raised.value.hint == "did you mean `memory`?"


def test_timeout_kills_everything_inside(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    script = f"echo out; echo err >&2; sleep {UNIQUE} & setsid sleep {UNIQUE} & sleep {UNIQUE}"
    with pytest.raises(pycontain.TimeoutExpired) as raised:
        engine.run(busybox, ["sh", "-c", script], timeout=seconds(1))
    assert isinstance(raised.value, TimeoutError)
    assert (raised.value.stdout, raised.value.stderr) == (b"out\n", b"err\n")
    assert raised.value.timeout == seconds(1)
    wait_until_gone(UNIQUE)


def test_timeout_kills_what_ignores_signals(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    with pytest.raises(pycontain.TimeoutExpired):
        engine.run(busybox, ["sh", "-c", "trap '' TERM INT; while :; do :; done"], timeout=seconds(0.5))


def test_ctrl_c_kills_what_runs(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    def press() -> None:
        until = time.monotonic() + seconds(10)
        while not sleeping(UNIQUE + 1) and time.monotonic() < until:
            time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        engine.run(busybox, ["sleep", str(UNIQUE + 1)])
    thread.join()
    wait_until_gone(UNIQUE + 1)
    assert engine.run(busybox, "true").returncode == 0


def test_many_threads_get_their_own_results(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    def one(number: int) -> tuple[int, bytes | str | None, bytes | str | None]:
        script = f"cat; echo err {number} >&2; exit {number}"
        run = engine.run(busybox, ["sh", "-c", script], input=f"out {number}\n", check=False)
        return run.returncode, run.stdout, run.stderr

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, range(128)))
    assert results == [(n, f"out {n}\n".encode(), f"err {n}\n".encode()) for n in range(128)]


def test_start_that_fails_disturbs_no_other_thread(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    def one(number: int) -> int:
        if number % 2:
            return engine.run(busybox, "true").returncode
        with pytest.raises(pycontain.CommandNotFound):
            engine.run(busybox, "no-such-command")
        return 0

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(32))) == {0}


def test_child_of_a_fork_has_a_launcher_of_its_own(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork where there are threads
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writing, engine.run(busybox, ["echo", "child"]).stdout)
            engine.close()
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    assert engine.run(busybox, ["echo", "parent"]).stdout == b"parent\n"
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"child\n"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert engine.run(busybox, ["echo", "parent"]).stdout == b"parent\n"


def test_close_kills_what_runs(engine: Engine, engine_root: str, busybox: str, nothing_left: Watch) -> None:
    from pycontain import Engine

    other = Engine(engine_root)
    ended: list[object] = []

    def one() -> None:
        try:
            ended.append(other.run(busybox, ["sleep", str(UNIQUE + 2)], check=False))
        except pycontain.PycontainError as error:
            ended.append(error)

    thread = threading.Thread(target=one, daemon=True)
    thread.start()
    until = time.monotonic() + seconds(10)
    while not sleeping(UNIQUE + 2):
        assert time.monotonic() < until
        time.sleep(0.02)
    other.close()
    thread.join(seconds(10))
    assert not thread.is_alive()
    assert len(ended) == 1
    wait_until_gone(UNIQUE + 2)


def test_closed_engine_can_be_used_again(engine_root: str, busybox: str, nothing_left: Watch) -> None:
    from pycontain import Engine

    with Engine(engine_root) as engine:
        assert engine.run(busybox, ["echo", "1"]).stdout == b"1\n"
        engine.close()
        assert engine.run(busybox, ["echo", "2"]).stdout == b"2\n"


def test_two_engines_at_once_keep_apart(
    engine: Engine, busybox: str, busybox_layer: bytes, tmp_path: Path, nothing_left: Watch
) -> None:
    from io import BytesIO

    from pycontain import Engine

    with Engine(tmp_path / "second") as second:
        with pytest.raises(errors.ImageNotFound):
            second.run(busybox, "true", pull="never")
        second.images.import_(BytesIO(busybox_layer), "other")
        with pytest.raises(errors.ImageNotFound):
            engine.run("other", "true", pull="never")
        with ThreadPoolExecutor(2) as pool:
            runs = [
                pool.submit(one.run, name, ["echo", name])
                for one, name in ((engine, busybox), (second, "other"))
            ]
            assert [run.result().stdout for run in runs] == [b"busybox\n", b"other\n"]


def test_module_has_a_default_engine_at_the_root_of_the_environment(engine_root: str, busybox: str) -> None:
    script = "import pycontain; print(pycontain.run('busybox', ['echo', 'hi'], memory='64m').stdout)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYCONTAIN_ROOT": engine_root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'hi\\n'\n", "")


def test_root_must_be_a_directory(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "root"
    file.touch()
    with pytest.raises(errors.StoreError, match="is not a directory"):
        pycontain.Engine(file)
    refused = cli("--root", file, "run", "host", "true")
    assert refused.returncode == 125
    assert refused.stderr.startswith(f"pycontain: `{file}` is not a directory\nhint: ".encode())


def test_end_of_the_caller_without_a_word_kills_what_runs(
    engine_root: str, busybox: str, nothing_left: Watch
) -> None:
    script = (
        f"import pycontain; pycontain.run('busybox', ['sh', '-c', 'sleep {UNIQUE + 3} & sleep {UNIQUE + 3}'])"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=os.environ | {"PYCONTAIN_ROOT": engine_root}) as process:
        until = time.monotonic() + seconds(10)
        while len(sleeping(UNIQUE + 3)) < 2:
            assert time.monotonic() < until
            time.sleep(0.02)
        process.kill()
    wait_until_gone(UNIQUE + 3)


def test_caller_with_much_memory_is_not_copied(engine: Engine, busybox: str) -> None:
    ballast = bytearray(200 << 20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    run = engine.run(busybox, ["grep", "VmRSS", "/proc/self/status"], memory="32m")
    assert int(run.stdout.split()[1]) < 10_000
    assert len(ballast) == 200 << 20


def test_working_directory_of_the_caller_may_be_gone(engine_root: str, busybox: str, tmp_path: Path) -> None:
    script = (
        "import os, pycontain; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone');"
        "print(pycontain.run('busybox', ['pwd']).stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYCONTAIN_ROOT": engine_root},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "b'/\\n'\n"), done.stderr


def test_explain_starts_nothing(engine: Engine, cli: object, busybox: str, nothing_left: Watch) -> None:
    plan = engine.explain(busybox, ["sh", "-c", f"sleep {UNIQUE + 4}"])
    assert len(plan.splitlines()) > 10
    assert "overlay" in plan
    assert sleeping(UNIQUE + 4) == []
