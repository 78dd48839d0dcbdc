"""A pipe between one who writes and one who reads, both in this process, and at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["fed"]

_SIZE = 1 << 20


@contextlib.contextmanager
def fed(pour: Callable[[int], object]) -> Iterator[int]:
    """The reading end of a pipe, into whose other end `pour` writes in a thread.

    What goes wrong there is raised in the end. It comes before what the reader makes of a source that broke
    off, which says less than why it did.
    """
    reading, writing = os.pipe()
    with contextlib.suppress(OSError):  # beyond the user's share of pipes' memory
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _SIZE)
    failures: list[BaseException] = []
    over = threading.Event()  # nobody reads any more: that the thread fails now is a consequence

    def feed() -> None:
        try:
            pour(writing)
        except BrokenPipeError:
            pass  # the reader has had enough, and says why
        except BaseException as error:  # noqa: BLE001, RUF100 - raised again by the reader's thread
            if not over.is_set():
                failures.append(error)
        finally:
            os.close(writing)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        try:
            yield reading
        finally:
            over.set()
            os.close(reading)  # else it could wait for ever for somebody to read
            feeder.join()
    except Exception as error:
        if failures:
            raise failures[0] from error
        raise
    if failures:
        raise failures[0]
