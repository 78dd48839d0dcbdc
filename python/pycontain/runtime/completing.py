"""What becomes of a command whose streams were captured."""

from __future__ import annotations

from pycontain.errors import ExitError, TimeoutExpired
from pycontain.types import Completed, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain._core import Exit

__all__ = ["completed", "expired", "given"]


def given(input: bytes | str | None) -> bytes | None:
    """What the command is to read, as bytes."""
    return input.encode() if isinstance(input, str) else input


def completed(
    args: Sequence[str], ended: Exit, out: bytes, err: bytes, *, text: bool, check: bool
) -> Completed[bytes | str]:
    """The result of one that ended.

    Raises:
        ExitError: it failed and `check` is true.
    """
    stdout, stderr = (out.decode(), err.decode()) if text else (out, err)
    if check and ended.returncode != 0:
        raise ExitError(args, ended.returncode, stdout, stderr, oom_killed=ended.oom_killed)
    cpu = ended.cpu_nanoseconds
    usage = Usage(None if cpu is None else cpu / 1e9, ended.memory_peak)
    return Completed(args, ended.returncode, stdout, stderr, ended.oom_killed, usage)


def expired(
    args: Sequence[str], timeout: float | None, out: bytes, err: bytes, *, text: bool
) -> TimeoutExpired:
    """The error of one that did not end in time; what came may end within a letter."""
    streams = (out.decode(errors="replace"), err.decode(errors="replace")) if text else (out, err)
    return TimeoutExpired(args, timeout or 0, *streams)
