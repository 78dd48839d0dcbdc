"""Removing images: names, then the image, then every layer that no other image has.

    1  exclude     whoever would hold the image, until all is done; nobody does now
    2  look        no container's directory says that it is made from the image
    3  take        rows of the image and its names, in one transaction with the two before
    4  discard     layers and blobs that nothing refers to go to the stage, and with it

A start first leaves a mark that it uses an image, then holds it, for a moment at least, and then looks
whether it is there. When it holds the image before 1, then the removal fails at 1, or sees the mark at 2;
after that, the start waits for the removal and finds the image gone.
"""

from __future__ import annotations

import os
from typing import cast

from pycontain.errors import Conflict, StillInUse
from pycontain.images import listing, use
from pycontain.images.reference import Reference
from pycontain.images.store import key
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from pycontain.images.filters import ImageFilters, PruneFilters
    from pycontain.images.listing import Summary
    from pycontain.images.stage import Stage
    from pycontain.images.store import Store

__all__ = ["Removal", "prune", "remove"]

_BYTES = "size + CASE WHEN media_type IS NULL THEN 0 ELSE compressed_size END"


class Removal(Value):
    """What a removal did.

    Attributes:
        untagged: names that are gone, as people write them.
        deleted: the ids of images, each followed by those of the layers that went with it.
        reclaimed: bytes that were freed.
    """

    __slots__ = ("untagged", "deleted", "reclaimed")  # noqa: RUF023 - the constructor's order
    untagged: tuple[str, ...]
    deleted: tuple[str, ...]
    reclaimed: int

    def __init__(self, untagged: Iterable[str] = (), deleted: Iterable[str] = (), reclaimed: int = 0) -> None:
        self._set(untagged=tuple(untagged), deleted=tuple(deleted), reclaimed=reclaimed)


class _Taken:
    """An image that was taken out of the database."""

    def __init__(self, connection: sqlite3.Connection, id: str) -> None:
        self.id = id
        layers = "SELECT diff_id FROM image_layers WHERE image = ? ORDER BY position DESC"
        self.diff_ids = [diff_id for (diff_id,) in connection.execute(layers, (id,))]
        names = "SELECT reference FROM names WHERE image = ? ORDER BY reference"
        self.names = [Reference.of_key(key).familiar for (key,) in connection.execute(names, (id,))]
        connection.execute("DELETE FROM names WHERE image = ?", (id,))
        connection.execute("DELETE FROM images WHERE id = ?", (id,))


