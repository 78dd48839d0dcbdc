"""One repository in its registry, after the OCI distribution specification: manifests, blobs, tags.

A pull asks the mirrors first, in their order, and the registry last; a push speaks with the registry alone.
Every document is compared with the digest that it was asked for by, before anyone sees it.
"""

from __future__ import annotations

import contextlib
import hashlib

from pycontain.errors import BadDigest, ImageNotFound, RegistryError, RegistryUnreachable
from pycontain.registry.lists import listed, pages
from pycontain.registry.received import number, shown
from pycontain.registry.retries import Passing, Retries
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import TypeVar

    from pycontain.registry.authentication import Authenticator
    from pycontain.registry.endpoints import Endpoint
    from pycontain.registry.transport import Body, Exchange, Reply, Transport

    T = TypeVar("T")

__all__ = ["Document", "Repository", "request"]

LARGEST_MANIFEST = 4 << 20
_LARGEST_PAGE = 16 << 20
_MISSING = 404


class Document(Value):
    """A manifest or index as the registry has it.

    Attributes:
        digest: `sha256:<hex>` of `data`; checked.
        media_type: as the registry says; may be empty.
        data: to the byte.
    """

    __slots__ = ("digest", "media_type", "data")  # noqa: RUF023 - the constructor's order
    digest: str
    media_type: str
    data: bytes

    def __init__(self, digest: str, media_type: str, data: bytes) -> None:
        self._set(digest=digest, media_type=media_type, data=data)


