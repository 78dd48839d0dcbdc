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

# docker's keys, which are the API's names but for a dash and `label!`
PRUNE = ("until", "label", "label!")
CONTAINERS = (
    "id",
    "name",
    "label",
    "status",
    "exited",
    "ancestor",
    "before",
    "since",
    "volume",
    "network",
    "health",
    "publish",
    "expose",
    "is-task",
)
EVENTS = ("container", "event", "image", "label", "network", "type", "volume")
IMAGES = ("dangling", "label", "before", "since", "until", "reference")
NETWORKS = ("id", "name", "driver", "label", "type", "dangling", "scope")
VOLUMES = ("dangling", "driver", "label", "name")
VOLUME_PRUNE = ("all", "label", "label!")
_TRUE_OR_FALSE = {"all", "dangling", "is-task"}
_ONCE = {"before", "since", "until"}


class FlagError(InvalidOption):
    """A flag's value is not valid: docker exits with 125."""

    returncode = 125


def parsed(texts: Iterable[str], keys: Iterable[str]) -> dict[str, Any]:
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
        if key not in keys:
            raise InvalidOption(f"invalid filter `{key}`", hint=f"filters are {', '.join(keys)}")
        name = "without_label" if key == "label!" else key.replace("-", "_")
        if key in _TRUE_OR_FALSE:
            if value.lower() not in _TRUTH:
                raise InvalidOption(f"invalid filter `{text}`: must be true or false")
            found[name] = _TRUTH[value.lower()]
        elif key not in _ONCE:
            found.setdefault(name, []).append(value)
        elif name in found and found[name] != value:
            raise InvalidOption(f"more than one filter `{key}`")
        else:
            found[name] = value
    return found
