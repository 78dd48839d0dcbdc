"""`images.db`: opening, migrations, transactions.

SQLite in WAL mode: readers wait for nobody, writers for each other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading

from pycontain.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

__all__ = ["Database"]

_BUSY_SECONDS = 120

# Number n brings `user_version` n to n + 1. What has been released is never edited.
_MIGRATIONS = (
    """
    CREATE TABLE images (
        id TEXT PRIMARY KEY,            -- digest of the configuration
        configuration BLOB NOT NULL,    -- as it came, to the byte
        manifest BLOB,
        size INTEGER NOT NULL,          -- bytes of its layers, unpacked
        added REAL NOT NULL             -- seconds since the epoch
    ) WITHOUT ROWID;
    CREATE TABLE names (
        reference TEXT PRIMARY KEY,     -- domain/path:tag or domain/path@digest
        image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
    ) WITHOUT ROWID;
    CREATE INDEX names_of_image ON names (image);
    CREATE TABLE layers (
        diff_id TEXT PRIMARY KEY,
        digest TEXT NOT NULL,           -- of the compressed layer it was unpacked from
        compressed_size INTEGER NOT NULL,
        size INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE image_layers (
        image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,      -- 0 is the lowest
        diff_id TEXT NOT NULL REFERENCES layers (diff_id),
        PRIMARY KEY (image, position)
    ) WITHOUT ROWID;
    CREATE INDEX images_of_layer ON image_layers (diff_id);
    CREATE TABLE claims (               -- layers needed by an image that is still being added
        diff_id TEXT NOT NULL,
        stage TEXT NOT NULL,            -- its directory's name: alive while that is locked
        PRIMARY KEY (diff_id, stage)
    ) WITHOUT ROWID;
    """,
    """
    -- of the blob named by `digest`; NULL: the blob was not kept
    ALTER TABLE layers ADD COLUMN media_type TEXT;
    """,
    """
    ALTER TABLE names ADD COLUMN tagged REAL; -- when the image got it, seconds since the epoch; NULL: unknown
    """,
    """
    -- the boot of the machine in which it was published, as long as nobody synced it; NULL: it is on disk
    ALTER TABLE layers ADD COLUMN boot TEXT;
    """,
    """
    ALTER TABLE layers ADD COLUMN sync TEXT; -- which sync writes it to disk, if one was begun
    """,
)


class Database:
    """One store's database, for all threads of a process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._process = 0

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The one cached connection, for SELECTs of microseconds."""
        with self._lock:
            # A connection must not be used, nor even closed, in a process forked from the one that opened it.
            if self._reader is None or self._process != os.getpid():
                _FORKED.append(self._reader)
                self._reader, self._process = self._open(), os.getpid()
            with _told_as_store_error(self._path):
                yield self._reader

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """The same for several SELECTs, which see one state, whatever others write meanwhile."""
        with self.reading() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")

    @contextlib.contextmanager
    def writing(self, *, synced: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction, alone among all processes; committed after the block, undone by an exception.

        synced: it is on disk when it is committed. Others may be lost with the machine's power, but whole and
            in their order.
        """
        connection = self._open()
        try:
            with _told_as_store_error(self._path):
                if synced:
                    connection.execute("PRAGMA synchronous = FULL")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        finally:
            connection.close()

    def close(self) -> None:
        """Close the cached connection; the next use opens another."""
        with self._lock:
            if self._reader is not None and self._process == os.getpid():
                self._reader.close()
                self._reader = None

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        with _told_as_store_error(self._path):
            os.makedirs(os.path.dirname(self._path), mode=0o711, exist_ok=True)
            _keep_private(self._path)
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("PRAGMA synchronous = NORMAL")
                if _version(connection) != len(_MIGRATIONS):
                    self._migrate(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        import fcntl

        # SQLite does not wait for others while it changes the journal mode: a lock of our own does
        directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            version = _version(connection)
            if version > len(_MIGRATIONS):
                raise StoreError(
                    f"`{self._path}` has version {version}, this pycontain knows {len(_MIGRATIONS)}",
                    filename=self._path,
                    hint="use the newer pycontain that wrote it",
                )
            connection.execute("PRAGMA journal_mode = WAL")
            for number in range(version, len(_MIGRATIONS)):
                script = f"BEGIN IMMEDIATE; {_MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
                connection.executescript(script)
        finally:
            os.close(directory)


_FORKED: list[object] = []  # connections of the parent process, kept from being closed


def _keep_private(path: str) -> None:
    """For its owner alone: images' environments have secrets, and anybody may look for a name in the root."""
    try:
        # not `open`: to close it would give up the locks that SQLite has on it in this process
        os.mknod(path, 0o600)
    except FileExistsError:
        status = os.stat(path)
        if status.st_mode & 0o077 and status.st_uid == os.geteuid():
            for name in (path, f"{path}-wal", f"{path}-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.chmod(name, 0o600)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_full(directory: str) -> bool:
    try:
        return os.statvfs(directory).f_bavail == 0
    except OSError:
        return False


@contextlib.contextmanager
def _told_as_store_error(path: str) -> Iterator[None]:
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        if _is_full(os.path.dirname(path)):  # SQLite calls it an I/O error where it maps the file
            raise StoreError(
                f"cannot use `{path}`: no space left on device",
                errno=errno.ENOSPC,
                filename=path,
                hint="make room for it on that disk; `pycontain system df` shows what is kept there then",
            ) from error
        raise StoreError(f"cannot use `{path}`: {error}", filename=path) from error
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"cannot use `{error.filename or path}`: {error.strerror}", errno=error.errno, filename=path
        ) from error
