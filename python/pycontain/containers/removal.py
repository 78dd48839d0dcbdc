"""Removal of containers: at once out of everybody's sight, then from the disk.

A directory moves to where those of containers are that go with their command. What is there and not locked
is garbage: if this process is killed meanwhile, the next engine goes on.
"""

from __future__ import annotations

import contextlib
import os
import time

from pycontain.containers import keeping
from pycontain.errors import ContainerNotFound, StillInUse
from pycontain.images.filters import has_label, moment, several
from pycontain.runtime import directory, disk, events, kept, names, records, shared
from pycontain.runtime import volumes as of_volumes
from pycontain.runtime.pauses import finish
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pycontain._core import Launcher
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept

__all__ = ["Removed", "prune", "remove"]


class Removed(Value):
    """What a removal of several containers did.

    Attributes:
        ids: of those that are gone.
        reclaimed: bytes that they had written.
    """

    __slots__ = ("ids", "reclaimed")
    ids: tuple[str, ...]
    reclaimed: int

    def __init__(self, ids: Iterable[str] = (), reclaimed: int = 0) -> None:
        self._set(ids=tuple(ids), reclaimed=reclaimed)


def remove(
    paths: Paths, container: Kept, launcher: Callable[[], Launcher], *, force: bool, volumes: bool
) -> None:
    """Remove a container that does not run; with `force`, kill it first; with `volumes`, its own go, too.

    Raises:
        ContainerNotFound: it is gone.
        StillInUse: it runs, or is paused.
    """
    if _removed(paths, container, launcher, volumes=volumes):
        return
    if not force:
        is_paused = kept.state(paths, container).status == "paused"
        raise StillInUse(
            f'cannot remove container "{container.record.name}": container is '
            + ("paused" if is_paused else "running"),
            hint=f"{'unpause and ' * is_paused}stop it first, or use force: `--force` on the command line",
        )
    finish(keeping.end(paths, container))
    with contextlib.suppress(ContainerNotFound):  # it was to be removed at its end
        if not _removed(paths, container, launcher, volumes=volumes):
            raise StillInUse(f'cannot remove container "{container.record.name}": it was started again')


def _removed(paths: Paths, container: Kept, launcher: Callable[[], Launcher], *, volumes: bool) -> bool:
    with kept.held(paths, container) as stopped:
        if stopped is not None:
            if not volumes and not container.record.options.get("remove"):
                of_volumes.keep_own(container.path)
            _take_away(paths, container, launcher)
    return stopped is not None


def prune(
    paths: Paths,
    launcher: Callable[[], Launcher],
    *,
    until: str | float | None,
    label: str | Iterable[str],
    without_label: str | Iterable[str],
) -> Removed:
    """Remove those that do not run and that are meant; one that starts meanwhile stays.

    What was never finished goes, too.
    """
    directory.collect_unfinished(paths, launcher())
    latest = None if until is None else moment(until, time.time())
    wanted, unwanted = several("label", label), several("without_label", without_label)
    gone: list[str] = []
    reclaimed = 0
    for one in kept.all_of(paths):
        record = one.record
        if one.state.is_alive or (latest is not None and record.created >= latest):
            continue
        if not all(has_label(record.labels, text) for text in wanted):
            continue
        if any(has_label(record.labels, text) for text in unwanted):
            continue
        size = disk.size_of(one.path)
        try:
            remove(paths, one, launcher, force=False, volumes=False)
        except (ContainerNotFound, StillInUse):
            continue
        gone.append(one.id)
        reclaimed += size
    if gone:
        attributes = {"reclaimed": str(reclaimed)}
        events.write(paths, events.Event("container", "prune", "", attributes, time.time_ns()))
    return Removed(gone, reclaimed)


def _take_away(paths: Paths, container: Kept, launcher: Callable[[], Launcher]) -> None:
    """By who holds the lock on its directory."""
    record = records.read_record(container.path)  # it may have been renamed since
    away = f"{paths.ephemeral}/{container.id}"
    os.makedirs(paths.ephemeral, mode=0o700, exist_ok=True)
    os.rename(container.path, away)
    names.give_up(paths, record.name, container.id)
    events.of_container(paths, "destroy", record)
    forked = shared.layers(away)
    launcher().remove_tree(away)
    if forked:
        shared.collect(paths, launcher())
