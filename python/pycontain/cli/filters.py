"""`--filter key=value`, as the filters of the Python API."""

from __future__ import annotations

from pycontain.errors import InvalidOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = [
    "CONTAINERS",
    "EVENTS",
    "IMAGES",
    "NETWORKS",
    "PRUNE",
    "VOLUMES",
    "VOLUME_PRUNE",
    "FlagError",
    "parsed",
]

_TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}

# docker's key: the API's, which takes a list if it ends in an s; `exited` and `exposed` as well
PRUNE = {"until": "until", "label": "labels", "label!": "without_labels"}
CONTAINERS = {
    "id": "ids",
    "name": "names",
    "label": "labels",
    "status": "statuses",
    "exited": "exited",
    "ancestor": "ancestors",
    "before": "before",
    "since": "since",
    "volume": "volumes",
    "network": "networks",
    "health": "healths",
    "publish": "ports",
    "expose": "exposed",
    "is-task": "is_task",
}
EVENTS = {
    "container": "containers",
    "event": "actions",
    "image": "images",
    "label": "labels",
    "network": "networks",
    "type": "types",
    "volume": "volumes",
}
IMAGES = {
    "dangling": "dangling",
    "label": "labels",
    "before": "before",
    "since": "since",
    "until": "until",
    "reference": "references",
}
NETWORKS = {
    "id": "ids",
    "name": "names",
    "driver": "drivers",
    "label": "labels",
    "type": "types",
    "dangling": "dangling",
    "scope": "scopes",
}
VOLUMES = {"dangling": "dangling", "driver": "drivers", "label": "labels", "name": "names"}
VOLUME_PRUNE = {"all": "all", "label": "labels", "label!": "without_labels"}


class FlagError(InvalidOption):
    """A flag's value is not valid: docker exits with 125."""

    returncode = 125


def parsed(texts: Iterable[str], keys: dict[str, str]) -> dict[str, Any]:
    """The filters as keyword arguments.

    Raises:
        FlagError: one is no `key=value`.
        InvalidOption: there is no such filter, or it does not take the value.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise FlagError(
                f"invalid argument `{text}` for `--filter`: bad format of filter (expected name=value)"
            )
        key, value = key.strip().lower(), value.strip()
        name = keys.get(key)
        if name is None:
            raise InvalidOption(f"invalid filter `{key}`", hint=f"filters are {', '.join(keys)}")
        if name.endswith("s") or name in {"exited", "exposed"}:
            found.setdefault(name, []).append(value)
        elif name in {"all", "dangling", "is_task"}:
            if value.lower() not in _TRUTH:
                raise InvalidOption(f"invalid filter `{text}`: must be true or false")
            found[name] = _TRUTH[value.lower()]
        elif name in found and found[name] != value:
            raise InvalidOption(f"more than one filter `{key}`")
        else:
            found[name] = value
    return found
