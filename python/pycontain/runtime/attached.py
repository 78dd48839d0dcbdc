"""A container that somebody else keeps, on the streams of this process: `attach`, `start --attach`.

What passes goes through pipes: whoever holds a terminal can change its settings and read what is typed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading

from pycontain.errors import InvalidOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    Streams = tuple[int | None, int | None, int | None]

__all__ = ["detach_keys", "show", "window"]

_BLOCK = 1 << 16


def detach_keys(text: str) -> bytes:
    """What is typed to leave a container: `ctrl-p,ctrl-q`, `q`; empty: nothing."""
    keys = bytearray()
    for word in filter(None, text.split(",")):
        letter = word.lower().removeprefix("ctrl-")
        if len(word) == 1 and word.isascii():
            keys += word.encode()
        elif len(letter) == 1 and letter in "abcdefghijklmnopqrstuvwxyz@[\\]^_" and letter != word.lower():
            keys.append(ord(letter.upper()) & 0x1F)
        else:
            raise InvalidOption(
                f"invalid value `{text}` for `detach_keys`: must be letters or ctrl-LETTER, divided by commas"
            )
    return bytes(keys)


def show(
    begin: Callable[[Streams], None],
    *,
    stdin: bool,
    outputs: Collection[str],
    terminal: bool,
    keys: bytes,
    resize: Callable[[int, int], None],
) -> bool:
    """Pass everything until the container's streams end.

    Args:
        begin: gives the container its ends of the pipes.
        stdin: pass on what this process reads, too.
        outputs: those of `stdout` and `stderr` that are passed; what a terminal shows is `stdout`.
        terminal: the container has one, and so is this process's, if it has one, made to pass every key.
        keys: leave when these are typed.
        resize: tells the container's terminal rows and columns.

    Returns:
        False: it was left, and goes on.
    """
    wake, woken = os.pipe()
    mine: list[tuple[int, int]] = []
    theirs: list[int | None] = [None, None, None]
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, wake)
        if stdin:
            theirs[0], typed = os.pipe()
        for number, name in ((1, "stdout"), (2, "stderr")):
            if name not in outputs or (terminal and number == 2):
                continue
            reading, theirs[number] = os.pipe()
            stack.callback(os.close, reading)
            mine.append((reading, number))
        try:
            begin((theirs[0], theirs[1], theirs[2]))
        except BaseException:
            os.close(woken)
            if stdin:
                os.close(typed)
            raise
        finally:
            for end in theirs:
                if end is not None:
                    os.close(end)
        if terminal:
            stack.enter_context(_window(resize))
        if stdin and terminal:
            stack.enter_context(_every_key())
        if stdin:
            # it may wait for a key when all is over; a process does not wait for it then
            arguments = (typed, woken, keys if terminal else b"")
            threading.Thread(target=_type, args=arguments, daemon=True).start()
        else:
            stack.callback(os.close, woken)
        return _copy(mine, wake)


def _copy(passages: list[tuple[int, int]], wake: int) -> bool:
    import select

    poll = select.poll()
    targets = dict(passages)
    for reading in (*targets, wake):
        poll.register(reading, select.POLLIN)
    while targets:
        for descriptor, _ in poll.poll():
            if descriptor == wake:
                if os.read(wake, 1):
                    return False
                poll.unregister(wake)  # stdin is at its end
                continue
            block = os.read(descriptor, _BLOCK)
            if block:
                _write(targets[descriptor], block)
            else:
                poll.unregister(descriptor)
                del targets[descriptor]
    return True


def _write(target: int, block: bytes) -> None:
    while block:
        block = block[os.write(target, block) :]


def _type(target: int, woken: int, keys: bytes) -> None:
    """What is read goes to the container; runs in a thread of its own."""
    held = b""  # the beginning of the keys: typed, and not passed on yet
    try:
        while block := os.read(0, _BLOCK):
            out = bytearray()
            for byte in block:
                held += bytes((byte,))
                if keys and held == keys:
                    _write(target, bytes(out))
                    os.write(woken, b"x")
                    return
                while held and not (keys and keys.startswith(held)):
                    out.append(held[0])
                    held = held[1:]
            _write(target, bytes(out))
        _write(target, held)
    except OSError:
        pass  # it reads no more
    finally:
        os.close(target)
        os.close(woken)


@contextlib.contextmanager
def _every_key() -> Iterator[None]:
    """The terminal of stdin, if it is one, passes what is typed as it is."""
    import termios
    import tty

    try:
        before = termios.tcgetattr(0)
    except termios.error:
        yield
        return
    tty.setraw(0, termios.TCSADRAIN)  # what is typed already is not thrown away
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def window() -> tuple[int, int] | None:
    """Rows and columns of this process's terminal; None where it has none."""
    try:
        columns, rows = os.get_terminal_size(1)
    except OSError:
        return None
    return rows, columns


@contextlib.contextmanager
def _window(resize: Callable[[int, int], None]) -> Iterator[None]:
    """The container's terminal has the size of this process's."""

    def tell(*_: object) -> None:
        size = window()
        if size is not None:
            resize(*size)

    tell()
    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
