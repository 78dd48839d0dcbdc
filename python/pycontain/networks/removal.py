"""Removal of networks: at once out of everybody's sight, then what the kernel has of them."""

from __future__ import annotations

import time

from pycontain.errors import Conflict, NetworkNotFound, StillInUse
from pycontain.images.filters import has_label, moment, several
from pycontain.networks.definition import PREDEFINED
from pycontain.networks.happenings import tell
from pycontain.networks.networks import check_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.images.filters import PruneFilters
    from pycontain.networks.definition import Definition
    from pycontain.networks.store import NetworkStore
    from pycontain.paths import Paths

__all__ = ["prune", "remove"]


def remove(paths: Paths, store: NetworkStore, definition: Definition) -> None:
    """Remove a network that no container which runs is in.

    Raises:
        Conflict: it is one of those that are always there.
        NetworkNotFound: it is gone.
        StillInUse: a container is in it.
        Unsupported: this user may not.
    """
    from pycontain._core import remove_bridge

    if definition.name in PREDEFINED:
        raise Conflict(
            f"network `{definition.name}` is predefined, and cannot be removed",
            hint="`pycontain network ls --filter type=custom` lists those that can be",
        )
    check_user("remove")
    store.remove(definition)
    tell(paths, "destroy", definition)
    remove_bridge(definition.bridge)
    store.leases(definition).clear()


def prune(paths: Paths, store: NetworkStore, filters: PruneFilters) -> tuple[str, ...]:
    """Remove those that are meant; one that a container comes into meanwhile stays."""
    until = filters.get("until")
    latest = None if until is None else moment(until, time.time())
    wanted = several("label", filters.get("label", ()))
    unwanted = several("without_label", filters.get("without_label", ()))
    gone = []
    for one in sorted(store.all(), key=lambda one: one.name):
        if latest is not None and one.created_seconds >= latest:
            continue
        if not all(has_label(one.labels, label) for label in wanted):
            continue
        if any(has_label(one.labels, label) for label in unwanted):
            continue
        try:
            remove(paths, store, one)
        except (NetworkNotFound, StillInUse):
            continue
        gone.append(one.name)
    if gone:
        tell(paths, "prune")
    return tuple(gone)
