"""Which events are meant: the filters of `engine.events`, as docker's mean it."""

from __future__ import annotations

from typing import TypedDict

from pycontain.errors import InvalidOption
from pycontain.images.filters import has_label

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pycontain.runtime.events import Event

__all__ = ["EventFilters", "wanted"]


class EventFilters(TypedDict, total=False):
    """What narrows events down: all kinds must hold, and all labels, else any value of a kind."""

    actions: Iterable[str]
    """`create`, `start`, `die`, `rename`, `destroy`, …"""
    containers: Iterable[str]
    """Names, ids, or beginnings of ids."""
    images: Iterable[str]
    """As they were given; without a tag: with any."""
    labels: Iterable[str]
    """`k` or `k=v`."""
    networks: Iterable[str]
    """Names, ids, or beginnings of ids."""
    types: Iterable[str]
    """`container`, `network`, `volume`."""
    volumes: Iterable[str]
    """Names of volumes."""


def wanted(filters: EventFilters) -> Callable[[Event], bool]:
    """Whether an event passes all of them.

    Raises:
        InvalidOption: there is no such filter.
    """
    chosen: list[tuple[Callable[[Event, list[str]], bool], list[str]]] = []
    for key, values in filters.items():
        if key not in _TESTS or isinstance(values, str) or not hasattr(values, "__iter__"):
            raise InvalidOption(f"invalid filter `{key}`", hint=f"filters are lists, of {', '.join(_TESTS)}")
        chosen.append((_TESTS[key], [str(value) for value in values]))
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
    "actions": lambda event, values: event.action in values or event.action.partition(":")[0] in values,
    "containers": _of("container"),
    "images": _image,
    "labels": lambda event, values: all(has_label(event.attributes, value) for value in values),
    "networks": _of("network"),
    "types": lambda event, values: event.type in values,
    "volumes": lambda event, values: event.type == "volume" and event.id in values,
}
