"""The command line: `pycontain COMMAND`, docker's commands with docker's flags and exit codes.

A command's module is imported when the command is used, and typer when a line is not plain: see `plain`.
Nothing that takes time is imported before `main` runs: Ctrl-C would show a traceback.
"""

from __future__ import annotations

import errno
import gc
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status, and never raises for what a user did."""
    try:
        _prepare()
        status = _execute(sys.argv[1:] if args is None else list(args))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _forget_stdout()
        return 1
    except OSError as error:
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        _forget_stdout()
        print(f"pycontain: cannot write the output: {str(error.strerror).lower()}", file=sys.stderr)
        return 1
    return status if isinstance(status, int) else 0


def _prepare() -> None:
    # what is imported stays: to look through it for garbage takes a tenth of a short command
    gc.set_threshold(50_000)
    # msgspec would ask it for what typing has as well, and to import it takes a fifth of a short command
    sys.modules.setdefault("typing_extensions", None)  # type: ignore[arg-type]
    if None in {sys.stdin, sys.stdout, sys.stderr}:  # it was closed before Python started
        from pycontain.streams import fill_closed

        fill_closed()
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            if getattr(sys, name) is None:
                setattr(sys, name, _null(number))


def _null(number: int) -> TextIO:
    """The null device, which is what a standard stream that was closed is by now."""
    return open(number, "w" if number else "r", errors="replace", closefd=False)


def _execute(words: list[str]) -> object:
    if words and words[0] in {"run", "pull"}:
        from pycontain.cli import ahead

        ahead.begin(a_container=words[0] == "run")
    from pycontain.cli import plain

    try:
        command = plain.read(words)
        if command is None:
            if sys.modules["typing_extensions"] is None:
                del sys.modules["typing_extensions"]
            from pycontain.cli.commands import group

            return group().execute(words)
        return command()
    except Exception as error:
        from pycontain.cli.each import failed, known

        return failed(known(error))


def _forget_stdout() -> None:
    """Whoever read it has gone: what is still buffered must not fail again when Python exits."""
    import os

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
