"""The command line: `pycontain COMMAND`, docker's commands with docker's flags and exit codes.

A command's module is imported when the command is used; a plain one imports typer and its own few modules.
"""

from __future__ import annotations

import gc
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.errors import PycontainError


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status, and never raises for what a user did."""
    # what is imported stays: to look through it for garbage takes a tenth of a short command
    gc.set_threshold(50_000)
    words = sys.argv[1:] if args is None else list(args)
    if words[:1] == ["run"]:
        from pycontain.cli import ahead

        ahead.begin()
    from pycontain.cli.commands import group

    commands = group()
    try:
        status = commands.execute(words)
        if sys.stdout is not None:  # it was closed before Python started
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _forget_stdout()
        return 1
    except Exception as error:
        from pycontain.errors import PycontainError

        if not isinstance(error, PycontainError):
            raise
        _print_error(error)
        return getattr(error, "returncode", None) or (125 if commands.invoked == "run" else 1)
    return status


def _print_error(error: PycontainError) -> None:
    from pycontain.cli.options import in_flags

    print(f"pycontain: {in_flags(str(error))}", file=sys.stderr)
    if error.hint:
        print(f"hint: {in_flags(error.hint)}", file=sys.stderr)


def _forget_stdout() -> None:
    """Whoever read it has gone: what is still buffered must not fail again when Python exits."""
    import os

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
