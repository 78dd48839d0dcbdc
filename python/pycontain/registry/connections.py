"""Connections of HTTP/1.1: made directly or by a proxy, and kept for the next request to the same place.

The standard library's `http.client` speaks; it takes a fifth of the processor that larger clients take.
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
from pycontain.registry.answers import Answer, Response
from pycontain.registry.endpoints import is_loopback
from pycontain.registry.received import shown
from pycontain.registry.retries import Stopped
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pycontain.registry.settings import Settings

__all__ = ["BadAddress", "Pool", "ProxyError", "SourceError", "Unconnected", "Url", "words"]

_CONNECT_SECONDS = 15.0
_IDLE_SECONDS = 5.0  # servers and whatever lies between forget a connection that rests
_SENT = 64 << 10
_LONGEST_REASON = 300
_LONGEST_HOST = 255
_PORTS = {"http": 80, "https": 443}
# what may stand in a target as it is; the rest, if a server sends it in a `Location`, is escaped
_SAFE = "!#$%&'()*+,/:;=?@[]~"


def words(error: BaseException) -> str:
    """What an error says, as the end of a line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = shown(" ".join((text or type(error).__name__).split()).rstrip("."), _LONGEST_REASON)
    # of a protocol it may be what the server sent
    return text[:1].lower() + text[1:] if isinstance(error, OSError) else text


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
            raise BadAddress(shown(text)) from error
        if not 0 < len(host) <= _LONGEST_HOST or not host.isprintable() or " " in host:
            raise BadAddress(shown(text))
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
            raise BadAddress(shown(reference)) from error

    def __str__(self) -> str:
        return self.origin + self.target


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
        self._used: set[socket.socket] = set()
        self._closed = self._cut = False

    def close(self) -> None:
        """Close those that rest, and those in use when they are given back."""
        with self._lock:
            self._closed = True
            for resting in self._idle.values():
                for _, connection in resting:
                    connection.close()
            self._idle.clear()

    def cut(self) -> None:
        """End the connections in use, whatever their threads wait for; there will be no others."""
        with self._lock:
            self._cut = True
            for sock in self._used:
                with contextlib.suppress(OSError):
                    # not TLS's own, which would take the rest of what is there for plain text
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def send(
        self, method: str, url: Url, headers: Mapping[str, str], pieces: Iterator[bytes], *, verified: bool
    ) -> Answer:
        """One request.

        Raises:
            Unconnected, ProxyError, SourceError: it was not even sent, or not all of it.
            OSError, http.client.HTTPException: the connection broke, or nothing came for too long.
            Stopped: `cut` was called.
        """
        connection = self._resting(url, verified=verified) or self._connected(url, verified=verified)
        sock = connection.sock
        try:
            self._use(sock)
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
            self._end(sock, connection)
            raise
        assert isinstance(response, Response)
        if broken is not None:
            response.will_close = True

        def done(again: bool) -> None:
            self._end(sock, response)
            if again:
                self._give_back(url, connection, verified=verified)
            else:
                sock.close()

        return Answer(response, sock, done)

    def _use(self, sock: socket.socket) -> None:
        with self._lock:
            if self._cut:
                raise Stopped
            self._used.add(sock)

    def _end(self, sock: socket.socket, user: _Connection | Response) -> None:
        """Close what uses a socket, which `cut` is not to meet: its number may be another's at once."""
        with self._lock:
            self._used.discard(sock)
            user.close()

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
    response_class = Response
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


def _tunnel(sock: socket.socket, url: Url, headers: Mapping[str, str]) -> None:
    """Have the proxy connect to where the URL leads."""
    if isinstance(sock, ssl.SSLSocket):
        raise ProxyError("HTTPS within HTTPS is not supported: give the proxy as `http://`")
    place = f"{f'[{url.host}]' if ':' in url.host else url.host}:{url.port}"
    lines = [
        f"CONNECT {place} HTTP/1.1",
        f"Host: {place}",
        *(f"{name}: {headers[name]}" for name in headers),
        "",
        "",
    ]
    sock.sendall("\r\n".join(lines).encode())
    response = Response(sock, method="CONNECT")
    try:
        response.begin()
    except http.client.HTTPException as error:
        raise ProxyError("it does not answer as a proxy does") from error
    finally:
        response.close()
    if not 200 <= response.status < 300:
        raise ProxyError(shown(f"{response.status} {response.reason}".strip()))


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
