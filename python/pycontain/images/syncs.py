"""Layers on their way to disk after the pull that brought them has ended.

    <root>/synced/<stage>       an empty file: the sync that this stage began is done

A pull need not wait for the disk: what is lost with the machine's power can be pulled again. The row of a
layer says in which boot it was published and which sync takes it to disk. The next stage clears the rows of
syncs that are done. In another boot, layers whose sync was not done are gone, and the images that have them.
"""

from __future__ import annotations

import contextlib
import os

from pycontain.errors import StoreError
from pycontain.images import staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.images.database import Database
    from pycontain.images.stage import Stage, Unpacker
    from pycontain.paths import Paths

__all__ = ["begin", "finish", "forget_lost", "lost", "settle"]


def finish(descriptor: int, layers: str) -> None:
    """Write all of the file system to disk.

    The fd was opened before anything was written: it is told of whatever could not be written since.

    Raises:
        StoreError: it cannot be written.
    """
    from pycontain._core import sync_file_system

    try:
        sync_file_system(descriptor)
    except OSError as error:
        raise StoreError(
            f"cannot write layers to disk: {error.strerror}", errno=error.errno, filename=layers
        ) from error


def begin(paths: Paths, launcher: Unpacker, stage: staging.Held) -> None:
    """The same, by a process that nobody waits for."""
    os.makedirs(paths.synced, mode=0o700, exist_ok=True)
    launcher.sync(stage.descriptor, paths.synced, stage.name)


def settle(paths: Paths, database: Database) -> None:
    """Clear the rows of layers whose sync is done."""
    # of a stage that has not ended, the rows may not say yet which sync is theirs
    done = [name for name in staging.names(paths.synced) if not os.path.exists(f"{paths.staging}/{name}")]
    if not done:
        return
    with database.writing(synced=True) as connection:
        cleared = "UPDATE layers SET boot = NULL, sync = NULL WHERE sync = ?"
        connection.executemany(cleared, [(name,) for name in done])
    for name in done:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{paths.synced}/{name}")


def lost(database: Database) -> bool:
    """Whether there are layers of another boot of which it is not known that they are on disk."""
    found = "SELECT 1 FROM layers WHERE boot <> ? LIMIT 1"
    with database.reading() as connection:
        return connection.execute(found, (staging.boot(),)).fetchone() is not None


def forget_lost(database: Database, stage: Stage) -> None:
    """Remove these layers, and the images that have them: they can be pulled again."""
    with database.writing() as connection:
        connection.execute(
            "DELETE FROM images WHERE id IN"
            " (SELECT image FROM image_layers JOIN layers USING (diff_id) WHERE boot <> ?)",
            (staging.boot(),),
        )
    with database.writing() as connection:
        stage.discard(connection)
