"""HTTP to registries: connections, redirects, time limits, and failures told as errors.

A request goes to one endpoint. Where that redirects to another host, as registries do to where they keep
blobs, no credentials go along, and no answer of that host is taken for a challenge.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import threading

import httpx2

from pycontain.errors import RateLimited, RegistryError, RegistryUnreachable, Unauthorized
from pycontain.registry.endpoints import HUB_HOSTS, Endpoint, is_loopback
from pycontain.registry.retries import Passing, Retries, seconds_of
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pycontain.registry.settings import Settings

    Body = bytes | Callable[[], Iterator[bytes]] | None

__all__ = ["Body", "Exchange", "Reply", "Transport", "failure", "login_command"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 10
_PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_REASON = 300
_LONGEST_ERROR = 64 << 10
_CONNECT_SECONDS = 15.0
_FIRST_TRIES = 2


class Reply(Value):
    """An answer that was read in full.

    Attributes:
        status: 200 and so on.
        headers: by lower-case name.
        body: bytes.
        url: what answered in the end.
    """

    __slots__ = ("status", "headers", "body", "url")  # noqa: RUF023 - the constructor's order
    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, url: str) -> None:
        self._set(status=status, headers=headers, body=body, url=url)


class Exchange:
    """An answer whose body is still to come.

    Attributes:
        status, headers: as in `Reply`.
        url: what answered in the end.
        own: whether that was the host that was asked, so that its challenges count.
    """

    def __init__(self, response: httpx2.Response, asked: str, settings: Settings, *, own: bool) -> None:
        self._response = response
        self._asked = asked
        self._settings = settings
        self.status = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.challenges = tuple(response.headers.get_list("www-authenticate"))
        self.url = str(response.url)
        self.own = own

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes.

        Raises:
            Passing: the connection broke, or nothing came for too long.
        """
        with _told(self._asked, self._settings):
            yield from self._response.iter_raw()

    def read(self, limit: int, what: str) -> bytes:
        """The body, of at most `limit` bytes.

        Raises:
            RegistryError: it is longer.
            Passing: as `chunks`.
        """
        if self._response.request.method == "HEAD":
            return b""
        announced = self.headers.get("content-length", "")
        data = bytearray()
        if not (announced.isdigit() and int(announced) > limit):
            for chunk in self.chunks():
                data += chunk
                if len(data) > limit:
                    break
            else:
                return bytes(data)
        raise RegistryError(
            f"{what} from `{_host(self.url)}` has more than {limit} bytes, which is too large"
        )

    def reply(self, limit: int, what: str) -> Reply:
        """All of it."""
        return Reply(self.status, self.headers, self.read(limit, what), self.url)

    def failure(self, method: str) -> Passing | RegistryError:
        """The error that this answer is."""
        return failure(self.status, self.headers, self.reason(), method, self.url)

    def reason(self) -> str:
        """What the answer, an error, says of why; may be empty."""
        with contextlib.suppress(Passing, RegistryError):
            return _reason(self.read(_LONGEST_ERROR, "an error"))
        return ""


