"""A container in the foreground: its streams and signals are those of this process.

None of them is given to the container itself: whoever holds a file that was opened to be read or appended to
can open it once more to write, change its mode, and see its path; a pipe's holder can read what others put
there; a terminal's, what is typed. All that passes goes through pipes of the container's own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat

from pycontain.errors import InvalidOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pycontain._core import Exit, Process

    Start = Callable[[tuple[int, int, int]], Process]

NOT_PASSED_ON = {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG),
    *(signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP, signal.SIGCONT),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGPROF, signal.SIGVTALRM),
    signal.SIGALRM,
}
# who sends this many of them has waited long enough
_ASKING = {signal.SIGINT, signal.SIGTERM}
_MOST_ASKED = 3
# what ends a process that does not handle it; PID 1 of a container alone would not even notice
_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}


def check_terminal(*, terminal: bool, stdin: bool) -> None:
    """Docker's rule: `-i -t` wants a terminal to type in."""
    if terminal and stdin and not _is_terminal(0):
        raise InvalidOption(
            "the input device is not a terminal", hint="leave out `--tty` when the input is a pipe or a file"
        )


def show(
    start: Start, *, terminal: bool, stdin: bool, init: bool, pass_signals: bool = True, keys: bytes = b""
) -> int:
    """Start a process in a container and pass its streams, and this process's signals, until it ends.

    With `init`, its first process passes every signal on; another that does not handle one would ignore it.

    Returns:
        Its exit status; 0 when it was left: when `keys` were typed in its terminal. It goes on.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    # until the signals are passed on, they wait: what the container writes first may make somebody send one
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - NOT_PASSED_ON)

    def attend(process: Process, relay: Callable[[Process], Exit | None]) -> int:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(process))
            ended_by = stack.enter_context(_signals_to(process, init=init)) if pass_signals else []
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            ended = relay(process)
            if ended is None:
                process.leave()
                return 0
            status = ended.returncode
        return 128 + ended_by[-1] if ended_by and status == 128 + signal.SIGKILL else status

    try:
        if terminal:
            typed = 0 if stdin else None
            streams = null, null, null
            return attend(start(streams), lambda process: process.relay_terminal(typed, 1, keys))
        theirs, passages, pipes = _streams(null, stdin=stdin)
        try:
            process = start(theirs)
        except BaseException:
            pipes.extend(fd for passage in passages for fd in passage if fd > 2)
            raise
        finally:
            for fd in pipes:
                os.close(fd)
        return attend(process, lambda process: process.relay(passages))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(null)


def _streams(null: int, *, stdin: bool) -> tuple[tuple[int, int, int], list[tuple[int, int]], list[int]]:
    """What the container gets; what passes between its pipes and our streams; its ends of those pipes."""
    theirs: list[int] = []
    passages: list[tuple[int, int]] = []
    pipes = []
    for number in (0, 1, 2):
        if _is_null(number) or (number == 0 and not stdin):
            theirs.append(null)
        elif number == 2 and theirs[1] != null and os.path.sameopenfile(1, 2):
            theirs.append(theirs[1])  # what is written to both stays in order
        else:
            reading, writing = os.pipe()
            mine, its = (writing, reading) if number == 0 else (reading, writing)
            theirs.append(its)
            pipes.append(its)
            passages.append((number, mine) if number == 0 else (mine, number))
    return (theirs[0], theirs[1], theirs[2]), passages, pipes


def _is_null(number: int) -> bool:
    """Whether it is the null device, or closed."""
    try:
        status = os.fstat(number)
    except OSError:
        return True
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3)


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False


@contextlib.contextmanager
def _signals_to(process: Process, *, init: bool) -> Iterator[list[int]]:
    """Signals to this process go to the container's first one; yields those that ended it."""
    ended_by: list[int] = []

    def pass_on(number: int) -> None:
        if not init and ends(process.pid, number):
            ended_by.append(number)
            number = signal.SIGKILL
        process.kill(number)

    # any handler at all: the window's size is looked at when a wait is interrupted
    window = signal.signal(signal.SIGWINCH, lambda *_: None)
    try:
        with passed_to(pass_on):
            yield ended_by
    finally:
        signal.signal(signal.SIGWINCH, window if window is not None else signal.SIG_DFL)


@contextlib.contextmanager
def passed_to(send: Callable[[int], None]) -> Iterator[None]:
    """Signals that this process gets go elsewhere, until the third, as with docker, that asks it to end."""
    before = {}
    asked = 0

    def handle(number: int, _: object) -> None:
        nonlocal asked
        asked += number in _ASKING
        if asked == _MOST_ASKED:
            raise KeyboardInterrupt
        send(number)

    for number in signal.valid_signals() - NOT_PASSED_ON:
        with contextlib.suppress(OSError, ValueError):  # the C library keeps some for itself
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def ends(pid: int, number: int) -> bool:
    """Whether the signal ends what does not handle it, and this does not: PID 1 would not notice."""
    return number in _ENDING and not handles(pid, number)


def handles(pid: int, number: int) -> bool:
    """Whether the process does something about the signal: catches, ignores, or waits for it (proc(5))."""
    mask = 0
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith(("SigCgt:", "SigIgn:", "SigBlk:")):
                    mask |= int(line.split()[1], 16)
    except OSError:
        return True  # it has ended, and its status is on its way
    return bool(mask >> (number - 1) & 1)