class _Exclusion:
    """Images that nobody can begin to use before this ends."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._descriptors: dict[str, int] = {}

    def __enter__(self) -> _Exclusion:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    def users(self, images: Iterable[str]) -> dict[str, Sequence[str]]:
        """Exclude these images, as far as nobody uses them; else tell who does."""
        users: dict[str, Sequence[str]] = {}
        for image in images:
            descriptor = use.exclude(self._store.paths, image)
            if descriptor is None:
                users[image] = ("(running)",)
            else:
                self._descriptors[image] = descriptor
        recorded = self._store.recorded_users()
        users |= {image: recorded[image] for image in self._descriptors if image in recorded}
        for image in self._descriptors.keys() & users.keys():
            os.close(self._descriptors.pop(image))
        return users

    def take(self, connection: sqlite3.Connection) -> list[_Taken]:
        """Within a transaction: those that are excluded."""
        for descriptor in self._descriptors.values():
            use.doubt(descriptor)
        return [_Taken(connection, image) for image in self._descriptors]


def remove(store: Store, name: str, *, force: bool = False) -> Removal:
    """Take the name away; with its last name goes the image.

    Args:
        store: where from.
        name: a name, or an id: that removes all names, which must be of one repository unless `force`.
        force: by an id, although it has several names; by its last name, although containers are made from
            it: then it stays, without a name.

    Raises:
        ImageNotFound: there is none.
        StillInUse: containers are made from it.
        Conflict: it has several names.
    """
    with store.stage() as stage, _Exclusion(store) as exclusion:
        with store.database.writing() as connection:
            untagged = _untag(store, connection, exclusion, name, force=force)
            taken = exclusion.take(connection)
        removal = _discard(store, stage, taken)
        return Removal(untagged or removal.untagged, removal.deleted, removal.reclaimed)


def prune(
    store: Store, filters: PruneFilters, *, everything: bool = False, keep_storage: int | None = None
) -> Removal:
    """Remove images that no container is made from.

    Args:
        store: where from.
        filters: which of them.
        everything: those with a tag too.
        keep_storage: the same, but only as many as it takes for layers and blobs to have no more bytes than
            this, and the least recently used first.

    Raises:
        InvalidOption: a filter is not valid.
    """
    with store.stage() as stage, _Exclusion(store) as exclusion:
        with store.database.writing() as connection:
            users = store.users()
            unused = [image for image in listing.summaries(connection) if image.id not in users]
            chosen = listing.select(unused, cast("ImageFilters", filters))
            if keep_storage is not None:
                chosen = _beyond(store, connection, chosen, keep_storage)
            elif not everything:
                chosen = [image for image in chosen if image.dangling]
            exclusion.users(image.id for image in chosen)
            taken = exclusion.take(connection)
        return _discard(store, stage, taken)


def _untag(
    store: Store, connection: sqlite3.Connection, exclusion: _Exclusion, name: str, *, force: bool
) -> tuple[str, ...]:
    """Take names away, and exclude the image if they were the last: then it goes, and all of its names."""
    image = store.found(connection, name)
    names, filed = image.names, key(name)
    named = [reference for reference in names if reference.key == filed]
    repositories = {reference.repository for reference in names}
    if not named and not force and (len(image.tags) > 1 or len(repositories) > 1):
        raise Conflict(
            f"image `{name}` has the names {', '.join(reference.familiar for reference in names)}",
            hint="remove it by these names, or use force",
        )
    going = {reference.key: reference.familiar for reference in named or names}
    if not any(reference.tag for reference in names if reference.key not in going):
        users = exclusion.users([image.id])
        if not users:
            return ()
        if not (force and named):
            raise _in_use(name, users[image.id])
    connection.executemany("DELETE FROM names WHERE reference = ?", [(key,) for key in going])
    return tuple(going.values())


def _in_use(name: str, users: Sequence[str]) -> StillInUse:
    return StillInUse(
        f"image `{name}` is in use by container {', '.join(sorted(user[:12] for user in users))}",
        hint="it can be removed when its containers are gone",
    )


def _discard(store: Store, stage: Stage, taken: Sequence[_Taken]) -> Removal:
    if not taken:
        return Removal()
    with store.database.writing() as connection:
        sizes = dict(connection.execute(f"SELECT diff_id, {_BYTES} FROM layers"))  # noqa: S608 - constants
        gone = set(stage.discard(connection))
    reclaimed = sum(sizes[diff_id] for diff_id in gone)
    untagged, deleted = [], []
    for image in taken:
        use.forget(store.paths, image.id)
        untagged += image.names
        deleted.append(image.id)
        deleted += [diff_id for diff_id in dict.fromkeys(image.diff_ids) if diff_id in gone]
        gone -= {*image.diff_ids}
    return Removal(untagged, deleted, reclaimed)


def _beyond(
    store: Store, connection: sqlite3.Connection, images: Iterable[Summary], keep: int
) -> list[Summary]:
    """Those whose removal leaves no more than `keep` bytes, the least recently used first."""
    sizes: Mapping[str, int] = dict(connection.execute(f"SELECT diff_id, {_BYTES} FROM layers"))  # noqa: S608 - constants
    layers: dict[str, set[str]] = {}
    owners: dict[str, int] = {}
    for id, diff_id in connection.execute("SELECT DISTINCT image, diff_id FROM image_layers"):
        layers.setdefault(id, set()).add(diff_id)
        owners[diff_id] = owners.get(diff_id, 0) + 1
    left = sum(sizes.values())

    def age(image: Summary) -> Any:
        return max(use.last_used(store.paths, image.id) or 0, image.added)

    chosen = []
    for image in sorted(images, key=age):
        if left <= keep:
            break
        chosen.append(image)
        for diff_id in layers.get(image.id, ()):
            owners[diff_id] -= 1
            left -= 0 if owners[diff_id] else sizes[diff_id]
    return chosen
