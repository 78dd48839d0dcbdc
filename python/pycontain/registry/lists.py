"""Lists that registries give, page by page: of tags, of repositories."""

from __future__ import annotations

import urllib.parse

from pycontain.errors import RegistryError
from pycontain.registry.received import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from pycontain.registry.transport import Reply

    T = TypeVar("T")

__all__ = ["listed", "pages"]

_MOST_PAGES = 1000


def pages(url: str, ask: Callable[[str], Reply]) -> Iterator[Reply]:
    """A list that comes in pages, the first at `url`; it ends where it would lead in a circle.

    Raises:
        RegistryError: it has no end.
    """
    seen: set[str] = set()
    following: str | None = url
    for _ in range(_MOST_PAGES):
        if following is None or following in seen:
            return
        reply = ask(following)
        yield reply
        seen |= {following, reply.url}
        following = _next_page(reply)
    raise RegistryError(f"the list at `{url}` has more than {_MOST_PAGES} pages")


def _next_page(reply: Reply) -> str | None:
    """Where a list goes on (RFC 8288); only at the same host."""
    import re

    match = re.search(r'<([^>]+)>\s*;\s*rel="?next"?', reply.headers.get("link", ""))
    if match is None:
        return None
    try:
        following = urllib.parse.urljoin(reply.url, match[1])
        here, there = urllib.parse.urlsplit(reply.url), urllib.parse.urlsplit(following)
    except ValueError as error:
        raise RegistryError(
            f"`{shown(reply.url)}` goes on at `{shown(match[1])}`, which is no address"
        ) from error
    return following if (here.scheme, here.netloc) == (there.scheme, there.netloc) else None


def listed(reply: Reply, member: str, of: type[T]) -> list[T]:
    """The list that is a member of the document in an answer.

    Raises:
        RegistryError: there is no such list.
    """
    import json

    try:
        found = json.loads(reply.body).get(member) or []
        if not isinstance(found, list) or not all(isinstance(one, of) for one in found):
            raise ValueError("not a list of these")
    except (ValueError, AttributeError, RecursionError) as error:
        address = shown(reply.url.partition("?")[0])
        raise RegistryError(f"`{address}` did not answer with a list of {member}") from error
    return found
