"""One thing after another, as docker's commands with several names do it: on after one that failed."""

from __future__ import annotations

import errno
import sys

from pycontain.cli.options import in_flags
from pycontain.errors import InvalidOption, NotFound, PycontainError, StoreError, Unsupported
from pycontain.escaping import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["each", "failed", "known"]

_LONGEST = 2000


def each(
    names: Iterable[str],
    act: Callable[[str], object],
    *,
    missing_is_done: bool = False,
    shown: Callable[[object], str] | None = None,
) -> int:
    """Print each name for which `act` has been done; returns 1 when it failed for one of them.

    Args:
        names: as they were given.
        act: is called with each.
        missing_is_done: what is not there is told of, and is no failure.
        shown: what is printed instead of the name, made of what `act` returned.
    """
    status = 0
    told: set[str] = set()
    for name in names:
        try:
            done = act(name)
        except PycontainError as error:
            failed(error, told=told)
            status = status if missing_is_done and isinstance(error, NotFound) else 1
            continue
        print(name if shown is None else shown(done), flush=True)
    return status


def known(error: Exception) -> PycontainError:
    """What is told in a line; raises what is not."""
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        return Unsupported("too many open files", hint="`ulimit -n` says how many there may be")
    if isinstance(error, PermissionError) and error.filename is not None:
        from pycontain.paths import ANOTHER_ROOT

        return StoreError(f"cannot use `{error.filename}`: permission denied", hint=ANOTHER_ROOT)
    if not isinstance(error, PycontainError):
        raise error
    return error


def failed(error: PycontainError, otherwise: int = 1, *, told: set[str] | None = None) -> int:
    """Tell of a failure; returns the exit status that it stands for, or else `otherwise`.

    Args:
        error: the failure.
        otherwise: the usual exit status.
        told: hints that were given before, and are not again.
    """
    sys.stdout.flush()  # what went well comes first
    worded = in_flags if isinstance(error, InvalidOption | Unsupported) else str
    print(f"pycontain: {worded(_line(str(error)))}", file=sys.stderr)
    told = set() if told is None else told
    if error.hint and error.hint not in told:
        told.add(error.hint)
        print(f"hint: {worded(_line(error.hint))}", file=sys.stderr)
    status: int | None = getattr(error, "returncode", None)
    return status or otherwise


def _line(text: str) -> str:
    return escaped(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
