"""The store: which images there are, by which names, made of which layers."""

from __future__ import annotations

import time

from pycontain.errors import ImageNotFound, InvalidOption, Unsupported
from pycontain.images import stage as stages
from pycontain.images import syncs, use
from pycontain.images.blobs import layer_path, stored_layers
from pycontain.images.config import HistoryEntry, ImageConfig, machine_platform, runs_here
from pycontain.images.database import Database
from pycontain.images.reference import Reference, id_prefix, is_digest, parse, parse_tag
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from pycontain.images.blobs import StoredLayer
    from pycontain.images.filters import ImageFilters
    from pycontain.images.listing import Summary
    from pycontain.images.removal import Removal
    from pycontain.images.stage import Stage, Unpacker
    from pycontain.paths import Paths

__all__ = ["Store", "StoredImage", "key"]

_IMAGES = "SELECT id, configuration, size, added FROM images"
_IMAGE_BY_NAME = f"{_IMAGES} WHERE id = (SELECT image FROM names WHERE reference = ?)"  # noqa: S608 - constants
_IMAGES_BY_PREFIX = f"{_IMAGES} WHERE id >= ? AND id < ? LIMIT 2"


class StoredImage(Value):
    """An image as it is in the store.

    Attributes:
        id: `sha256:<hex>`, the digest of its configuration.
        references: its names in full, `domain/path:tag` or `domain/path@digest`, sorted.
        size: bytes, unpacked, of all its layers.
        created: RFC 3339, as the image says; may be empty.
        added: when it came here, seconds since the epoch.
        os, architecture: its platform; empty where it does not say.
        config: defaults for containers.
        diff_ids: its layers, lowest first.
        layers: its layers' directories, topmost first, none twice.
    """

    __slots__ = (  # noqa: RUF023 - the constructor's order
        "id",
        "references",
        "size",
        "created",
        "added",
        "os",
        "architecture",
        "config",
        "diff_ids",
        "layers",
    )
    id: str
    references: tuple[str, ...]
    size: int
    created: str
    added: float
    os: str
    architecture: str
    config: ImageConfig
    diff_ids: tuple[str, ...]
    layers: tuple[str, ...]

    def __init__(
        self,
        id: str,
        references: Iterable[str],
        size: int,
        created: str,
        added: float,
        os: str,
        architecture: str,
        config: ImageConfig,
        diff_ids: Iterable[str],
        layers: Iterable[str],
    ) -> None:
        self._set(
            id=id,
            references=tuple(references),
            size=size,
            created=created,
            added=added,
            os=os,
            architecture=architecture,
            config=config,
            diff_ids=tuple(diff_ids),
            layers=tuple(layers),
        )

    @property
    def names(self) -> tuple[Reference, ...]:
        """Its names."""
        return tuple(parse(reference) for reference in self.references)

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags, as people write them: `alpine:3.20`."""
        return tuple(name.familiar for name in self.names if name.tag)

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests it is known by in registries: `alpine@sha256:…`."""
        return tuple(name.familiar for name in self.names if name.digest)


def _unused() -> dict[str, tuple[str, ...]]:
    return {}


