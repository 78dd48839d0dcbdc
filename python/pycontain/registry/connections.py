"""Connections of HTTP/1.1: made directly or by a proxy, and kept for the next request to the same place.

The standard library's `http.client` speaks; it takes a fifth of the processor that larger clients take. What
is downloaded over plain HTTP goes from the socket into a pipe within the kernel.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import socket
import ssl
import threading
import time
import urllib.parse

from pycontain.errors import RegistryError
from pycontain.registry.endpoints import is_loopback
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pycontain.registry.settings import Settings

__all__ = ["Answer", "BadAddress", "Pool", "ProxyError", "SourceError", "Unconnected", "Url", "words"]

_CONNECT_SECONDS = 15.0
_IDLE_SECONDS = 5.0  # servers and whatever lies between forget a connection that rests
_PIECE = 256 << 10
_SENT = 64 << 10
_LONGEST_REASON = 300
_PORTS = {"http": 80, "https": 443}
# what may stand in a target as it is; the rest, if a server sends it in a `Location`, is escaped
_SAFE = "!#$%&'()*+,/:;=?@[]~"


def words(error: BaseException) -> str:
    """What an error says, as the end of a line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = " ".join((text or type(error).__name__).split())[:_LONGEST_REASON].rstrip(".")
    return text[:1].lower() + text[1:]


class BadAddress(ValueError):
    """A URL that leads nowhere."""


class Unconnected(Exception):
    """No connection came about; its cause says why."""


class ProxyError(Exception):
    """The proxy does not do its part."""


class SourceError(Exception):
    """What was to be sent could not be read; its cause says why."""


class Url(Value):
    """An absolute URL of HTTP or HTTPS.

    Attributes:
        scheme: `http` or `https`.
        host: without port and brackets.
        port: also where it is the usual one.
        target: path and query.
        user: `name:password`, of a proxy; may be empty.
    """

    __slots__ = ("scheme", "host", "port", "target", "user")  # noqa: RUF023 - the constructor's order
    scheme: str
    host: str
    port: int
    target: str
    user: str

    def __init__(self, scheme: str, host: str, port: int, target: str, user: str = "") -> None:
        self._set(scheme=scheme, host=host, port=port, target=target, user=user)

    @classmethod
    def parse(cls, text: str) -> Url:
        """Read one.

        Raises:
            BadAddress: it is none.
        """
        try:
            parts = urllib.parse.urlsplit(text)
            scheme, host = parts.scheme, parts.hostname or ""
            if not host.isascii():
                host = host.encode("idna").decode()
            port = parts.port or _PORTS[scheme]
        except (ValueError, KeyError) as error:
            raise BadAddress(text[:200]) from error
        if not host or not host.isprintable() or " " in host:
            raise BadAddress(text[:200])
        target = urllib.parse.quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), _SAFE)
        return cls(scheme, host, port, target, parts.netloc.rpartition("@")[0])

    @property
    def place(self) -> str:
        """The host, with the port if it is not the usual one."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"

    @property
    def origin(self) -> str:
        """What credentials are for."""
        return f"{self.scheme}://{self.place}"

    def join(self, reference: str) -> Url:
        """Where a reference in an answer leads.

        Raises:
            BadAddress: nowhere.
        """
        try:
            return self.parse(urllib.parse.urljoin(str(self), reference))
        except ValueError as error:
            raise BadAddress(reference[:200]) from error

    def __str__(self) -> str:
        return self.origin + self.target


class Answer:
    """An answer whose body is still to come.

    Attributes:
        status: 200 and so on.
        headers: those that came several times are joined by commas.
    """

    def __init__(
        self, response: http.client.HTTPResponse, sock: socket.socket, done: Callable[[], None]
    ) -> None:
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
        complete = (self._ended or self._left == 0) and not self._response.will_close
        self._response.close()
        if complete:
            self._done()
        else:
            self._socket.close()

    def _advance(self, count: int) -> None:
        assert self._left is not None
        if count == 0:
            raise ConnectionError(f"it ended {self._left} bytes too early")
        self._left -= count


class Pool:
    """Connections to any number of hosts, for any number of threads.

    Args:
        settings: time limits and certificates.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, bool], list[tuple[float, _Connection]]] = {}
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        self._closed = False

    def close(self) -> None:
        """Close those that rest, and those in use when they are given back."""
        with self._lock:
            self._closed = True
            for resting in self._idle.values():
                for _, connection in resting:
                    connection.close()
            self._idle.clear()

    def send(
        self, method: str, url: Url, headers: Mapping[str, str], pieces: Iterator[bytes], *, verified: bool
    ) -> Answer:
        """One request.

        Raises:
            Unconnected, ProxyError, SourceError: it was not even sent, or not all of it.
            OSError, http.client.HTTPException: the connection broke, or nothing came for too long.
        """
        connection = self._resting(url, verified=verified) or self._connected(url, verified=verified)
        sock = connection.sock
        try:
            connection.putrequest(
                method,
                str(url) if connection.absolute else url.target,
                skip_host=True,
                skip_accept_encoding=True,
            )
            connection.putheader("Host", url.place)
            for name, value in {**headers, **connection.shown}.items():
                connection.putheader(name, value)
            connection.endheaders()
            broken = _sent(connection, pieces)
            try:
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise broken or error from None
        except BaseException:
            connection.close()
            raise
        if broken is not None:
            response.will_close = True
        return Answer(response, sock, lambda: self._give_back(url, connection, verified=verified))

    def _resting(self, url: Url, *, verified: bool) -> _Connection | None:
        while True:
            with self._lock:
                resting = self._idle.get((url.origin, verified))
                if not resting:
                    return None
                since, connection = resting.pop()
            # there is nothing to be read from one that is good, not even its end
            poll = select.poll()
            poll.register(connection.sock, select.POLLIN)
            if time.monotonic() - since < _IDLE_SECONDS and not poll.poll(0):
                return connection
            connection.close()

    def _give_back(self, url: Url, connection: _Connection, *, verified: bool) -> None:
        with self._lock:
            if not self._closed:
                resting = self._idle.setdefault((url.origin, verified), [])
                resting.append((time.monotonic(), connection))
                return
        connection.close()

    def _connected(self, url: Url, *, verified: bool) -> _Connection:
        # as Go's: never by a proxy to this machine itself
        proxy = None if is_loopback(url.place) else _proxy(url)
        within = min(_CONNECT_SECONDS, self._settings.timeout)
        shown = {}
        if proxy is not None and proxy.user:
            shown["Proxy-Authorization"] = _basic(proxy.user)
        with contextlib.ExitStack() as failed:
            try:
                sock = _socket(url, proxy, within)
                failed.callback(lambda: sock.close())  # noqa: PLW0108 - TLS is another socket
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if proxy is not None and proxy.scheme == "https":
                    sock = ssl.create_default_context().wrap_socket(sock, server_hostname=proxy.host)
                if url.scheme == "https":
                    if proxy is not None:
                        _tunnel(sock, url, shown)
                    context = self._context(url.place, verified=verified)
                    sock = context.wrap_socket(sock, server_hostname=url.host)
            except OSError as error:
                raise Unconnected from error
            sock.settimeout(self._settings.timeout)
            connection = _Connection(url.host, url.port)
            connection.sock = sock
            if proxy is not None and url.scheme == "http":
                connection.absolute, connection.shown = True, shown
            failed.pop_all()
        return connection

    def _context(self, place: str, *, verified: bool) -> ssl.SSLContext:
        with self._lock:
            context = self._contexts.get((place, verified))
            if context is None:
                context = ssl.create_default_context()
                context.set_alpn_protocols(["http/1.1"])
                if not verified:
                    context.check_hostname = False
                    context.verify_mode = ssl.CERT_NONE
                for directory in self._settings.certificates:
                    _add_certificates(context, f"{directory}/{place}")
                self._contexts[place, verified] = context
            return context


