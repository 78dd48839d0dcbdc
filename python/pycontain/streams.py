"""The three standard streams of this process."""

from __future__ import annotations

import os

__all__ = ["fill_closed"]


def fill_closed() -> None:
    """Put the null device in the place of a standard stream that is closed, as Go's and SQLite's start do.

    The next file that is opened would have its number: a container that is given this process's streams, and
    whatever prints, would come upon a lock, or the launcher's socket.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null == number:
                os.set_inheritable(null, True)
            else:  # another thread has opened something there
                os.close(null)
