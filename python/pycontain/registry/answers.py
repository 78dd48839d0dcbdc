"""Answers of HTTP/1.1: the headers within a time limit, then the body piece by piece, each within it too.

The limit is for all that is waited for at once: a server that sends a byte now and then, or endless answers
`100 Continue` or trailers, comes to nothing by that.

What is downloaded over plain HTTP goes from the socket into a pipe within the kernel.
"""

from __future__ import annotations

import http.client
import io
import os
import select
import ssl
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

__all__ = ["Answer", "Response"]

_PIECE = 256 << 10


class _Incoming(io.RawIOBase):
    """What comes in by a socket until a moment, which is as far away as the socket's own time limit."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._socket = sock
        self._limit = sock.gettimeout()
        self.renew()

    def renew(self) -> None:
        """The time begins anew."""
        self._until = None if self._limit is None else time.monotonic() + self._limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._until is None:
            return self._raw.readinto(buffer)
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._socket.settimeout(self._limit)

    def close(self) -> None:
        super().close()
        self._raw.close()


class Response(http.client.HTTPResponse):
    """One whose headers have to come within the time limit of the socket."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._incoming = _Incoming(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._incoming)

    def renew(self) -> None:
        """The next piece of the body has the same time."""
        self._incoming.renew()


class Answer:
    """An answer whose body is still to come.

    Args:
        response: whose headers are read.
        sock: where it comes from.
        done: is to close the response; is told whether the connection can serve again.

    Attributes:
        status: 200 and so on.
        headers: those that came several times are joined by commas.
    """

    def __init__(self, response: Response, sock: socket.socket, done: Callable[[bool], None]) -> None:
        self._response = response
        self._socket = sock
        self._done = done
        # None: chunks tell, or the end of the connection
        self._left = response.length if not response.chunked else None
        self._read = self._ended = False
        self.status = response.status
        self.headers: dict[str, str] = {}
        for name, value in response.getheaders():
            known = self.headers.get(name.lower())
            self.headers[name.lower()] = value if known is None else f"{known}, {value}"

    def all_of(self, name: str) -> tuple[str, ...]:
        """Every value of a header, one by one."""
        return tuple(self._response.headers.get_all(name, ()))

    def read(self) -> bytes:
        """Some more of the body; empty at its end.

        Raises:
            OSError, http.client.HTTPException: the connection broke, or nothing came for too long.
        """
        if self._left == 0 or self._ended:
            self._ended = True
            return b""
        self._response.renew()
        if self._left is None:
            piece = self._response.read1(_PIECE)
            self._ended = not piece
            return piece
        # not by the response, which does not tell an end that is too early
        piece = self._response.fp.read1(min(_PIECE, self._left))
        self._advance(len(piece))
        self._read = True
        return piece

    @property
    def can_splice(self) -> bool:
        """Whether all that is to come is still in the socket: a `read` took what came with the headers."""
        return bool(self._read and self._left) and not isinstance(self._socket, ssl.SSLSocket)

    def splice(self, pipe: int) -> int:
        """Move some more of the body into a pipe; how much, or 0: nobody reads from it any more.

        Raises:
            OSError: as `read`.
        """
        while True:
            try:
                moved = os.splice(self._socket.fileno(), pipe, min(_PIECE, self._left or 0))
            except BlockingIOError:
                wait = self._socket.gettimeout()
                poll = select.poll()
                poll.register(self._socket, select.POLLIN)
                if not poll.poll(None if wait is None else wait * 1000):
                    raise TimeoutError("timed out") from None
            except BrokenPipeError:
                return 0
            else:
                self._advance(moved)
                return moved

    def close(self) -> None:
        """Done with it: the connection serves again if all of it was read."""
        self._done((self._ended or self._left == 0) and not self._response.will_close)

    def _advance(self, count: int) -> None:
        assert self._left is not None
        if count == 0:
            raise ConnectionError(f"it ended {self._left} bytes too early")
        self._left -= count
