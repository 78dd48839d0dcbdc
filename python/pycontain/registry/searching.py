"""Looking for images: Docker Hub has a search of its own, other registries a catalogue of repositories."""

from __future__ import annotations

from pycontain.errors import RegistryError, Unsupported
from pycontain.registry.repository import next_page
from pycontain.registry.retries import Passing
from pycontain.registry.settings import DOCKER_HUB
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeVar

    from pycontain.registry import Client
    from pycontain.registry.transport import Reply

    T = TypeVar("T")

__all__ = ["Found", "catalog", "search"]

_HUB = "https://index.docker.io"
_LARGEST = 16 << 20


class Found(Value):
    """A repository.

    Attributes:
        name: as one pulls it.
        description: may be empty.
        stars: how many people like it.
        official: whether it is one of docker.io's own.
    """

    __slots__ = ("name", "description", "stars", "official")  # noqa: RUF023 - the constructor's order
    name: str
    description: str
    stars: int
    official: bool

    def __init__(self, name: str, description: str = "", stars: int = 0, official: bool = False) -> None:
        self._set(name=name, description=description, stars=stars, official=official)


def search(client: Client, registry: str, term: str, limit: int, *, hub: str = _HUB) -> list[Found]:
    """What a registry has for `term`, the best first, at most `limit`.

    Raises:
        Unsupported: the registry has no catalogue.
        RegistryError: it does not answer as it should.
    """
    if registry == DOCKER_HUB:
        return _of_hub(client, term, limit, hub)
    found = []
    for name in catalog(client, registry):
        if term.lower() in name:
            found.append(Found(f"{registry}/{name}"))
            if len(found) == limit:
                break
    return found


def catalog(client: Client, registry: str) -> Iterator[str]:
    """All repositories of a registry, as far as it tells.

    Raises:
        Unsupported: it tells of none.
    """
    rest: str | None = "/v2/_catalog?n=1000"
    while rest is not None:
        try:
            reply = client.request(registry, rest, "registry:catalog:*")
        except RegistryError as error:
            if " answered 404 " in str(error) or " answered 405 " in str(error):
                raise Unsupported(f"registry `{registry}` has no catalogue to search in") from error
            raise
        yield from _list(reply, "repositories", str)
        rest = next_page(reply)


def _of_hub(client: Client, term: str, limit: int, hub: str) -> list[Found]:
    import urllib.parse

    query = urllib.parse.urlencode({"q": term, "n": limit})
    retries = client.transport.retries()
    while True:
        try:
            with client.transport.open("GET", f"{hub}/v1/search?{query}", {}) as exchange:
                if exchange.status != 200:
                    raise exchange.failure("GET")
                reply = exchange.reply(_LARGEST, "an answer")
            break
        except Passing as passing:
            retries.wait(passing)
    return [
        Found(
            str(one.get("name", "")),
            " ".join(str(one.get("description") or "").split()),
            int(one.get("star_count") or 0),
            bool(one.get("is_official")),
        )
        for one in _list(reply, "results", dict)
    ][:limit]


def _list(reply: Reply, member: str, of: type[T]) -> list[T]:
    import json

    try:
        listed = json.loads(reply.body).get(member) or []
    except (ValueError, AttributeError, RecursionError) as error:
        raise RegistryError(f"`{reply.url.partition('?')[0]}` did not answer with JSON") from error
    return [one for one in listed if isinstance(one, of)]
