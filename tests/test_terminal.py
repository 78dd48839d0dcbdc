"""`run -t`: a terminal in the container, driven by one outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from containers import seconds
from terminals import Terminal

if TYPE_CHECKING:
    from containers import Cli
    from leftovers import Watch


def test_streams_are_one_terminal(cli: Cli, busybox: str, nothing_left: Watch) -> None:
    script = "for fd in 0 1 2; do test -t $fd && echo $fd is; done; tty; echo $TERM; stty size"
    with Terminal(cli, "-it", busybox, "sh", "-c", script, rows=33, columns=111) as terminal:
        status, shown = terminal.end()
    assert status == 0, shown
    assert shown.split("\r\n") == ["0 is", "1 is", "2 is", "/dev/pts/0", "xterm", "33 111", ""]


def test_terminal_is_the_console_and_the_controlling_one(cli: Cli, busybox: str) -> None:
    script = "echo by tty > /dev/tty; echo by console > /dev/console; stat -c '%U' $(tty)"
    with Terminal(cli, "-it", busybox, "sh", "-c", script) as terminal:
        status, shown = terminal.end()
    assert (status, shown) == (0, "by tty\r\nby console\r\nroot\r\n")


@pytest.mark.parametrize("flags", ["-it", "-t"])
def test_new_size_is_passed_on(cli: Cli, busybox: str, flags: str) -> None:
    script = "trap 'stty size <&1; exit 6' WINCH; echo ready; while :; do sleep 0.1; done"
    with Terminal(cli, flags, busybox, "sh", "-c", script) as terminal:
        terminal.expect("ready")
        terminal.resize(50, 132, tell=False)
        status, shown = terminal.end()
        assert (status, shown.split()) == (6, ["50", "132"])


def test_what_is_typed_is_read_and_echoed_once(cli: Cli, busybox: str) -> None:
    with Terminal(cli, "-it", busybox, "sh", "-c", "echo ready; read line; echo got $line") as terminal:
        terminal.expect("ready\r\n")
        terminal.type("a line\r")
        assert terminal.end() == (0, "a line\r\ngot a line\r\n")


def test_interrupt_that_is_typed_reaches_the_command(cli: Cli, busybox: str, nothing_left: Watch) -> None:
    script = "trap 'echo caught; exit 8' INT; echo ready; while :; do sleep 0.1; done"
    with Terminal(cli, "-it", busybox, "sh", "-c", script) as terminal:
        terminal.expect("ready\r\n")
        terminal.type("\x03")
        status, shown = terminal.end()
    assert (status, shown) == (8, "^Ccaught\r\n")


def test_shell_goes_on_after_an_interrupt(cli: Cli, busybox: str, nothing_left: Watch) -> None:
    with Terminal(cli, "-it", "-e", "PS1=prompt> ", busybox) as terminal:
        terminal.expect("prompt> ")
        # said by the process that is to be interrupted, or the shell might get it before it has one
        terminal.type("sh -c 'echo started $((6 * 7)); exec sleep 600'\r")
        terminal.expect("started 42\r\n")
        terminal.type("\x03")
        terminal.expect("prompt> ")
        terminal.type("exit 12\r")
        status, _ = terminal.end()
    assert status == 12


def test_end_of_file_that_is_typed_ends_the_shell(cli: Cli, busybox: str) -> None:
    with Terminal(cli, "-it", "-e", "PS1=prompt> ", busybox) as terminal:
        terminal.expect("prompt> ")
        terminal.type("\x04")
        assert terminal.end()[0] == 0


def test_terminal_outside_is_as_before_afterwards(cli: Cli, busybox: str) -> None:
    import termios

    with Terminal(cli, "-it", busybox, "sh", "-c", "echo ready; read line") as terminal:
        before = termios.tcgetattr(terminal.master)
        terminal.expect("ready\r\n")
        during = termios.tcgetattr(terminal.master)
        terminal.type("\r")
        terminal.process.wait(seconds(20))
        after = termios.tcgetattr(terminal.master)
    assert during[3] & termios.ICANON == 0  # raw: lines are the business of the terminal inside
    assert after[:4] == before[:4]


def test_large_output_is_complete(cli: Cli, busybox: str) -> None:
    with Terminal(cli, "-it", busybox, "seq", "1", "20000") as terminal:
        status, shown = terminal.end()
    assert status == 0
    assert shown.split() == [str(number) for number in range(1, 20001)]


def test_terminal_without_input(cli: Cli, busybox: str) -> None:
    run = cli.run("-t", busybox, "sh", "-c", "test -t 1 && test -t 0 && echo is one; echo to stderr >&2")
    assert (run.returncode, run.stdout, run.stderr) == (0, b"is one\r\nto stderr\r\n", b"")


def test_input_that_is_no_terminal_is_refused(cli: Cli, busybox: str) -> None:
    run = cli.run("-it", busybox, "true", input=b"x")
    assert run.returncode == 125
    assert b"not a terminal" in run.stderr


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_code_comes_back(cli: Cli, busybox: str, code: int) -> None:
    with Terminal(cli, "-it", busybox, "sh", "-c", f"exit {code}") as terminal:
        assert terminal.end()[0] == code


def test_one_that_is_left_goes_on(cli: Cli, busybox: str, nothing_left: Watch) -> None:
    for options in (["--rm", "--name", "left"], ["--rm", "--name", "left", "--detach-keys", "ctrl-x,q"]):
        with Terminal(cli, "-it", *options, busybox, "sh", "-c", "echo ready; sleep 600") as terminal:
            terminal.expect("ready\r\n")
            assert cli("exec", "left", "echo", "here").stdout == b"here\n"
            assert cli("ps", "--format", "{{.Names}} {{.State}}").stdout == b"left running\n"
            terminal.type("\x18q" if "ctrl-x,q" in options else "\x10\x11")
            assert terminal.end()[0] == 0
        assert cli("logs", "left").stdout == b"ready\r\n"
        assert cli("stop", "left").returncode == 0
    for _ in range(2):  # one that would end with its command goes on when it was left
        with Terminal(cli, "-it", "--rm", busybox, "sh", "-c", "echo ready; sleep 600") as terminal:
            terminal.expect("ready\r\n")
            terminal.type("\x10\x11")
            assert terminal.end()[0] == 0
        ids = cli("ps", "-q").stdout.split()
        assert len(ids) == 1
        assert cli("stop", ids[0].decode()).returncode == 0


def test_hang_up_kills_what_runs(cli: Cli, busybox: str, nothing_left: Watch) -> None:
    with Terminal(cli, "-it", busybox, "sh", "-c", "echo ready; sleep 600") as terminal:
        terminal.expect("ready\r\n")
