"""Which volumes are meant, what is told of them, and which of them go by a `prune`."""

from __future__ import annotations

import time
from typing import TypedDict

from pycontain.errors import InvalidOption, StillInUse, VolumeNotFound
from pycontain.images.filters import has_label, several
from pycontain.runtime import events
from pycontain.runtime import volumes as store
from pycontain.volumes import Pruned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from pycontain._core import Launcher
    from pycontain.paths import Paths

__all__ = ["VolumeFilters", "inspect", "prune", "select"]


class VolumeFilters(TypedDict, total=False):
    """What narrows a list of volumes down: all kinds must hold, and all labels, else any value of a kind."""

    dangling: bool
    """No container uses it, or one does."""
    name: str | Iterable[str]
    """Parts of names."""
    label: str | Iterable[str]
    """`k` or `k=v`."""
    driver: str | Iterable[str]
    """`local`."""


def select(paths: Paths, filters: VolumeFilters) -> Iterator[store.Found]:
    """The volumes that pass all of them.

    Raises:
        InvalidOption: there is no such filter.
    """
    for key in filters:
        if key not in VolumeFilters.__annotations__:
            known = ", ".join(VolumeFilters.__annotations__)
            raise InvalidOption(f"unknown filter `{key}`", hint=f"filters are {known}")
    names = several("name", filters.get("name", ()))
    labels = several("label", filters.get("label", ()))
    drivers = several("driver", filters.get("driver", ()))
    for found in store.all_of(paths):
        if names and not any(name in found.name for name in names):
            continue
        if drivers and "local" not in drivers:
            continue
        if not all(has_label(found.record.labels, label) for label in labels):
            continue
        if "dangling" in filters and filters["dangling"] == bool(store.users(paths, found.name)):
            continue
        yield found


def inspect(found: store.Found) -> dict[str, Any]:
    """The document of docker's."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.record.created))
    return {
        "CreatedAt": created,
        "Driver": "local",
        "Labels": found.record.labels or None,
        "Mountpoint": found.mountpoint,
        "Name": found.name,
        "Options": found.record.options or None,
        "Scope": "local",
    }


def prune(
    paths: Paths,
    launcher: Callable[[], Launcher],
    *,
    everything: bool,
    label: str | Iterable[str],
    without_label: str | Iterable[str],
) -> Pruned:
    """Remove those that no container uses and that are meant; one that is taken into use meanwhile stays."""
    from pycontain.runtime.disk import size_below

    store.collect(paths)
    unwanted = several("without_label", without_label)
    gone: list[str] = []
    reclaimed = 0
    for found in select(paths, {"dangling": True, "label": label}):
        of_it = found.record.labels
        if not (everything or store.ANONYMOUS in of_it) or any(has_label(of_it, one) for one in unwanted):
            continue
        size = size_below(found.mountpoint)
        try:
            store.remove(paths, found.name, launcher())
        except (StillInUse, VolumeNotFound):
            continue
        gone.append(found.name)
        reclaimed += size
    if gone:
        attributes = {"reclaimed": str(reclaimed)}
        events.write(paths, events.Event("volume", "prune", "", attributes, time.time_ns()))
    return Pruned(gone, reclaimed)
