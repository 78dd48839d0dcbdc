"""HTTP to registries: connections, redirects, time limits, and failures told as errors.

A request goes to one endpoint. Where that redirects to another host, as registries do to where they keep
blobs, no credentials go along, and no answer of that host is taken for a challenge.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import threading
import time

from pycontain.errors import RateLimited, RegistryError, RegistryUnreachable, Unauthorized
from pycontain.registry.connections import BadAddress, Pool, ProxyError, SourceError, Unconnected, Url, words
from pycontain.registry.endpoints import HUB_HOSTS, Endpoint, is_loopback
from pycontain.registry.received import number, shown
from pycontain.registry.retries import Passing, Retries, seconds_of
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pycontain.registry.answers import Answer
    from pycontain.registry.settings import Settings

    Body = bytes | Callable[[], Iterator[bytes]] | None

__all__ = ["Body", "Exchange", "Reply", "Transport", "failure", "login_command"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 10
_PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_REASON = 300
_WITH_BODY = frozenset({"PATCH", "POST", "PUT"})
_LONGEST_ERROR = 64 << 10
_FIRST_TRIES = 2
_SLOWEST = 4 << 10  # bytes per second of a document, once it has had the time of one that stalls


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

    def __init__(self, answer: Answer, method: str, url: Url, settings: Settings, *, own: bool) -> None:
        self._answer = answer
        self._method = method
        self._place = url
        self._settings = settings
        self.status = answer.status
        self.headers = answer.headers
        self.challenges = answer.all_of("www-authenticate")
        self.url = str(url)
        self.own = own

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes.

        Raises:
            Passing: the connection broke, or nothing came for too long.
        """
        while True:
            with _told(self._place, self._settings):
                chunk = self._answer.read()
            if not chunk:
                return
            yield chunk

    def pour(self, pipe: int, skip: int = 0) -> Iterator[int]:
        """Write the body into a pipe as it comes, without the first `skip` bytes; how many each time.

        Raises:
            Passing: as `chunks`.
            BrokenPipeError: nobody reads from the pipe any more.
        """
        for chunk in self.chunks():
            kept = memoryview(chunk)[skip:]
            skip -= len(chunk) - len(kept)
            count = len(kept)
            while kept:
                kept = kept[os.write(pipe, kept) :]
            yield count
            # from here on Python need not see the bytes
            while skip == 0 and self._answer.can_splice:
                with _told(self._place, self._settings):
                    count = self._answer.splice(pipe)
                if count == 0:
                    raise BrokenPipeError
                yield count

    def read(self, limit: int, what: str) -> bytes:
        """The body, of at most `limit` bytes.

        Raises:
            RegistryError: it is longer.
            Passing: as `chunks`, or it comes by single bytes.
        """
        if self._method == "HEAD":
            return b""
        announced = number(self.headers.get("content-length", ""))
        data = bytearray()
        begun = time.monotonic()
        if announced is None or announced <= limit:
            for chunk in self.chunks():
                data += chunk
                late = time.monotonic() - begun - self._settings.timeout
                if len(data) < late * _SLOWEST:
                    raise Passing(
                        RegistryUnreachable(
                            f"{what} from `{self._place.place}` comes too slowly",
                            hint="try again: `timeout` in registries.toml gives it more time",
                        )
                    )
                if len(data) > limit:
                    break
            else:
                return bytes(data)
        raise RegistryError(
            f"{what} from `{self._place.place}` has more than {limit} bytes, which is too large"
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
        self._pool = Pool(settings)
        self._schemes: dict[Endpoint, str] = {}
        self._answered: set[str] = set()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def give_up(self) -> None:
        """Set `stop`, and end whatever waits for a server."""
        self.stop.set()
        self._pool.cut()

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
        leaves_host: bool = True,
    ) -> Iterator[Exchange]:
        """One request, redirects followed.

        Args:
            method: `GET` and so on.
            url: absolute.
            headers: as they are.
            body: all of it, or what makes its pieces, whose headers have the `Content-Length`.
            verified: whether the certificate of the host that is asked must be valid.
            leaves_host: whether redirects to other hosts are followed.

        Raises:
            Passing: no connection, or a broken one.
            RegistryError: a certificate that is not valid, or a redirect that is not to be followed.
        """
        sent = {"Accept-Encoding": "identity", "User-Agent": _user_agent(), **headers}
        if isinstance(body, bytes) or (body is None and method in _WITH_BODY):
            sent["Content-Length"] = str(len(body or b""))
        with _told(url, self.settings):
            asked = target = Url.parse(url)
        own = True
        for _ in range(_MOST_REDIRECTS):
            pieces = body() if callable(body) else iter([body] if body else [])
            answer = self._sent(method, target, sent, pieces, verified=verified or not own)
            try:
                location = answer.headers.get("location")
                if answer.status not in _REDIRECTS or location is None:
                    yield Exchange(answer, method, target, self.settings, own=own)
                    return
                with _told(target, self.settings):
                    following = target.join(location)
            finally:
                answer.close()
            if following.scheme == "http" and target.scheme == "https" and not self._may_be_plain(following):
                raise RegistryError(
                    f"registry `{asked.place}` redirects to `{shown(following.origin)}`,"
                    " away from HTTPS, which is not followed"
                )
            if following.origin != asked.origin:
                if not leaves_host:
                    raise RegistryError(
                        f"`{asked.place}` redirects to `{shown(following.origin)}`,"
                        " where a login is not to be sent"
                    )
                own = False
                sent = {name: value for name, value in sent.items() if name.lower() != "authorization"}
            target = following
        raise RegistryError(f"registry `{asked.place}` redirects more than {_MOST_REDIRECTS} times")

    def _sent(
        self, method: str, url: Url, headers: Mapping[str, str], pieces: Iterator[bytes], *, verified: bool
    ) -> Answer:
        try:
            with _told(url, self.settings):
                answer = self._pool.send(method, url, headers, pieces, verified=verified)
        except Passing as passing:
            # one that has never answered is rather a wrong name than a registry in trouble
            if url.place not in self._answered:
                passing.tries = _FIRST_TRIES
            raise
        except SourceError as error:
            raise error.__cause__ or error from None
        self._answered.add(url.place)
        return answer

    def _may_be_plain(self, url: Url) -> bool:
        return is_loopback(url.place) or url.place in self.settings.insecure

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


