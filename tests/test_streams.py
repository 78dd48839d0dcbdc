"""Streams and exit codes: nothing is added, lost or mixed up on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from containers import seconds
from pycontain import errors

if TYPE_CHECKING:
    from pathlib import Path

    from containers import Cli
    from leftovers import Watch
    from pycontain import Engine

EVERY_BYTE = bytes(range(256))
TEN_MEGABYTES = EVERY_BYTE * (10_000_000 // 256)
BOTH_STREAMS = "echo out; echo err >&2; exit 3"


def test_streams_are_separate(cli: Cli, engine: Engine, busybox: str) -> None:
    by_cli = cli.run(busybox, "sh", "-c", BOTH_STREAMS)
    by_python = engine.run(busybox, ["sh", "-c", BOTH_STREAMS], check=False)
    for run in (by_cli, by_python):
        assert (run.returncode, run.stdout, run.stderr) == (3, b"out\n", b"err\n")


def test_every_byte_passes_as_it_is(cli: Cli, engine: Engine, busybox: str) -> None:
    script = "cat > /tmp/all; cat /tmp/all; cat /tmp/all >&2"
    by_cli = cli.run("-i", busybox, "sh", "-c", script, input=EVERY_BYTE)
    by_python = engine.run(busybox, ["sh", "-c", script], input=EVERY_BYTE)
    for run in (by_cli, by_python):
        assert (run.stdout, run.stderr) == (EVERY_BYTE, EVERY_BYTE)


def test_streams_can_be_opened_by_name(cli: Cli, engine: Engine, busybox: str) -> None:
    script = "echo out > /dev/stdout && echo err > /dev/stderr && cat /dev/stdin"
    by_cli = cli.run("-i", busybox, "sh", "-c", script, input=b"in\n")
    by_python = engine.run(busybox, ["sh", "-c", script], input=b"in\n", check=False)
    for run in (by_cli, by_python):
        assert (run.stdout, run.stderr) == (b"out\nin\n", b"err\n")


def test_ten_megabytes_pass_both_ways_at_once(cli: Cli, engine: Engine, busybox: str) -> None:
    assert cli.run("-i", busybox, "cat", input=TEN_MEGABYTES).stdout == TEN_MEGABYTES
    assert engine.run(busybox, "cat", input=TEN_MEGABYTES).stdout == TEN_MEGABYTES


def test_both_streams_can_be_large(engine: Engine, busybox: str) -> None:
    script = "head -c 3000000 /dev/zero; head -c 2000000 /dev/zero >&2; head -c 3000000 /dev/zero"
    run = engine.run(busybox, ["sh", "-c", script])
    assert (run.stdout, run.stderr) == (bytes(6_000_000), bytes(2_000_000))


def test_without_interactive_there_is_no_input(cli: Cli, engine: Engine, busybox: str) -> None:
    assert cli.run(busybox, "cat", input=b"unread").stdout == b""
    assert engine.run(busybox, "cat").stdout == b""


def test_end_of_input_is_passed_on(cli: Cli, busybox: str) -> None:
    with cli.start("-i", busybox, "cat", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"first\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"first\n"  # at once, not at the end
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(seconds(20)) == 0


def test_input_that_nobody_reads_does_no_harm(cli: Cli, engine: Engine, busybox: str) -> None:
    assert engine.run(busybox, "true", input=TEN_MEGABYTES).returncode == 0
    assert cli.run("-i", busybox, "true", input=TEN_MEGABYTES).returncode == 0


def test_reader_that_goes_away_ends_the_writer(cli: Cli, busybox: str, nothing_left: Watch) -> None:
    with cli.start(busybox, "sh", "-c", "yes; echo $? >&2") as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        assert process.wait(seconds(20)) in {0, 141}


@pytest.mark.parametrize("words", ["run --rm", "run --rm -a stdout", "run --rm --name wrote", "exec"])
def test_output_that_is_not_taken_is_told_and_fails(
    cli: Cli, engine: Engine, busybox: str, words: str, nothing_left: Watch
) -> None:
    box = engine.start(busybox, ["sleep", "1000"])
    command = [str(cli.program), *words.split(), box.id if words == "exec" else busybox, "echo", "lost"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=cli.environment, check=False)
    box.remove(force=True)
    said = b"pycontain: cannot write the output: no space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize("closed", ["012", "0", "1", "2", "01"])
def test_closed_streams_are_the_null_device(cli: Cli, busybox: str, closed: str, tmp_path: Path) -> None:
    script = "cat && found=$(stat -L -c %t:%T /proc/1/fd/[012]); echo $found >/out/devices; exit 5"
    words = f"run --rm -i --userns host -v {tmp_path}:/out {busybox} sh -c '{script}'"
    closing = " ".join(f"{number}>&-" for number in closed)
    done = subprocess.run(
        ["sh", "-c", f"exec '{cli.program}' {words} {closing}"],
        env=cli.environment,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 5
    devices = (tmp_path / "devices").read_text().split()
    assert [devices[int(number)] for number in closed] == ["1:3"] * len(closed)


@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_commands_that_print_take_closed_streams(
    cli: Cli, engine: Engine, busybox: str, closing: str
) -> None:
    box = engine.start(busybox, ["sh", "-c", "echo out; echo err >&2; sleep 1000"])
    lines = ("inspect BOX", "logs BOX", "events --until 1", "stats --no-stream BOX", "cp BOX:/etc -", "ps")
    for line in lines:
        words = line.replace("BOX", box.name)
        done = subprocess.run(
            ["sh", "-c", f"exec '{cli.program}' {words} {closing}"],
            env=cli.environment,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), (line, done)
    box.remove(force=True)


def test_a_directory_that_was_removed_is_no_obstacle(cli: Cli, busybox: str, tmp_path: Path) -> None:
    start = f"mkdir '{tmp_path}/gone'; cd '{tmp_path}/gone'; rmdir ../gone; exec '{cli.program}' run --rm"
    words = ["sh", "-c", f'{start} -v /usr:/usr/host "$@"', "-", busybox, "echo", "here"]
    assert subprocess.check_output(words, env=cli.environment) == b"here\n"
    for given in ("-v ./x:/x", "--rootfs x"):
        words[2] = f'{start} {given} "$@"'
        done = subprocess.run(words, env=cli.environment, capture_output=True, check=False)
        assert done.returncode == 125
        assert done.stderr.startswith(b"pycontain: the current directory was removed\nhint: ")


def test_streams_are_none_of_the_callers_files(cli: Cli, busybox: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"of the caller")
    (tmp_path / "out").write_bytes(b"before\n")
    os.chmod(tmp_path / "in", 0o666)  # whatever the file would allow
    os.chmod(tmp_path / "out", 0o666)
    script = "echo mine > /proc/self/fd/0; : > /proc/self/fd/1; chmod 4777 /proc/self/fd/1; echo after"
    words = [str(cli.program), "run", "--rm", "-i", "--userns", "host", busybox, "sh", "-c", script]
    with open(tmp_path / "in", "rb") as stdin, open(tmp_path / "out", "ab") as stdout:
        subprocess.run(words, stdin=stdin, stdout=stdout, env=cli.environment, check=True)
    assert (tmp_path / "in").read_bytes() == b"of the caller"
    assert (tmp_path / "out").read_bytes() == b"before\nafter\n"
    assert (tmp_path / "out").stat().st_mode & 0o7777 == 0o666


def test_what_is_written_to_one_file_by_both_streams_stays_in_order(cli: Cli, busybox: str) -> None:
    script = "for n in $(seq 300); do echo out; echo err >&2; done"
    words = [str(cli.program), "run", "--rm", busybox, "sh", "-c", script]
    put = subprocess.check_output(words, stderr=subprocess.STDOUT, env=cli.environment)
    assert put == b"out\nerr\n" * 300


def test_large_files_pass_both_ways_at_once(cli: Cli, busybox: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(EVERY_BYTE * 40_000)
    script = "sleep 0.5; cat; cat /bin/busybox >&2"
    with open(tmp_path / "in", "rb") as stdin, open(tmp_path / "out", "wb") as stdout:
        words = [str(cli.program), "run", "--rm", "-i", busybox, "sh", "-c", script]
        done = subprocess.run(
            words, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, env=cli.environment, check=False
        )
    assert done.returncode == 0
    assert (tmp_path / "out").read_bytes() == EVERY_BYTE * 40_000


def test_streams_may_be_files(cli: Cli, busybox: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(EVERY_BYTE)
    with open(tmp_path / "in", "rb") as stdin, open(tmp_path / "out", "wb") as stdout:
        command = [cli.program, "run", "--rm", "-i", busybox, "cat"]
        subprocess.run(list(map(str, command)), stdin=stdin, stdout=stdout, env=cli.environment, check=True)
    assert (tmp_path / "out").read_bytes() == EVERY_BYTE


def test_every_exit_code_comes_back(engine: Engine, busybox: str) -> None:
    codes = [engine.run(busybox, ["sh", "-c", f"exit {code}"], check=False).returncode for code in range(256)]
    assert codes == list(range(256))


@pytest.mark.parametrize("code", [0, 1, 2, 77, 125, 126, 127, 128, 255])
def test_exit_code_is_the_command_lines(cli: Cli, busybox: str, code: int) -> None:
    assert cli.run(busybox, "sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT])
def test_death_by_a_signal_is_128_and_its_number(cli: Cli, engine: Engine, busybox: str, number: int) -> None:
    # process 1 cannot send itself a signal that it does not handle, its child can
    command = ["sh", "-c", f"kill -{int(number)} $$"]
    assert engine.run(busybox, command, init=True, check=False).returncode == 128 + number
    assert cli.run("--init", busybox, *command).returncode == 128 + number
    script = f"sh -c 'kill -{int(number)} $$'; exit $?"
    assert engine.run(busybox, ["sh", "-c", script], check=False).returncode == 128 + number


def test_command_that_is_not_there_is_127(
    cli: Cli, engine: Engine, busybox: str, nothing_left: Watch
) -> None:
    for command in ("no-such-command", "/no/such/command"):
        run = cli.run(busybox, command)
        assert (run.returncode, run.stdout) == (127, b"")
        assert command.encode() in run.stderr
        with pytest.raises(errors.CommandNotFound, match=command):
            engine.run(busybox, command)


def test_command_that_cannot_be_executed_is_126(
    cli: Cli, engine: Engine, busybox: str, nothing_left: Watch
) -> None:
    for command in ("/etc/passwd", "/etc"):
        run = cli.run(busybox, command)
        assert (run.returncode, run.stdout) == (126, b"")
        assert command.encode() in run.stderr
        with pytest.raises(errors.CommandNotExecutable, match=command):
            engine.run(busybox, command)


def test_what_never_started_is_125(cli: Cli, busybox: str, nothing_left: Watch) -> None:
    for words in (
        ["--pull", "never", "no-such-image", "true"],
        ["--no-such-flag", busybox],
        ["--memory", "many", busybox, "true"],
    ):
        run = cli.run(*words)
        assert (run.returncode, run.stdout) == (125, b"")
        assert run.stderr


HANDLER = "trap 'echo caught {0}; exit 9' {0}; echo ready; while :; do sleep 0.1; done"


@pytest.mark.parametrize("name", ["TERM", "INT", "USR1", "HUP"])
def test_signals_are_passed_on(cli: Cli, busybox: str, name: str, nothing_left: Watch) -> None:
    with cli.start(busybox, "sh", "-c", HANDLER.format(name)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.Signals[f"SIG{name}"])
        out, _ = process.communicate(timeout=seconds(20))
        assert (process.returncode, out) == (9, f"caught {name}\n".encode())


@pytest.mark.parametrize("flags", [[], ["--init"], ["--name", "stubborn"]])
def test_third_request_to_end_is_not_passed_on(
    cli: Cli, busybox: str, flags: list[str], nothing_left: Watch
) -> None:
    script = "trap 'echo caught' INT TERM; echo ready; while :; do sleep 0.1; done"
    with cli.start(*flags, busybox, "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for number in (signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
            assert process.stdout.readline() == b"caught\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(seconds(8)) == 130
    if "--name" in flags:  # it was left, and goes on
        assert cli("rm", "--force", "stubborn").returncode == 0


@pytest.mark.parametrize("name", ["TERM", "INT", "QUIT", "USR1"])
def test_process_1_without_a_handler_dies_at_once(
    cli: Cli, busybox: str, name: str, nothing_left: Watch
) -> None:
    number = signal.Signals[f"SIG{name}"]
    # a shell ignores some of them until it has become another program
    with cli.start("--hostname", "ready", busybox, "tail", "-f", "/etc/hostname") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(seconds(8)) == 128 + number


def test_init_passes_signals_on(cli: Cli, busybox: str, nothing_left: Watch) -> None:
    with cli.start("--init", busybox, "sh", "-c", HANDLER.format("TERM")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        out, _ = process.communicate(timeout=seconds(20))
        assert (process.returncode, out) == (9, b"caught TERM\n")


def test_processes_left_behind_by_the_command_are_killed(cli: Cli, busybox: str, nothing_left: Watch) -> None:
    began = time.monotonic()
    run = cli.run(busybox, "sh", "-c", "sleep 600 & setsid sleep 600 & exit 4")
    assert run.returncode == 4
    assert time.monotonic() - began < seconds(60)


def test_killing_the_command_line_kills_what_it_runs(cli: Cli, busybox: str, nothing_left: Watch) -> None:
    with cli.start(busybox, "sh", "-c", "echo ready; sleep 600 & sleep 600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("attached", "out", "err"),
    [
        (["-a", "stdout"], b"out\n", b""),
        (["--attach", "STDERR"], b"", b"err\n"),
        (["-a", "stdout", "-a", "stderr"], b"out\n", b"err\n"),
        (["-i", "-a", "stdin", "-a", "stdout"], b"out\ntyped", b""),
        (["-i", "-a", "stdin"], b"", b""),
    ],
)
def test_only_the_streams_that_are_asked_for(
    cli: Cli, busybox: str, attached: list[str], out: bytes, err: bytes
) -> None:
    done = cli.run(*attached, busybox, "sh", "-c", "echo out; echo err >&2; cat; exit 3", input=b"typed")
    assert (done.returncode, done.stdout, done.stderr) == (3, out, err)


@pytest.mark.parametrize("wrong", [["-a", "stream"], ["-d", "-a", "stdout"]])
def test_streams_that_cannot_be_attached(cli: Cli, busybox: str, wrong: list[str]) -> None:
    done = cli.run(*wrong, busybox, "true")
    assert done.returncode == 125
    assert b"--attach" in done.stderr
