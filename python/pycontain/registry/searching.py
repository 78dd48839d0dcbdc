"""Looking for images: Docker Hub has a search of its own, other registries a catalogue of repositories."""

from __future__ import annotations

from pycontain.errors import InvalidOption, RegistryError, Unsupported
from pycontain.registry.lists import listed, pages
from pycontain.registry.received import shown
from pycontain.registry.retries import Passing
from pycontain.registry.settings import DOCKER_HUB
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain.registry import Client
    from pycontain.registry.transport import Reply

__all__ = ["Found", "catalog", "search"]

_HUB = "https://index.docker.io"
_LARGEST = 16 << 20
_LONGEST_DESCRIPTION = 1000
_LONGEST_NAME = 255
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-/")


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
        InvalidOption: the term is nothing that a name could have in it.
        Unsupported: the registry has no catalogue.
        RegistryError: it does not answer as it should.
    """
    if not term.isprintable():
        raise InvalidOption(f"cannot search for `{shown(term)}`")
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
    """All repositories of a registry, as far as it tells, and as they have names that one can pull by.

    Raises:
        Unsupported: it tells of none.
    """

    def ask(rest: str) -> Reply:
        try:
            return client.request(registry, rest, "registry:catalog:*")
        except RegistryError as error:
            if " answered 404 " in str(error) or " answered 405 " in str(error):
                raise Unsupported(f"registry `{registry}` has no catalogue to search in") from error
            raise

    for reply in pages("/v2/_catalog?n=1000", ask):
        yield from filter(_is_name, listed(reply, "repositories", str))


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
    found = [_found(one) for one in listed(reply, "results", dict)]
    return [one for one in found if _is_name(one.name)][:limit]


def _found(result: dict[str, object]) -> Found:
    description, stars = str(result.get("description") or ""), result.get("star_count")
    return Found(
        str(result.get("name") or ""),
        shown(" ".join(description.split()), _LONGEST_DESCRIPTION),
        stars if isinstance(stars, int) else 0,
        bool(result.get("is_official")),
    )


def _is_name(text: str) -> bool:
    """Whether one could pull by it: anything else would be for whoever looks at the list."""
    return 0 < len(text) <= _LONGEST_NAME and _LETTERS.issuperset(text)
