"""Adding images: layers are unpacked out of sight, appear by a rename, and then the image appears.

    1  claim or unpack   staging/<random>/<n>/, <n>.blob   nobody else looks there
    2  verify                                              the digests that the image promises
    3  publish           layers/<diff id>/ and             two renames in one transaction, with the layer's
                         blobs/sha256/<digest>             row and this stage's claim
    4  sync                                                once, for all layers and their names; of what a
                                                           registry has, only begun: see `images.syncs`
    5  commit            rows of images and names          one transaction; the claims go

Killed before 3: a directory that the next stage removes. Killed within 3: a layer, or a blob, without a row.
Killed between 3 and 5: a layer that no image refers to and whose claim is dead. The next stage removes these
too. Claims keep what is still needed from being removed meanwhile.

Until 4 has ended the layer's row says in which boot of the machine it was published: in another one, after a
loss of power, nobody knows what of it is on disk. It counts as missing, and with it the images that have it.
"""

from __future__ import annotations

import contextlib
import os

from pycontain.errors import ImageInvalid, PycontainError, StoreError
from pycontain.images import staging, syncs, use
from pycontain.images.blobs import Blob, blob_path, derived_media_type, layer_path
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from typing import Protocol

    from pycontain._core import Unpacked
    from pycontain.images.database import Database
    from pycontain.paths import Paths

    class Unpacker(Protocol):
        """What the store needs of the launcher."""

        def unpack(
            self,
            source: int,
            directory: str,
            *,
            whiteouts: bool,
            flush: bool,
            own: bool,
            copy: int,
            lock: int,
        ) -> Unpacked: ...
        def sync(self, file_system: int, directory: str, name: str) -> None: ...
        def remove_tree(self, directory: str) -> None: ...


__all__ = ["NewImage", "Stage", "collect", "stage"]


class NewImage(Value):
    """An image whose layers are all there.

    Attributes:
        configuration: the document, to the byte; its digest is the image's id.
        diff_ids: the layers, lowest first.
        references: `Reference.key`s.
        manifest: the document it came with, if any.
    """

    __slots__ = ("configuration", "diff_ids", "references", "manifest")  # noqa: RUF023 - the constructor's order
    configuration: bytes
    diff_ids: tuple[str, ...]
    references: tuple[str, ...]
    manifest: bytes | None

    def __init__(
        self,
        configuration: bytes,
        diff_ids: Sequence[str],
        references: Sequence[str] = (),
        manifest: bytes | None = None,
    ) -> None:
        self._set(
            configuration=configuration,
            diff_ids=tuple(diff_ids),
            references=tuple(references),
            manifest=manifest,
        )

    @property
    def id(self) -> str:
        """The digest of its configuration."""
        import hashlib

        return "sha256:" + hashlib.sha256(self.configuration).hexdigest()