class Transport:
    """Connections to any number of hosts, for any number of threads.

    Args:
        settings: time limits, certificates, what may be insecure.
        stop: set when nothing is worth waiting for any more.
    """

    def __init__(self, settings: Settings, stop: threading.Event | None = None) -> None:
        self.settings = settings
        self.stop = stop or threading.Event()
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, bool], httpx2.Client] = {}
        self._schemes: dict[Endpoint, str] = {}
        self._answered: set[str] = set()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def retries(self) -> Retries:
        """Tries for one thing."""
        return Retries(self.settings.retries, self.stop)

    def base(self, endpoint: Endpoint) -> str:
        """`https://HOST`, or `http://` where that is allowed and what the host speaks."""
        if len(endpoint.schemes) == 1:
            return f"{endpoint.schemes[0]}://{endpoint.host}"
        with self._lock:
            scheme = self._schemes.get(endpoint)
        if scheme is None:
            scheme = self._probed(endpoint)
            with self._lock:
                self._schemes[endpoint] = scheme
        return f"{scheme}://{endpoint.host}"

    @contextlib.contextmanager
    def open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body = None,
        *,
        verified: bool = True,
    ) -> Iterator[Exchange]:
        """One request, redirects followed.

        Raises:
            Passing: no connection, or a broken one.
            RegistryError: a certificate that is not valid, or a redirect that is not to be followed.
        """
        sent = {"Accept-Encoding": "identity", "User-Agent": _user_agent(), **headers}
        asked = httpx2.URL(url)
        target, own = asked, True
        for _ in range(_MOST_REDIRECTS):
            client = self._client(target, verified=verified or not own)
            content = body() if callable(body) else body
            response = self._sent(client, client.build_request(method, target, headers=sent, content=content))
            try:
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    yield Exchange(response, str(target), self.settings, own=own)
                    return
                following = target.join(response.headers["location"])
            finally:
                response.close()
            if following.scheme == "http" and target.scheme == "https" and not self._may_be_plain(following):
                raise RegistryError(
                    f"registry `{asked.netloc.decode()}` redirects to `http://{following.netloc.decode()}`,"
                    " away from HTTPS, which is not followed"
                )
            if _origin(following) != _origin(asked):
                own = False
                sent = {name: value for name, value in sent.items() if name.lower() != "authorization"}
            target = following
        raise RegistryError(f"registry `{asked.netloc.decode()}` redirects more than {_MOST_REDIRECTS} times")

    def _sent(self, client: httpx2.Client, request: httpx2.Request) -> httpx2.Response:
        host = request.url.netloc.decode()
        try:
            with _told(str(request.url), self.settings):
                response = client.send(request, stream=True)
        except Passing as passing:
            # one that has never answered is rather a wrong name than a registry in trouble
            if host not in self._answered:
                passing.tries = _FIRST_TRIES
            raise
        self._answered.add(host)
        return response

    def _may_be_plain(self, url: httpx2.URL) -> bool:
        host = url.netloc.decode()
        return is_loopback(host) or host in self.settings.insecure

    def _probed(self, endpoint: Endpoint) -> str:
        """Which of its protocols an endpoint speaks; it is asked without credentials."""
        retries = self.retries()
        while True:
            passing: Passing | None = None
            for scheme in endpoint.schemes:
                try:
                    url = f"{scheme}://{endpoint.host}/v2/"
                    with self.open("GET", url, {}, verified=endpoint.verified) as exchange:
                        # a server of HTTPS answers plain HTTP with a 400 of its own
                        if scheme == "http" and exchange.status == 400:
                            continue
                        return scheme
                except Passing as failure:
                    passing = passing or failure
            if passing is None:
                return endpoint.schemes[0]
            retries.wait(passing)

    def _client(self, url: httpx2.URL, *, verified: bool) -> httpx2.Client:
        host = url.netloc.decode()
        key = (f"{url.scheme}://{host}", verified)
        with self._lock:
            client = self._clients.get(key)
            if client is None:
                timeout = httpx2.Timeout(
                    self.settings.timeout, connect=min(_CONNECT_SECONDS, self.settings.timeout), pool=None
                )
                client = self._clients[key] = httpx2.Client(
                    verify=self._context(host, verified=verified) if url.scheme == "https" else False,
                    # as Go's: never by a proxy to this machine itself
                    trust_env=not is_loopback(host),
                    timeout=timeout,
                    follow_redirects=False,
                )
            return client

    def _context(self, host: str, *, verified: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if not verified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for directory in self.settings.certificates:
            _add_certificates(context, f"{directory}/{host}")
        return context


def failure(
    status: int, headers: Mapping[str, str], reason: str, method: str, url: str
) -> Passing | RegistryError:
    """The error that an answer is, or what may pass."""
    import http

    try:
        phrase = http.HTTPStatus(status).phrase.lower()
    except ValueError:
        phrase = "unknown"
    parts = httpx2.URL(url)
    why = f": {reason}" if reason else ""
    message = (
        f"registry `{parts.netloc.decode()}` answered {status} ({phrase}) to `{method} {parts.path}`{why}"
    )
    if status in {401, 403}:
        return Unauthorized(
            message, hint=f"`{login_command(parts.netloc.decode())}` with an account that may"
        )
    after = seconds_of(headers.get("retry-after"))
    if status == 429:
        wait = f"try again in {after:.0f} s" if after else "try again later"
        return Passing(RateLimited(message, hint=f"{wait}, or log in, which often has higher limits"), after)
    error = RegistryError(message)
    return Passing(error, after) if status in _PASSING_STATUS else error


def login_command(host: str) -> str:
    """What to type to log in there."""
    return "pycontain login" if host in HUB_HOSTS else f"pycontain login {host}"


@contextlib.contextmanager
def _told(url: str, settings: Settings) -> Iterator[None]:
    """Failures of the connection, as what may pass; those of certificates, as what does not."""
    host = _host(url)
    try:
        yield
    except (httpx2.ReadTimeout, httpx2.WriteTimeout) as error:
        raise Passing(
            RegistryUnreachable(
                f"connection to registry `{host}` stalled: nothing for {settings.timeout:g} s",
                hint="try again: what is complete is kept; `timeout` in registries.toml gives it more time",
            )
        ) from error
    except httpx2.ConnectTimeout as error:
        raise Passing(RegistryUnreachable(f"cannot reach registry `{host}`: no answer")) from error
    except httpx2.ConnectError as error:
        cause = _os_error(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise RegistryError(
                f"registry `{host}` has a certificate that is not valid: {cause.verify_message}",
                hint=f"put the CA's certificate into /etc/docker/certs.d/{host}/ca.crt",
            ) from error
        raise Passing(_unreachable(host, url, cause or error)) from error
    except httpx2.ProxyError as error:
        raise Passing(
            RegistryUnreachable(f"the proxy refuses to reach registry `{host}`: {error}")
        ) from error
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.LocalProtocolError) as error:
        raise RegistryError(f"registry `{host}` sent or has an address that is not valid: {error}") from error
    except httpx2.TransportError as error:
        raise Passing(
            RegistryUnreachable(
                f"connection to registry `{host}` broke off: {_words(_os_error(error) or error)}",
                hint="try again: layers that are complete are kept as long as something needs them",
            )
        ) from error


def _unreachable(host: str, url: str, error: BaseException) -> RegistryUnreachable:
    hint = f"is `{host}` its address, and does it run?"
    if url.startswith("https:") and isinstance(error, ssl.SSLError):
        hint = f'if it speaks plain HTTP, allow that in registries.toml: [registry."{host}"] insecure = true'
    return RegistryUnreachable(f"cannot reach registry `{host}`: {_words(error)}", hint=hint)


def _os_error(error: BaseException) -> OSError | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        words = error.strerror
    else:
        words = str(error) or type(error).__name__
    words = " ".join(words.split())[:_LONGEST_REASON].rstrip(".")
    return words[:1].lower() + words[1:]


def _reason(body: bytes) -> str:
    """The messages in a registry's error document; empty where there is none. Printable, in one line."""
    import json

    try:
        document = json.loads(body)
        listed = document.get("errors") or [document]
        texts = [str(one.get("message") or one.get("details") or one.get("code") or "") for one in listed]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return ""
    text = ", ".join(dict.fromkeys(filter(None, texts)))
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:_LONGEST_REASON]


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
            raise RegistryError(f"cannot use certificate `{path}`: {_words(error)}") from error


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _host(url: str) -> str:
    return httpx2.URL(url).netloc.decode()


def _user_agent() -> str:
    from pycontain import __version__

    return f"pycontain/{__version__} linux/{os.uname().machine}"