def failure(
    status: int, headers: Mapping[str, str], reason: str, method: str, url: str
) -> Passing | RegistryError:
    """The error that an answer is, or what may pass."""
    try:
        phrase = http.HTTPStatus(status).phrase.lower()
    except ValueError:
        phrase = "unknown"
    asked = Url.parse(url)
    path = asked.target.partition("?")[0]
    why = f": {reason}" if reason else ""
    message = f"registry `{asked.place}` answered {status} ({phrase}) to `{method} {shown(path)}`{why}"
    if status in {401, 403}:
        return Unauthorized(message, hint=f"`{login_command(asked.place)}` with an account that may")
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
def _told(url: Url | str, settings: Settings) -> Iterator[None]:
    """Failures of the connection, as what may pass; those of certificates, as what does not."""
    host = shown(url) if isinstance(url, str) else url.place
    try:
        yield
    except Unconnected as error:
        cause = error.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise RegistryError(
                f"registry `{host}` has a certificate that is not valid: {cause.verify_message}",
                hint=f"put the CA's certificate into /etc/docker/certs.d/{host}/ca.crt",
            ) from error
        raise Passing(_unreachable(host, str(url), cause or error)) from error
    except ProxyError as error:
        raise Passing(
            RegistryUnreachable(
                f"cannot reach registry `{host}` by the proxy: {error}",
                hint="HTTPS_PROXY, HTTP_PROXY or ALL_PROXY in the environment names it",
            )
        ) from error
    except (BadAddress, http.client.InvalidURL) as error:
        raise RegistryError(f"registry `{host}` sent or has an address that is not valid: {error}") from error
    except TimeoutError as error:
        raise Passing(
            RegistryUnreachable(
                f"connection to registry `{host}` stalled: nothing for {settings.timeout:g} s",
                hint="try again: what is complete is kept; `timeout` in registries.toml gives it more time",
            )
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise Passing(
            RegistryUnreachable(
                f"connection to registry `{host}` broke off: {words(error)}",
                hint="try again: layers that are complete are kept as long as something needs them",
            )
        ) from error


def _unreachable(host: str, url: str, error: BaseException) -> RegistryUnreachable:
    if isinstance(error, TimeoutError):
        return RegistryUnreachable(f"cannot reach registry `{host}`: no answer")
    hint = f"is `{host}` its address, and does it run?"
    if url.startswith("https:") and isinstance(error, ssl.SSLError):
        hint = f'if it speaks plain HTTP, allow that in registries.toml: [registry."{host}"] insecure = true'
    return RegistryUnreachable(f"cannot reach registry `{host}`: {words(error)}", hint=hint)


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
    return shown(" ".join(text.split()), _LONGEST_REASON)


def _user_agent() -> str:
    from pycontain import __version__

    return f"pycontain/{__version__} linux/{os.uname().machine}"
