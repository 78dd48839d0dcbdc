"""Which events are meant: the filters of `engine.events`, as docker's mean it."""

from __future__ import annotations

from typing import TypedDict

from pycontain.errors import InvalidOption
from pycontain.images.filters import has_label, several

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pycontain.runtime.events import Event

__all__ = ["EventFilters", "wanted"]


class EventFilters(TypedDict, total=False):
    """What narrows events down: all kinds must hold, and all labels, else any value of a kind."""

    event: str | Iterable[str]
    """`create`, `start`, `die`, `rename`, `destroy`, …"""
    container: str | Iterable[str]
    """Names, ids, or beginnings of ids."""
    image: str | Iterable[str]
    """As they were given; without a tag: with any."""
    label: str | Iterable[str]
    """`k` or `k=v`."""
    network: str | Iterable[str]
    """Names, ids, or beginnings of ids."""
    type: str | Iterable[str]
    """`container`, `network`, `volume`."""
    volume: str | Iterable[str]
    """Names of volumes."""


def wanted(filters: EventFilters) -> Callable[[Event], bool]:
    """Whether an event passes all of them.

    Raises:
        InvalidOption: there is no such filter.
    """
    chosen: list[tuple[Callable[[Event, list[str]], bool], list[str]]] = []
    for key, values in filters.items():
        if key not in _TESTS:
            raise InvalidOption(f"unknown filter `{key}`", hint=f"filters are {', '.join(_TESTS)}")
        chosen.append((_TESTS[key], several(key, values)))
    return lambda event: all(test(event, values) for test, values in chosen)


def _of(type: str) -> Callable[[Event, list[str]], bool]:
    return lambda event, values: (
        event.type == type
        and any(event.id.startswith(value) or event.attributes.get("name") == value for value in values)
    )


def _image(event: Event, values: list[str]) -> bool:
    name = event.attributes.get("image", "")
    repository = name if "/" in name.rpartition(":")[2] else name.rpartition(":")[0] or name
    return name in values or repository in values


_TESTS: dict[str, Callable[[Event, list[str]], bool]] = {
    # `exec_start: sh -c …` is an `exec_start`, too
    "event": lambda event, values: event.action in values or event.action.partition(":")[0] in values,
    "container": _of("container"),
    "image": _image,
    "label": lambda event, values: all(has_label(event.attributes, value) for value in values),
    "network": _of("network"),
    "type": lambda event, values: event.type in values,
    "volume": lambda event, values: event.type == "volume" and event.id in values,
}