class Stage:
    """One adding of images. Made by `stage`; its methods may be called by several threads."""

    def __init__(
        self, paths: Paths, database: Database, launcher: Unpacker, held: staging.Held, *, synced: bool
    ) -> None:
        self._paths = paths
        self._database = database
        self._launcher = launcher
        self._held = held
        self._synced = synced
        self._cut_off = False  # a layer may have appeared whose row did not: the disk was full

    @property
    def path(self) -> str:
        """A directory of its own, gone afterwards, whatever happens."""
        return self._held.path

    def claim(self, diff_id: str) -> bool:
        """Whether this layer is there; it stays there until this stage ends."""
        with self._database.writing() as connection:
            if not self._is_whole(connection, diff_id):
                return False
            self._add_claim(connection, diff_id)
            return True

    def unpack(
        self,
        source: int,
        entry: str,
        *,
        diff_id: str | None = None,
        digest: str | None = None,
        media_type: str | None = None,
        own: bool = False,
    ) -> Unpacked:
        """Make the layer that is read from the fd `source`, a tar as it is or compressed; keep its bytes.

        Args:
            source: read to its end, not closed.
            entry: what errors call it.
            diff_id: what the digest of the tar must be; None: anything.
            digest: what the digest of the bytes as given must be; None: anything.
            media_type: what the image calls it; None: as its compression is called by the OCI.
            own: it was packed here, and may be nearly all zeros, as the files of a container may be.

        Raises:
            ImageInvalid: it is not a valid layer, or not the one that was promised.
            StoreError: the disk did not take it.
        """
        directory = f"{self.path}/{os.urandom(6).hex()}"
        blob = directory + ".blob"
        os.mkdir(directory, 0o755)
        os.chmod(directory, 0o755)  # noqa: S103 - whatever the umask: other users live in containers
        copy = os.open(blob, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # the launcher holds the lock, too: it may go on writing for a moment when this process is killed
            unpacked = self._launcher.unpack(
                source,
                directory,
                whiteouts=True,
                flush=self._synced,
                own=own,
                copy=copy,
                lock=self._held.descriptor,
            )
        except PycontainError as error:
            # at once: on a full disk nothing else can be done, not even in the database, before there is room
            self._launcher.remove_tree(directory)
            os.unlink(blob)
            if isinstance(error, ImageInvalid):
                raise ImageInvalid(f"`{entry}`: {error}", hint=error.hint) from error
            raise
        finally:
            os.close(copy)
        for promised, found, what in (
            (digest, unpacked.digest, "digest"),
            (diff_id, unpacked.diff_id, "diff id"),
        ):
            if promised is not None and promised != found:
                raise ImageInvalid(f"`{entry}` has {what} {found}, the image promises {promised}")
        try:
            self._publish(directory, blob, unpacked, media_type or derived_media_type(unpacked.compression))
        except BaseException:
            self._cut_off = True
            raise
        return unpacked

    def commit(self, images: Sequence[NewImage]) -> None:
        """Add the images and their names, all at once; a name that another image has moves over."""
        import time

        unsynced = self._unsynced(images)
        if unsynced and self._synced:
            syncs.finish(self._held.descriptor, self._paths.layers)
        elif unsynced:
            syncs.begin(self._paths, self._launcher, self._held)
        with self._database.writing() as connection:
            if self._synced:
                connection.executemany(
                    "UPDATE layers SET boot = NULL, sync = NULL WHERE diff_id = ?", unsynced
                )
            else:
                rows = [(self._held.name, diff_id) for (diff_id,) in unsynced]
                connection.executemany("UPDATE layers SET sync = ? WHERE diff_id = ?", rows)
            for image in images:
                size = sum(self._size(connection, diff_id) for diff_id in set(image.diff_ids))
                connection.execute(
                    "INSERT OR IGNORE INTO images (id, configuration, manifest, size, added)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (image.id, image.configuration, image.manifest, size, time.time()),
                )
                connection.execute(
                    "UPDATE images SET manifest = ? WHERE id = ? AND manifest IS NULL",
                    (image.manifest, image.id),
                )
                connection.executemany(
                    "INSERT OR IGNORE INTO image_layers VALUES (?, ?, ?)",
                    [(image.id, position, diff_id) for position, diff_id in enumerate(image.diff_ids)],
                )
                connection.executemany(
                    "INSERT OR REPLACE INTO names (reference, image, tagged) VALUES (?, ?, ?)",
                    [(reference, image.id, time.time()) for reference in image.references],
                )
            self._drop_claims(connection)

    def replace_blob(self, diff_id: str, blob: Blob) -> Blob:
        """Keep `blob`, a file in this stage, as the bytes of a layer that is here, in place of what is kept.

        Returns:
            As it is kept: another process may have been quicker.

        Whoever has the old one open goes on reading it.
        """
        with self._database.writing() as connection:
            kept = "SELECT digest FROM layers WHERE diff_id = ?"
            old = connection.execute(kept, (diff_id,)).fetchone()
            path = blob_path(self._paths, blob.digest)
            if old[0] == blob.digest:
                return Blob(blob.digest, blob.size, blob.media_type, path)
            os.rename(blob.path, path)
            staging.sync_directory(self._paths.blobs)
            connection.execute(
                "UPDATE layers SET digest = ?, compressed_size = ?, media_type = ? WHERE diff_id = ?",
                (blob.digest, blob.size, blob.media_type, diff_id),
            )
            self._take_away(blob_path(self._paths, old[0]))
        return Blob(blob.digest, blob.size, blob.media_type, path)

    def discard(self, connection: sqlite3.Connection) -> list[str]:
        """Within a transaction: take layers that nothing refers to out of sight, to go with this stage.

        In a transaction after the one that made them unused: undoing that could not bring them back.
        """
        rows = connection.execute(
            "SELECT diff_id, digest FROM layers"
            " WHERE diff_id NOT IN (SELECT diff_id FROM image_layers)"
            " AND diff_id NOT IN (SELECT diff_id FROM claims)"
        ).fetchall()
        for diff_id, digest in rows:
            connection.execute("DELETE FROM layers WHERE diff_id = ?", (diff_id,))
            self._take_away(layer_path(self._paths, diff_id))
            self._take_away(blob_path(self._paths, digest))
        return [diff_id for diff_id, _ in rows]

    def discard_unrecorded(self, connection: sqlite3.Connection) -> None:
        """Within a transaction: the same for layers and blobs that appeared, but not their row."""
        for directory, recorded in (
            (self._paths.layers, "SELECT diff_id FROM layers"),
            (self._paths.blobs, "SELECT digest FROM layers WHERE media_type IS NOT NULL"),
        ):
            names = {row[0].removeprefix("sha256:") for row in connection.execute(recorded)}
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(directory):
                    if name not in names:
                        self._take_away(f"{directory}/{name}")
        use.keep_only(self._paths, [row[0] for row in connection.execute("SELECT id FROM images")])

    def close(self) -> None:
        """Give up what was not committed, and remove everything in the stage."""
        try:
            with self._database.writing() as connection:
                given_up = self._drop_claims(connection)
            if given_up or self._cut_off:
                with self._database.writing() as connection:
                    self.discard(connection)
                    self.discard_unrecorded(connection)
            remove(self._held, self._launcher)
        finally:
            self._held.release()

    def _publish(self, directory: str, blob: str, unpacked: Unpacked, media_type: str) -> None:
        # images have setuid programs, which are nothing for this machine's other users (CVE-2021-41091)
        for parent in (self._paths.layers, os.path.dirname(self._paths.blobs), self._paths.blobs):
            os.makedirs(parent, mode=0o700, exist_ok=True)
        with self._database.writing() as connection:
            whole = self._is_whole(connection, unpacked.diff_id)
            kept = connection.execute(
                "SELECT digest FROM layers WHERE diff_id = ? AND media_type IS NOT NULL", (unpacked.diff_id,)
            ).fetchone()
            # already there when another process was quicker: this one's copy goes with the stage
            if not (whole and kept):
                target = blob_path(self._paths, unpacked.digest)
                if whole:  # the blob alone was missing, of a layer that images may refer to
                    _sync_file(blob)
                else:
                    self._take_away(layer_path(self._paths, unpacked.diff_id))
                    os.rename(directory, layer_path(self._paths, unpacked.diff_id))
                    if kept:
                        self._take_away(blob_path(self._paths, kept[0]))
                os.rename(blob, target)
                if whole:
                    staging.sync_directory(self._paths.blobs)
                connection.execute(
                    "INSERT INTO layers (diff_id, digest, compressed_size, size, media_type, boot)"
                    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (diff_id) DO UPDATE SET digest = excluded.digest,"
                    " compressed_size = excluded.compressed_size, media_type = excluded.media_type,"
                    " boot = excluded.boot, sync = NULL",
                    (
                        unpacked.diff_id,
                        unpacked.digest,
                        unpacked.compressed_size,
                        unpacked.size,
                        media_type,
                        None if whole else staging.boot(),
                    ),
                )
            self._add_claim(connection, unpacked.diff_id)

    def _is_whole(self, connection: sqlite3.Connection, diff_id: str) -> bool:
        """Whether this layer is here, and all of it."""
        row = connection.execute("SELECT boot FROM layers WHERE diff_id = ?", (diff_id,)).fetchone()
        # no directory: its removal was cut off, and nothing refers to it
        return (
            row is not None
            and row[0] in {None, staging.boot()}
            and os.path.isdir(layer_path(self._paths, diff_id))
        )

    def _unsynced(self, images: Sequence[NewImage]) -> list[tuple[str]]:
        """All layers that a sync now writes to disk; nothing when none of them is of these images."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT diff_id FROM layers WHERE boot = ?", (staging.boot(),)
            ).fetchall()
        wanted = {diff_id for image in images for diff_id in image.diff_ids}
        return rows if any(diff_id in wanted for (diff_id,) in rows) else []

    def _size(self, connection: sqlite3.Connection, diff_id: str) -> int:
        row = connection.execute("SELECT size FROM layers WHERE diff_id = ?", (diff_id,)).fetchone()
        return int(row[0]) if row else 0

    def _add_claim(self, connection: sqlite3.Connection, diff_id: str) -> None:
        connection.execute("INSERT OR IGNORE INTO claims VALUES (?, ?)", (diff_id, self._held.name))

    def _drop_claims(self, connection: sqlite3.Connection) -> bool:
        return connection.execute("DELETE FROM claims WHERE stage = ?", (self._held.name,)).rowcount > 0

    def _take_away(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, f"{self.path}/{os.urandom(6).hex()}")


@contextlib.contextmanager
def stage(paths: Paths, database: Database, launcher: Unpacker, *, synced: bool = True) -> Iterator[Stage]:
    """A stage for the block; first, what ended processes left is collected.

    synced: what it adds is on disk when it is there; else soon after.
    """
    try:
        held = staging.hold(paths.staging)
    except OSError as error:
        raise StoreError(
            f"cannot write to `{paths.staging}`: {error.strerror}", errno=error.errno, filename=paths.staging
        ) from error
    made = Stage(paths, database, launcher, held, synced=synced)
    try:
        syncs.settle(paths, database)
        if staging.names(paths.staging) != [held.name]:
            _collect(paths, database, launcher, made)
        yield made
    finally:
        made.close()


def collect(paths: Paths, database: Database, launcher: Unpacker) -> None:
    """Remove what ended processes left, if they left anything."""
    if staging.names(paths.staging):
        with stage(paths, database, launcher):
            pass


def _collect(paths: Paths, database: Database, launcher: Unpacker, collector: Stage) -> None:
    dead = list(staging.abandoned(paths.staging))
    try:
        if not dead:
            return
        with database.writing() as connection:
            alive = set(staging.names(paths.staging)) - {held.name for held in dead}
            claimed = {row[0] for row in connection.execute("SELECT DISTINCT stage FROM claims")}
            connection.executemany(
                "DELETE FROM claims WHERE stage = ?", [(name,) for name in claimed - alive]
            )
        with database.writing() as connection:
            collector.discard(connection)
            collector.discard_unrecorded(connection)
        for held in dead:
            remove(held, launcher)
    finally:
        for held in dead:
            held.release()


def remove(held: staging.Held, launcher: Unpacker) -> None:
    """Remove a stage's directory; layers in it by the launcher, who may remove what others own."""
    with contextlib.suppress(FileNotFoundError):
        try:
            os.rmdir(held.path)
        except OSError:
            launcher.remove_tree(held.path)


def _sync_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
