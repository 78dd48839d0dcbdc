"""Who we are, told to a registry in the way it asks for: not at all, by name and password, or by a token.

    request -> 401, WWW-Authenticate: Bearer realm="https://auth…",service="…",scope="…"
    GET realm?service=…&scope=…  (name and password, if there are any)  -> {"token": …, "expires_in": …}
    request, Authorization: Bearer <token>

A token is good for its scope, for minutes, and is kept for as long. Credentials go to the registry that they
are for and to the realm that it names, over HTTPS unless the registry itself is plain HTTP.
"""

from __future__ import annotations

import threading
import time
import urllib.parse

from pycontain.errors import RegistryError, Unauthorized
from pycontain.registry.connections import BadAddress, Url
from pycontain.registry.received import shown
from pycontain.registry.retries import Passing
from pycontain.registry.transport import failure, login_command
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pycontain.registry.credentials import Credentials
    from pycontain.registry.endpoints import Endpoint
    from pycontain.registry.transport import Reply, Transport

__all__ = ["Authenticator", "Challenge", "parse_challenges"]

_LONGEST_ANSWER = 1 << 20
_LEAST_SECONDS = 60  # a token without `expires_in` lives this long, says the specification
_SAFETY_SECONDS = 10
_CLIENT = "pycontain"