class _Connection(http.client.HTTPConnection):
    """One that is connected already, and is never connected again.

    Attributes:
        absolute: a proxy wants to see whole URLs.
        shown: the headers for it.
    """

    auto_open = 0
    absolute = False
    shown: Mapping[str, str] = {}


def _sent(connection: http.client.HTTPConnection, pieces: Iterator[bytes]) -> OSError | None:
    """Send a body; what broke off is returned: the server may have said why, and closed."""
    for piece in _read(pieces):
        # the time limit is for all of what is given to one call
        for begin in range(0, len(piece), _SENT):
            try:
                connection.send(piece[begin : begin + _SENT])
            except (BrokenPipeError, ConnectionResetError) as error:
                return error
    return None


def _read(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces; an error of theirs is none of the network's."""
    try:
        yield from pieces
    except OSError as error:
        raise SourceError from error


def _tunnel(sock: socket.socket, url: Url, shown: Mapping[str, str]) -> None:
    """Have the proxy connect to where the URL leads."""
    if isinstance(sock, ssl.SSLSocket):
        raise ProxyError("HTTPS within HTTPS is not supported: give the proxy as `http://`")
    place = f"{f'[{url.host}]' if ':' in url.host else url.host}:{url.port}"
    lines = [
        f"CONNECT {place} HTTP/1.1",
        f"Host: {place}",
        *(f"{name}: {shown[name]}" for name in shown),
        "",
        "",
    ]
    sock.sendall("\r\n".join(lines).encode())
    response = http.client.HTTPResponse(sock, method="CONNECT")
    try:
        response.begin()
    except http.client.HTTPException as error:
        raise ProxyError("it does not answer as a proxy does") from error
    finally:
        response.close()
    if not 200 <= response.status < 300:
        raise ProxyError(f"{response.status} {response.reason}".strip())


def _socket(url: Url, proxy: Url | None, within: float) -> socket.socket:
    first = proxy or url
    try:
        # as bytes: it is ASCII by now, and the codec for what is not takes milliseconds to import
        return socket.create_connection((first.host.encode(), first.port), within)  # type: ignore[arg-type]
    except OSError as error:
        if proxy is None:
            raise
        raise ProxyError(f"cannot reach `{proxy.place}`: {words(error)}") from error


def _proxy(url: Url) -> Url | None:
    """The proxy that the environment has for this URL."""
    if any(_fits(one.strip(), url) for one in _environment("no_proxy").split(",")):
        return None
    given = _environment(f"{url.scheme}_proxy") or _environment("all_proxy")
    if not given:
        return None
    try:
        return Url.parse(given if "://" in given else f"http://{given}")
    except BadAddress:
        raise ProxyError(f"`{given}` in the environment is not the address of an HTTP proxy") from None


def _fits(name: str, url: Url) -> bool:
    bare = name.rpartition("://")[2].lstrip(".")
    return name == "*" or (bool(bare) and (bare in {url.place, url.host} or url.host.endswith(f".{bare}")))


def _environment(name: str) -> str:
    return os.environ.get(name) or os.environ.get(name.upper()) or ""


def _basic(user: str) -> str:
    import base64

    return "Basic " + base64.b64encode(urllib.parse.unquote_to_bytes(user)).decode()


def _add_certificates(context: ssl.SSLContext, directory: str) -> None:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    for name in names:
        path = f"{directory}/{name}"
        try:
            if name.endswith(".crt"):
                context.load_verify_locations(path)
            elif name.endswith(".cert"):
                context.load_cert_chain(path, path.removesuffix(".cert") + ".key")
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(f"cannot use certificate `{path}`: {words(error)}") from error
