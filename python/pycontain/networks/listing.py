"""Which networks are meant: by name or id, and by the filters of `networks.list`, as docker's mean it."""

from __future__ import annotations

import hashlib
import re
from typing import TypedDict

from pycontain.errors import InvalidOption, NetworkNotFound
from pycontain.images.filters import has_label, several
from pycontain.networks.definition import PREDEFINED, Definition
from pycontain.networks.networks import default_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pycontain.networks.store import NetworkStore

    Test = Callable[[Definition], bool]

__all__ = ["NetworkFilters", "find", "select"]

_DRIVERS = {"host": "host", "none": "null"}
_ID = re.compile(r"[0-9a-f]+\Z")


class NetworkFilters(TypedDict, total=False):
    """What narrows a list of networks down: all kinds must hold, and all labels, else any value of a kind."""

    id: str | Iterable[str]
    """Regular expressions that their ids contain."""
    name: str | Iterable[str]
    """Regular expressions that their names contain."""
    driver: str | Iterable[str]
    """`bridge`, `host`, `null`."""
    label: str | Iterable[str]
    """`k` or `k=v`."""
    type: str | Iterable[str]
    """`custom`, or `builtin`: those that are always there."""
    dangling: bool
    """Of those that were made: no container that runs is in them. False: all others."""
    scope: str | Iterable[str]
    """`local`: all of them."""


def find(store: NetworkStore, name: str) -> Definition:
    """By name, by id, or by how an id begins.

    Raises:
        InvalidOption: several ids begin so.
        NetworkNotFound: there is none.
    """
    known = predefined(store)
    for one in known:
        if name in {one.name, one.id}:
            return one
    try:
        found = store.get(name)
    except NetworkNotFound:
        begun = [one for one in known if _begins(one, name)]
        if len(begun) != 1:
            raise
        return begun[0]
    if found.name != name and any(_begins(one, name) for one in known if one.id != found.id):
        raise InvalidOption(f"several networks have an id that begins with `{name}`", hint="give more of it")
    return found


def predefined(store: NetworkStore) -> list[Definition]:
    """Those that are always there."""
    others = [
        Definition(hashlib.sha256(f"pycontain network {name}".encode()).hexdigest(), name, driver, ())
        for name, driver in _DRIVERS.items()
    ]
    return [default_network(store), *others]


def select(store: NetworkStore, filters: NetworkFilters) -> list[Definition]:
    """Those that all filters let through, by their names.

    Raises:
        InvalidOption: a filter is not valid.
    """
    tests = []
    for key, value in filters.items():
        if key == "dangling":
            tests.append(_dangling(store, wanted=bool(value)))
        elif key in _SEVERAL:
            tests.append(_SEVERAL[key](several(key, value)))
        else:
            known = ", ".join((*_SEVERAL, "dangling"))
            raise InvalidOption(f"unknown filter `{key}`", hint=f"filters are {known}")
    found = [one for one in (*predefined(store), *store.all()) if all(test(one) for test in tests)]
    return sorted(found, key=_natural)


def _begins(one: Definition, text: object) -> bool:
    return isinstance(text, str) and bool(_ID.match(text)) and one.id.startswith(text)


def _natural(one: Definition) -> list[tuple[int, str]]:
    """As people count: `net2` is before `net10`."""
    parts = re.split(r"([0-9]+)", one.name)
    return [(int(part), part) if part.isdigit() else (-1, part) for part in parts]


def _matching(key: str, part: Callable[[Definition], str]) -> Callable[[list[str]], Test]:
    def test(values: list[str]) -> Test:
        try:
            patterns = [re.compile(value) for value in values]
        except re.error as error:
            raise InvalidOption(f"invalid filter `{key}`: {error}") from None
        return lambda one: part(one) in values or any(pattern.search(part(one)) for pattern in patterns)

    return test


def _types(values: list[str]) -> Test:
    for value in values:
        if value not in {"builtin", "custom"}:
            raise InvalidOption(f"invalid filter `type={value}`", hint="must be one of builtin, custom")
    return lambda one: ("builtin" if one.name in PREDEFINED else "custom") in values


def _dangling(store: NetworkStore, *, wanted: bool) -> Test:
    def test(one: Definition) -> bool:
        unused = one.name not in PREDEFINED and next(store.leases(one).held(), None) is None
        return unused == wanted

    return test


_SEVERAL: dict[str, Callable[[list[str]], Test]] = {
    "id": _matching("id", lambda one: one.id),
    "name": _matching("name", lambda one: one.name),
    "driver": lambda values: lambda one: one.driver in values,
    "label": lambda values: lambda one: all(has_label(one.labels, value) for value in values),
    "type": _types,
    "scope": lambda values: lambda _one: "local" in values,
}