class Challenge(Value):
    """One way in which a registry lets itself be convinced.

    Attributes:
        scheme: `basic` or `bearer`, or what we do not know; lower case.
        parameters: `realm`, `service`, `scope`; names in lower case.
    """

    __slots__ = ("scheme", "parameters")  # noqa: RUF023 - the constructor's order
    scheme: str
    parameters: Mapping[str, str]

    def __init__(self, scheme: str, parameters: Mapping[str, str]) -> None:
        self._set(scheme=scheme, parameters=dict(parameters))

    def __hash__(self) -> int:
        return hash((self.scheme, tuple(sorted(self.parameters.items()))))


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The challenges in headers `WWW-Authenticate` (RFC 9110, 11.6.1); what is not valid ends its header.

    >>> parse_challenges(['Bearer realm="https://a/t",service="r"', "Basic realm=x"])
    [Challenge(scheme='bearer', parameters={'realm': 'https://a/t', 'service': 'r'}), …]
    """
    import re

    token = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - of the grammar of HTTP
    parameter = re.compile(rf'[\s,]*({token})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({token}))\s*(?=,|$)')
    scheme = re.compile(rf"[\s,]*({token})(?=\s|,|$)(?!\s*=)")
    found: list[Challenge] = []
    for header in headers:
        position, name, parameters = 0, "", dict[str, str]()
        while position < len(header):
            if match := parameter.match(header, position):
                quoted = match[2]
                value = match[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                parameters.setdefault(match[1].lower(), value)
            elif match := scheme.match(header, position):
                if name:
                    found.append(Challenge(name, parameters))
                name, parameters = match[1].lower(), {}
            else:
                break
            position = match.end()
        if name:
            found.append(Challenge(name, parameters))
    return found


class Authenticator:
    """Answers the challenges of any number of endpoints, for any number of threads.

    Args:
        transport: to the servers that give out tokens.
        credentials: what to log in to a registry with; None: nothing.
        wants_identity_token: ask for a token to be kept in place of the password; `identity_token` has it
            then, where the server gives one.
    """

    def __init__(
        self,
        transport: Transport,
        credentials: Callable[[str], Credentials | None],
        *,
        wants_identity_token: bool = False,
    ) -> None:
        self._transport = transport
        self._wants_identity_token = wants_identity_token
        self.identity_token = ""
        self._credentials = credentials
        self._lock = threading.RLock()
        self._known: dict[str, Credentials | None] = {}
        self._challenges: dict[Endpoint, Challenge] = {}
        self._tokens: dict[tuple[Endpoint, str], tuple[str, float]] = {}

    def header(self, endpoint: Endpoint, scope: str) -> str | None:
        """The value of `Authorization`, as far as this endpoint has asked for any until now."""
        with self._lock:
            challenge = self._challenges.get(endpoint)
            return None if challenge is None else self._answer(endpoint, challenge, scope)

    def challenged(self, endpoint: Endpoint, scope: str, headers: Iterable[str], used: str | None) -> str:
        """The value of `Authorization` after a 401.

        Args:
            endpoint: which answered so.
            scope: what is to be done there.
            headers: each `WWW-Authenticate` of the answer.
            used: the value that was refused.

        Raises:
            Unauthorized: there is nothing better to show.
        """
        challenges = parse_challenges(headers)
        known = {challenge.scheme: challenge for challenge in reversed(challenges)}
        challenge = known.get("bearer") or known.get("basic")
        if challenge is None:
            asked = ", ".join(f"`{one.scheme}`" for one in challenges) or "nothing"
            raise Unauthorized(
                f"registry `{endpoint.host}` refuses access, and asks for {shown(asked)}, which is not known"
            )
        with self._lock:
            self._challenges[endpoint] = challenge
            token = self._tokens.get((endpoint, scope))
            # another thread may have fetched a new one meanwhile
            if token is not None and used == f"Bearer {token[0]}":
                del self._tokens[endpoint, scope]
            answer = self._answer(endpoint, challenge, scope)
        if answer is None or answer == used:
            raise self.refused(endpoint)
        return answer

    def refused(self, endpoint: Endpoint, reason: str = "") -> Unauthorized:
        """The error of somebody who has shown what there is to show."""
        # registries answer so too where there is nothing, to tell nobody what there is
        unknown = "it wants a login, or has nothing of this name"
        who = "the login that is known is refused" if self._user(endpoint) else unknown
        why = f": {reason}" if reason else ""
        return Unauthorized(
            f"no access to registry `{endpoint.registry}`: {who}{why}",
            hint=f"`{login_command(endpoint.registry)}`",
        )

    def _user(self, endpoint: Endpoint) -> Credentials | None:
        registry = endpoint.registry
        if registry not in self._known:
            self._known[registry] = self._credentials(registry)
        return self._known[registry]

    def _answer(self, endpoint: Endpoint, challenge: Challenge, scope: str) -> str | None:
        if challenge.scheme == "basic":
            user = self._user(endpoint)
            return None if user is None or not user.username else _basic(user)
        token, until = self._tokens.get((endpoint, scope), ("", 0.0))
        if time.monotonic() >= until:
            token, seconds = self._token(endpoint, challenge, scope)
            self._tokens[endpoint, scope] = token, time.monotonic() + seconds - _SAFETY_SECONDS
        return f"Bearer {token}"

    def _token(self, endpoint: Endpoint, challenge: Challenge, scope: str) -> tuple[str, float]:
        realm = self._realm(endpoint, challenge)
        user = self._user(endpoint)
        service = challenge.parameters.get("service", "")
        # what the registry names is what this request needs, as long as it is about one
        fields = [("service", service)] if service else []
        fields += [("scope", one) for one in (scope or challenge.parameters.get("scope", "")).split()]
        if user is not None and user.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": _CLIENT,
                "scope": scope,
                "refresh_token": user.identity_token,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            reply = self._ask("POST", realm, headers, urllib.parse.urlencode(form).encode())
        else:
            headers = {}
            if user is not None and user.username:
                headers["Authorization"] = _basic(user)
                fields.append(("account", user.username))
                if self._wants_identity_token:
                    fields += [("offline_token", "true"), ("client_id", _CLIENT)]
            joint = "&" if "?" in realm else "?"
            reply = self._ask("GET", f"{realm}{joint}{urllib.parse.urlencode(fields)}", headers, None)
        return self._given(endpoint, reply, user)

    def _realm(self, endpoint: Endpoint, challenge: Challenge) -> str:
        realm = challenge.parameters.get("realm", "")
        plain = self._transport.base(endpoint).startswith("http:")
        try:
            if Url.parse(realm).scheme == "https" or plain:
                return realm
        except BadAddress:
            pass
        raise RegistryError(
            f"registry `{endpoint.host}` sends for a token to `{shown(realm)}`, which is no HTTPS address"
        )

    def _ask(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> Reply:
        retries = self._transport.retries()
        while True:
            try:
                # what the form has in it is for nobody else
                with self._transport.open(method, url, headers, body, leaves_host=body is None) as exchange:
                    if exchange.status < 400:
                        return exchange.reply(_LONGEST_ANSWER, "a token")
                    if exchange.status in {400, 401, 403, 404, 405}:
                        return exchange.reply(_LONGEST_ANSWER, "an answer")
                    raise exchange.failure(method)
            except Passing as passing:
                retries.wait(passing)

    def _given(self, endpoint: Endpoint, reply: Reply, user: Credentials | None) -> tuple[str, float]:
        import json

        if reply.status in {401, 403}:
            who = "the login that is known" if user else "access without a login"
            raise Unauthorized(
                f"no access to registry `{endpoint.registry}`: {who} is refused",
                hint=f"`{login_command(endpoint.registry)}`",
            )
        if reply.status >= 400:
            error = failure(reply.status, reply.headers, "no token", "GET", reply.url)
            raise error.error if isinstance(error, Passing) else error
        try:
            document = json.loads(reply.body)
            token = document.get("token") or document["access_token"]
            seconds = float(document.get("expires_in") or _LEAST_SECONDS)
            if not isinstance(token, str) or not token.isprintable() or not token.isascii():
                raise ValueError("no token")
            if self._wants_identity_token:
                self.identity_token = str(document.get("refresh_token") or "")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as problem:
            raise RegistryError(
                f"`{shown(reply.url.partition('?')[0])}` gave no token that could be read"
            ) from problem
        return token, max(_LEAST_SECONDS, seconds)


def _basic(user: Credentials) -> str:
    import base64

    return "Basic " + base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