class Repository:
    """One repository. Made by `Client`; its methods may be called by several threads."""

    def __init__(
        self,
        transport: Transport,
        authenticator: Authenticator,
        endpoints: tuple[Endpoint, ...],
        path: str,
        actions: str = "pull",
    ) -> None:
        self.transport = transport
        self.authenticator = authenticator
        self.path = path
        self._endpoints = endpoints
        self._actions = actions
        self._silent: set[Endpoint] = set()

    @property
    def endpoint(self) -> Endpoint:
        """The registry itself."""
        return self._endpoints[-1]

    def url(self, endpoint: Endpoint, rest: str) -> str:
        """Of something in this repository."""
        return f"{self.transport.base(endpoint)}/v2/{endpoint.prefix}{self.path}/{rest}"

    def scope(self, endpoint: Endpoint, also: str | None = None) -> str:
        """What a token has to be good for; `also`: to read from another repository."""
        own = f"repository:{endpoint.prefix}{self.path}:{self._actions}"
        return own if also is None else f"{own} repository:{also}:pull"

    def manifest(self, reference: str, accept: Iterable[str]) -> Document:
        """The manifest or index of a tag or digest.

        Raises:
            ImageNotFound: there is none.
            BadDigest: what came is not what the digest promises.
        """
        headers = {"Accept": ", ".join(accept)}

        def ask(endpoint: Endpoint) -> Document:
            url = self.url(endpoint, f"manifests/{reference}")
            reply = self._get(
                endpoint, url, headers, LARGEST_MANIFEST, f"manifest of `{self._name(reference)}`"
            )
            return _checked(reply, reference, self._name(reference))

        return self._first(ask, self._name(reference))

    def manifest_digest(self, reference: str, accept: Iterable[str]) -> str | None:
        """The digest that the registry itself gives for a tag; None: it has no such tag, or does not tell."""
        reply = self.request(
            "HEAD",
            f"manifests/{reference}",
            headers={"Accept": ", ".join(accept)},
            expected={200, _MISSING},
        )
        return reply.headers.get("docker-content-digest") if reply.status == 200 else None

    def blob(self, digest: str, size: int) -> bytes:
        """A small blob, such as a configuration.

        Raises:
            BadDigest: what came is not what size and digest promise.
        """
        what = f"blob {digest} of `{self.path}`"

        def ask(endpoint: Endpoint) -> bytes:
            reply = self._get(endpoint, self.url(endpoint, f"blobs/{digest}"), {}, size, what)
            if len(reply.body) != size or _digest(reply.body) != digest:
                raise BadDigest(f"{what} is not what its digest promises: {_digest(reply.body)}")
            return reply.body

        return self._first(ask, what)

    @contextlib.contextmanager
    def download(self, digest: str, offset: int = 0) -> Iterator[tuple[int, int | None, Exchange]]:
        """The bytes of a blob from `offset` on: where they begin, how many are announced, and the answer.

        They begin at 0 where the registry does not know ranges. Nothing is tried again here.

        Raises:
            Passing: the connection broke, or the registry is busy.
            RegistryError: the registry does not give it.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with contextlib.ExitStack() as stack:

            def ask(endpoint: Endpoint) -> Exchange:
                exchange = stack.enter_context(
                    self._open(endpoint, "GET", self.url(endpoint, f"blobs/{digest}"), headers, None)
                )
                if exchange.status not in {200, 206}:
                    raise _error(exchange, "GET")
                return exchange

            exchange = self._first(ask, f"blob {digest} of `{self.path}`", patient=False)
            begin = offset if exchange.status == 206 else 0
            if exchange.status == 206:
                _check_range(exchange, offset)
            yield begin, number(exchange.headers.get("content-length", "")), exchange

    def tags(self) -> list[str]:
        """All tags, sorted.

        Raises:
            ImageNotFound: there is no such repository.
        """

        def ask(endpoint: Endpoint) -> list[str]:
            what = f"list of tags of `{self.path}`"
            found: set[str] = set()
            for reply in pages(
                self.url(endpoint, "tags/list"),
                lambda url: self._get(endpoint, url, {}, _LARGEST_PAGE, what),
            ):
                found.update(listed(reply, "tags", str))
            return sorted(found)

        return self._first(ask, self.path)

    def exists(self, digest: str) -> bool:
        """Whether the registry itself has this blob in this repository."""
        reply = self.request("HEAD", f"blobs/{digest}", expected={200, _MISSING})
        return reply.status == 200

    def put_manifest(self, reference: str, media_type: str, data: bytes) -> str:
        """Give a manifest a tag; returns its digest.

        Raises:
            BadDigest: the registry has something else now.
        """
        reply = self.request(
            "PUT",
            f"manifests/{reference}",
            headers={"Content-Type": media_type},
            body=data,
            expected={200, 201, 202},
        )
        digest = _digest(data)
        told = reply.headers.get("docker-content-digest", digest)
        if told != digest:
            raise BadDigest(
                f"the registry has `{self._name(reference)}` as {shown(told)}, it was sent as {digest}"
            )
        return digest

    def request(
        self,
        method: str,
        rest: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        also: str | None = None,
        expected: Iterable[int] = (200,),
        limit: int = LARGEST_MANIFEST,
    ) -> Reply:
        """One request to the registry itself, tried again where that may help.

        Args:
            method: `GET` and so on.
            rest: below the repository, or a whole URL.
            headers: as they are.
            body: as it is.
            also: another repository that it reads.
            expected: statuses that are no errors.
            limit: bytes of the answer.
        """
        endpoint = self.endpoint
        return request(
            self.transport,
            self.authenticator,
            endpoint,
            self.scope(endpoint, also),
            method,
            rest if "://" in rest else self.url(endpoint, rest),
            headers=headers,
            body=body,
            expected=expected,
            limit=limit,
        )

    def request_once(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body,
        expected: Iterable[int],
    ) -> Reply:
        """The same without another try.

        Raises:
            Passing: another may help.
        """
        scope = self.scope(self.endpoint)
        with opened(
            self.transport, self.authenticator, self.endpoint, scope, method, url, headers, body
        ) as exchange:
            if exchange.status in expected:
                return exchange.reply(LARGEST_MANIFEST, "an answer")
            raise _error(exchange, method)

    def _name(self, reference: str) -> str:
        return f"{self.path}{'@' if ':' in reference else ':'}{reference}"

    def _open(
        self, endpoint: Endpoint, method: str, url: str, headers: Mapping[str, str], body: Body
    ) -> contextlib.AbstractContextManager[Exchange]:
        return opened(
            self.transport, self.authenticator, endpoint, self.scope(endpoint), method, url, headers, body
        )

    def _get(self, endpoint: Endpoint, url: str, headers: Mapping[str, str], limit: int, what: str) -> Reply:
        return request(
            self.transport,
            self.authenticator,
            endpoint,
            self.scope(endpoint),
            "GET",
            url,
            headers=headers,
            limit=limit,
            what=what,
            # of a mirror little is lost: the registry itself comes next
            retries=None if endpoint is self.endpoint else Retries(1, self.transport.stop),
        )

    def _first(self, ask: Callable[[Endpoint], T], what: str, *, patient: bool = True) -> T:
        """The answer of the first endpoint that has one; what the registry itself says is what counts."""
        for endpoint in self._endpoints[:-1]:
            if endpoint in self._silent:
                continue
            try:
                return ask(endpoint)
            except (Passing, RegistryUnreachable):
                self._silent.add(endpoint)
            except RegistryError:
                pass
        try:
            return ask(self.endpoint)
        except Passing as passing:
            if not patient:
                raise
            raise passing.error from passing
        except _NotThereError as error:
            raise ImageNotFound(
                f"no `{what}` in registry `{self.endpoint.registry}`",
                hint="check its name; a private one needs `pycontain login` first",
            ) from error


class _NotThereError(RegistryError):
    """A 404."""


@contextlib.contextmanager
def opened(
    transport: Transport,
    authenticator: Authenticator,
    endpoint: Endpoint,
    scope: str,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: Body,
) -> Iterator[Exchange]:
    """One request with what the endpoint wants to see of us; a 401 is answered once."""
    own = url.startswith(f"{transport.base(endpoint)}/")  # an upload may go on at another host
    authorization = authenticator.header(endpoint, scope) if own else None
    for again in (False, True):
        sent = dict(headers) if authorization is None else {**headers, "Authorization": authorization}
        with transport.open(method, url, sent, body, verified=endpoint.verified) as exchange:
            if exchange.status != 401 or not (own and exchange.own):
                yield exchange
                return
            if again:
                raise authenticator.refused(endpoint, exchange.reason())
            challenges = exchange.challenges
        authorization = authenticator.challenged(endpoint, scope, challenges, authorization)


def request(
    transport: Transport,
    authenticator: Authenticator,
    endpoint: Endpoint,
    scope: str,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: Body = None,
    expected: Iterable[int] = (200,),
    limit: int = LARGEST_MANIFEST,
    what: str = "an answer",
    retries: Retries | None = None,
) -> Reply:
    """One request whose answer is read in full, tried again where that may help.

    Raises:
        RegistryError: the answer is none of the `expected`.
    """
    retries = retries or transport.retries()
    while True:
        try:
            with opened(
                transport, authenticator, endpoint, scope, method, url, headers or {}, body
            ) as exchange:
                if exchange.status in expected:
                    return exchange.reply(limit, what)
                raise _error(exchange, method)
        except Passing as passing:
            retries.wait(passing)


def _error(exchange: Exchange, method: str) -> Exception:
    error = exchange.failure(method)
    if exchange.status == _MISSING and isinstance(error, RegistryError):
        return _NotThereError(str(error), hint=error.hint)
    return error


def _check_range(exchange: Exchange, offset: int) -> None:
    told = exchange.headers.get("content-range", "")
    if not told.startswith(f"bytes {offset}-"):
        raise RegistryError(
            f"`{shown(exchange.url)}` answers a request for byte {offset} with `{shown(told)}`"
        )


def _checked(reply: Reply, reference: str, name: str) -> Document:
    digest = _digest(reply.body)
    promised = reference if ":" in reference else reply.headers.get("docker-content-digest", digest)
    if promised != digest:
        raise BadDigest(f"manifest of `{name}` has digest {digest}, the registry promises {shown(promised)}")
    media_type = reply.headers.get("content-type", "").partition(";")[0].strip()
    return Document(digest, media_type, reply.body)


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
