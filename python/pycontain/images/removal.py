"""Removing images: names, then the image, then every layer that no other image has.

    1  take        rows of the image and its names; this stage claims its layers
    2  look again  a start may have begun meanwhile: then the rows come back
    3  discard     layers and blobs that nothing refers to go to the stage, and with it

A start first leaves a mark that it uses an image, and then looks whether the image is there; a removal first
takes the image, and then looks for marks. Whichever comes first, one of them sees the other.
"""

from __future__ import annotations

import contextlib
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
_TABLES = {"images": "id", "names": "image", "image_layers": "image"}  # and the column of the image's id


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
    """An image that was taken out of the database, and what brings it back."""

    def __init__(self, connection: sqlite3.Connection, id: str) -> None:
        self.id = id
        self._rows = {
            table: connection.execute(f"SELECT * FROM {table} WHERE {column} = ?", (id,)).fetchall()  # noqa: S608 - constants
            for table, column in _TABLES.items()
        }
        layers = "SELECT diff_id FROM image_layers WHERE image = ? ORDER BY position DESC"
        self.diff_ids = [diff_id for (diff_id,) in connection.execute(layers, (id,))]
        names = "SELECT reference FROM names WHERE image = ? ORDER BY reference"
        self.names = [Reference.of_key(key).familiar for (key,) in connection.execute(names, (id,))]
        connection.execute("DELETE FROM names WHERE image = ?", (id,))
        connection.execute("DELETE FROM images WHERE id = ?", (id,))

    def bring_back(self, connection: sqlite3.Connection) -> None:
        """As it was; a name that another image has got meanwhile stays there."""
        for table, rows in self._rows.items():
            for row in rows:
                places = ", ".join("?" * len(row))
                connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)  # noqa: S608 - constants


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
    with store.stage() as stage:
        with store.database.writing() as connection:
            id, untagged, is_last = _untag(store, connection, name, force=force)
            taken = [_take(stage, connection, id)] if is_last else []
        if not taken:
            return Removal(untagged)
        removal = _finish(store, stage, taken)
        if not removal.deleted:
            raise _in_use(name, store.users().get(id, ()))
        return Removal(untagged, removal.deleted, removal.reclaimed)


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
    with store.stage() as stage:
        with store.database.writing() as connection:
            users = store.users()
            unused = [image for image in listing.summaries(connection) if image.id not in users]
            chosen = listing.select(unused, cast("ImageFilters", filters))
            if keep_storage is not None:
                chosen = _beyond(store, connection, chosen, keep_storage)
            elif not everything:
                chosen = [image for image in chosen if image.dangling]
            taken = [_take(stage, connection, image.id) for image in chosen]
        return _finish(store, stage, taken) if taken else Removal()


def _untag(
    store: Store, connection: sqlite3.Connection, name: str, *, force: bool
) -> tuple[str, tuple[str, ...], bool]:
    """The image's id, the names that are gone, and whether the image is to go as well."""
    image = store.found(connection, name)
    named = [reference for reference in image.names if reference.key == key(name)]
    repositories = {reference.repository for reference in image.names}
    if not named and not force and (len(image.tags) > 1 or len(repositories) > 1):
        raise Conflict(
            f"image `{name}` has the names {', '.join(reference.familiar for reference in image.names)}",
            hint="remove it by these names, or use force",
        )
    going = named or list(image.names)
    rest = [reference for reference in image.names if reference not in going]
    is_last = not any(reference.tag for reference in rest)
    users = store.users().get(image.id, ()) if is_last else ()
    if users and not (force and named):
        raise _in_use(name, users)
    is_last = is_last and not users
    if is_last:  # they go with the image
        going += rest
    else:
        connection.executemany("DELETE FROM names WHERE reference = ?", [(one.key,) for one in going])
    return image.id, tuple(reference.familiar for reference in going), is_last


def _in_use(name: str, users: Sequence[str]) -> StillInUse:
    shown = ", ".join(sorted(users)) or "one that has just been started"
    return StillInUse(
        f"image `{name}` is in use by container {shown}",
        hint="it can be removed when its containers are gone",
    )


def _take(stage: Stage, connection: sqlite3.Connection, id: str) -> _Taken:
    taken = _Taken(connection, id)
    # else another process that removes something would find the layers unused, and take them
    stage.protect(connection, taken.diff_ids)
    return taken


def _finish(store: Store, stage: Stage, taken: list[_Taken]) -> Removal:
    # closed in the end: then whoever began to hold one of them meanwhile finds that it is gone
    with contextlib.ExitStack() as excluded:
        with store.database.writing() as connection:
            used = store.users()
            going = [image for image in taken if image.id not in used and _exclude(store, image.id, excluded)]
            for image in taken:
                if image not in going:
                    image.bring_back(connection)
            stage.unprotect(connection)
        with store.database.writing() as connection:
            sizes = dict(connection.execute(f"SELECT diff_id, {_BYTES} FROM layers"))  # noqa: S608 - constants
            gone = set(stage.discard(connection))
        reclaimed = sum(sizes[diff_id] for diff_id in gone)
        untagged, deleted = [], []
        for image in going:
            use.forget(store.paths, image.id)
            untagged += image.names
            deleted.append(image.id)
            deleted += [diff_id for diff_id in dict.fromkeys(image.diff_ids) if diff_id in gone]
            gone -= {*image.diff_ids}
    return Removal(untagged, deleted, reclaimed)


def _exclude(store: Store, image: str, excluded: contextlib.ExitStack) -> bool:
    """Whether nobody holds the image, and nobody can until `excluded` ends."""
    descriptor = use.exclude(store.paths, image)
    if descriptor is not None:
        excluded.callback(os.close, descriptor)
    return descriptor is not None


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
