"""Blobs on their way into a repository: mounted from another one, in one piece, or in chunks.

    POST uploads/?mount=…&from=…   -> 201: it is there        202: a session, whose address is in Location
    PATCH session  <chunk>         -> 202, the next address    broken: GET session says how far it came
    PUT session?digest=…           -> 201: it is there

A small blob goes along with the PUT. Nothing is visible in the repository before the registry has compared
the digest.
"""

from __future__ import annotations

import urllib.parse

from pycontain.errors import RegistryError
from pycontain.registry.received import number, shown
from pycontain.registry.retries import Passing, Stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from pycontain.registry.repository import Repository
    from pycontain.registry.transport import Reply

    class Source(Protocol):
        """A blob, to be read any number of times, from anywhere."""

        digest: str
        size: int

        def read(self, offset: int, size: int) -> bytes:
            """At most `size` bytes; empty only at the end."""


__all__ = ["Bytes", "Source", "upload"]

_CHUNK = 32 << 20
_PIECE = 256 << 10
_WORTH_NEW_TRIES = 1 << 20


class Bytes:
    """A blob in memory, such as a configuration."""

    def __init__(self, digest: str, data: bytes) -> None:
        self.digest = digest
        self.size = len(data)
        self._data = data

    def read(self, offset: int, size: int) -> bytes:
        """Some of it."""
        return self._data[offset : offset + size]


def upload(
    repository: Repository,
    source: Source,
    *,
    mount_from: str | None = None,
    report: Callable[[int], None] = lambda _done: None,
) -> bool:
    """Bring a blob into the repository; whether it was mounted, so that no byte moved.

    Args:
        repository: where to.
        source: the blob.
        mount_from: another repository of the registry that should have it.
        report: is told of the bytes that are there.

    Raises:
        RegistryError: the registry does not take it.
    """
    session = _Session(repository, source, report)
    if session.begin(mount_from):
        return True
    retries = repository.transport.retries()
    broken_at = 0
    while True:
        try:
            session.go_on()
            return False
        except Passing as passing:
            if session.done - broken_at >= _WORTH_NEW_TRIES:
                retries.start_over()
            broken_at = session.done
            retries.wait(passing)
            session.find_out()


class _Session:
    def __init__(self, repository: Repository, source: Source, report: Callable[[int], None]) -> None:
        self._repository = repository
        self._source = source
        self._report = report
        self._url = ""
        self.done = 0

    def begin(self, mount_from: str | None = None) -> bool:
        """Open a session, or have the blob mounted."""
        rest = "blobs/uploads/"
        if mount_from is not None:
            query = urllib.parse.urlencode({"mount": self._source.digest, "from": mount_from})
            rest += f"?{query}"
        reply = self._repository.request(
            "POST",
            rest,
            headers={"Content-Length": "0"},
            also=mount_from,
            expected={202} if mount_from is None else {201, 202},
        )
        if reply.status == 201:
            return True
        self.done = 0
        self._follow(reply)
        return False

    def go_on(self) -> None:
        """Send what is missing.

        Raises:
            Passing: it broke off; `find_out` says where.
        """
        size = self._source.size
        while size > _CHUNK and self.done < size:
            end = min(self.done + _CHUNK, size)
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{self.done}-{end - 1}",
                "Content-Length": str(end - self.done),
            }
            self._follow(self._once("PATCH", self._url, headers, self.done, end, {202}))
            self.done = end
        joint = "&" if "?" in self._url else "?"
        url = f"{self._url}{joint}{urllib.parse.urlencode({'digest': self._source.digest})}"
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size - self.done),
        }
        self._once("PUT", url, headers, self.done, size, {201, 204})
        self.done = size
        self._report(size)

    def find_out(self) -> None:
        """How far it came; a session that is gone, or that does not tell, is begun anew."""
        if self._source.size > _CHUNK:
            reply = self._repository.request("GET", self._url, expected={204, 400, 404, 416})
            last = number(reply.headers.get("range", "").rpartition("-")[2])
            # `0-0` is one byte or none, depending on whom one asks
            if reply.status == 204 and last and last < self._source.size:
                self.done = last + 1
                self._follow(reply)
                return
        self.begin()

    def _once(
        self, method: str, url: str, headers: dict[str, str], begin: int, end: int, expected: set[int]
    ) -> Reply:
        def body() -> Iterator[bytes]:
            offset = begin
            while offset < end:
                if self._repository.transport.stop.is_set():
                    raise Stopped
                piece = self._source.read(offset, min(_PIECE, end - offset))
                if not piece:
                    raise RegistryError(f"blob {self._source.digest} is shorter here than it should be")
                yield piece
                offset += len(piece)
                self._report(offset)

        return self._repository.request_once(
            method,
            url,
            headers=headers,
            body=body if end > begin else b"",
            expected=expected,
        )

    def _follow(self, reply: Reply) -> None:
        location = reply.headers.get("location", "")
        if not location:
            raise RegistryError(
                f"registry `{self._repository.endpoint.host}` opens an upload without an address"
            )
        try:
            url = urllib.parse.urljoin(reply.url, location)
            here, there = urllib.parse.urlsplit(reply.url), urllib.parse.urlsplit(url)
        except ValueError as error:
            raise RegistryError(
                f"registry `{self._repository.endpoint.host}` wants uploads at `{shown(location)}`,"
                " which is no address"
            ) from error
        if here.netloc == there.netloc:  # one behind a proxy of TLS may not know that it is
            url = there._replace(scheme=here.scheme).geturl()
        elif there.scheme != "https" and here.scheme == "https":
            raise RegistryError(
                f"registry `{here.netloc}` wants uploads at `{shown(there.netloc)}`, without HTTPS"
            )
        self._url = url