class Store:
    """The images below one root. May be used by any number of threads and processes at once.

    Args:
        paths: where it is; nothing is made before the first use.
        launcher: unpacks layers and removes them.
        users: gives the ids of the containers whose directories name an image, by its id.
    """

    def __init__(
        self, paths: Paths, launcher: Unpacker, users: Callable[[], Mapping[str, Sequence[str]]] = _unused
    ) -> None:
        self.paths = paths
        self.recorded_users = users
        self._database = Database(paths.database)
        self._has_looked = False
        self._launcher = launcher
        self._seen: dict[str, StoredImage] = {}

    @property
    def database(self) -> Database:
        """Its database; on the first use, images that the machine's power took are forgotten."""
        if not self._has_looked:
            self._has_looked = True
            if syncs.lost(self._database):
                with stages.stage(self.paths, self._database, self._launcher) as stage:  # which settles
                    syncs.forget_lost(self._database, stage)
        return self._database

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        self._database.close()

    def stage(self, *, synced: bool = True) -> AbstractContextManager[Stage]:
        """A place to add images from; first, what ended processes left is collected.

        synced: what is added is on disk when it is there; else soon after, or lost with the machine's power.
        """
        return stages.stage(self.paths, self.database, self._launcher, synced=synced)

    def collect(self) -> None:
        """Remove what ended processes left unfinished."""
        stages.collect(self.paths, self.database, self._launcher)

    def users(self) -> dict[str, list[str]]:
        """By the id of each image, what uses it: ids of containers; `(running)`: one without a directory."""
        users = {image: [*ids] for image, ids in self.recorded_users().items()}
        for image in use.held(self.paths):
            users.setdefault(image, []).append("(running)")
        return users

    def resolve(self, name: str) -> StoredImage:
        """The image of this name, id, or beginning of an id. Reads only: this is on the way of every start.

        Raises:
            ImageNotFound: there is none.
            InvalidOption: the name is not one, or several ids begin with it.
            Unsupported: its programs are for another kind of machine.
        """
        with self.database.reading() as connection:
            image = self._image(connection, self._find(connection, name))
        if not runs_here(image.os, image.architecture):
            here = "/".join(machine_platform())
            raise Unsupported(
                f"image `{name}` is for {image.os or 'linux'}/{image.architecture}, this machine is {here}",
                hint=f"get the image of the same name for {here}",
            )
        return image

    def get(self, name: str) -> StoredImage:
        """As `resolve`, for any platform."""
        with self.database.reading() as connection:
            return self._image(connection, self._find(connection, name))

    def list(self) -> list[StoredImage]:
        """All images, the newest first."""
        with self.database.snapshot() as connection:
            rows = connection.execute(_IMAGES).fetchall()
            images = [self._image(connection, row) for row in rows]
        return sorted(images, key=lambda image: (image.created, image.added), reverse=True)

    def summaries(self, filters: ImageFilters | None = None) -> Sequence[Summary]:
        """What lists show of the images that the filters let through, the newest first.

        Raises:
            ImageNotFound: there is no such image as `before` or `since` names.
            InvalidOption: a filter is not valid.
        """
        from pycontain.images import listing

        with self.database.snapshot() as connection:
            found = listing.summaries(connection)
        return listing.select(found, filters) if filters else found

    def configuration(self, id: str) -> bytes:
        """The configuration document of the image `id`, to the byte."""
        with self.database.reading() as connection:
            return bytes(self._find(connection, id)[1])

    def manifest(self, id: str) -> bytes | None:
        """The manifest that the image `id` came with, to the byte; None where it came without."""
        with self.database.snapshot() as connection:
            image = self._find(connection, id)[0]
            row = connection.execute("SELECT manifest FROM images WHERE id = ?", (image,)).fetchone()
            return None if row[0] is None else bytes(row[0])

    def layers(self, id: str) -> tuple[StoredLayer, ...]:
        """The layers of the image `id` and the blobs they came from, the lowest first.

        They stay for as long as the image does: whoever reads a blob meanwhile opens it, or claims the layer.
        """
        with self.database.snapshot() as connection:
            return stored_layers(connection, self.paths, self._find(connection, id)[0])

    def repositories(self, diff_id: str) -> tuple[Reference, ...]:
        """Where registries are known to have this layer: the images with it that came from or went there."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT reference FROM names JOIN image_layers USING (image)"
                " WHERE diff_id = ? AND reference LIKE '%@%' ORDER BY 1",
                (diff_id,),
            ).fetchall()
        return tuple(parse(reference) for (reference,) in rows)

    def last_tagged(self, id: str) -> float | None:
        """When the image `id` got the latest of its tags, seconds since the epoch; None: not known."""
        last = "SELECT MAX(tagged) FROM names WHERE image = ? AND reference NOT LIKE '%@%'"
        with self.database.reading() as connection:
            tagged: float | None = connection.execute(last, (id,)).fetchone()[0]
        return tagged

    def last_used(self, id: str) -> float:
        """When a container was last made from the image `id`, else when it came; seconds since the epoch."""
        image = self.get(id)
        return max(use.last_used(self.paths, image.id) or 0, image.added)

    def history(self, id: str) -> tuple[HistoryEntry, ...]:
        """How the image `id` was made, the first step first."""
        import json

        entries = json.loads(self.configuration(id)).get("history") or ()
        sizes = [layer.size for layer in self.layers(id)]
        # an image may tell of fewer steps than it has layers, or of more
        made = iter(sizes)
        fields = [name for name in HistoryEntry.__slots__ if name != "size"]
        return tuple(
            HistoryEntry(
                **{name: entry[name] for name in fields if entry.get(name)},
                size=0 if entry.get("empty_layer") else next(made, 0),
            )
            for entry in entries
        )

    def tag(self, name: str, target: str) -> str:
        """Give the image `name` one more name; another image of that name loses it. Returns the name.

        Raises:
            ImageNotFound: there is no image `name`.
            InvalidOption: `target` is no name, or not one that can be given.
        """
        reference = parse_tag(target, "tag")
        with self.database.writing() as connection:
            image = self._find(connection, name)[0]
            connection.execute(
                "INSERT OR REPLACE INTO names (reference, image, tagged) VALUES (?, ?, ?)",
                (reference.key, image, time.time()),
            )
        return reference.with_default_tag().familiar

    def remove(self, name: str, *, force: bool = False) -> Removal:
        """Take the name away; with its last name goes the image: see `images.removal`."""
        from pycontain.images import removal

        return removal.remove(self, name, force=force)

    def has(self, id: str) -> bool:
        """Whether there is an image of this id."""
        with self.database.reading() as connection:
            return connection.execute("SELECT 1 FROM images WHERE id = ?", (id,)).fetchone() is not None

    def found(self, connection: sqlite3.Connection, name: str) -> StoredImage:
        """As `get`, within a transaction."""
        return self._image(connection, self._find(connection, name))

    def _find(self, connection: sqlite3.Connection, name: str) -> tuple[str, bytes, int, float]:
        filed, prefix = key(name), id_prefix(name)
        found: list[tuple[str, bytes, int, float]] = []
        if filed is not None:
            found = connection.execute(_IMAGE_BY_NAME, (filed,)).fetchall()
        if not found and prefix is not None:
            found = connection.execute(_IMAGES_BY_PREFIX, (prefix, prefix + "g")).fetchall()
        if not found:
            raise ImageNotFound(
                f"no such image: `{name}`", hint="`pycontain images` lists those that are here"
            )
        if len(found) > 1:
            raise InvalidOption(
                f"several images have an id that begins with `{name}`", hint="give more of it"
            )
        return found[0]

    def _image(self, connection: sqlite3.Connection, row: tuple[str, bytes, int, float]) -> StoredImage:
        id, configuration, size, added = row
        names = connection.execute("SELECT reference FROM names WHERE image = ? ORDER BY 1", (id,)).fetchall()
        references = tuple(reference for (reference,) in names)
        image = self._seen.get(id)
        if image is None or image.references != references or image.added != added:
            image = self._seen[id] = self._decoded(id, configuration, references, size, added)
        return image

    def _decoded(
        self, id: str, configuration: bytes, references: tuple[str, ...], size: int, added: float
    ) -> StoredImage:
        import json

        document = json.loads(configuration)
        diff_ids = document["rootfs"].get("diff_ids") or ()
        # Overlayfs refuses one directory twice. The topmost one hides nothing less and shows nothing more.
        topmost_first = dict.fromkeys(reversed(diff_ids))
        return StoredImage(
            id=id,
            references=references,
            size=size,
            created=document.get("created") or "",
            added=added,
            os=document.get("os") or "",
            architecture=document.get("architecture") or "",
            config=ImageConfig.of_document(document.get("config") or {}),
            diff_ids=diff_ids,
            layers=[layer_path(self.paths, diff_id) for diff_id in topmost_first],
        )


def key(name: str) -> str | None:
    """What the image of this name is filed under; None for an id, and for what can only begin one."""
    if is_digest(name):  # it could be a name as well, which would stand in for any image
        return None
    try:
        return parse(name).key
    except InvalidOption:
        if id_prefix(name) is not None:
            return None
        raise
