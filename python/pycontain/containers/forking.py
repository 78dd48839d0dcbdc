"""A new container from the files of another, as they are now.

    stopped   what it wrote becomes a layer that both have below what they write: nothing is copied
    running   all processes in it stand still while that is copied, and go on

Volumes without a name are copied in either case; those with one, and what is of the host, both have.
"""

from __future__ import annotations

import contextlib
import os
import time

from pycontain.containers import keeping
from pycontain.errors import Unsupported
from pycontain.images import staging
from pycontain.runtime import directory as directories
from pycontain.runtime import events, kept, names, records, shared, volumes
from pycontain.runtime.namespaces import container_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycontain._core import Launcher
    from pycontain.images import Images
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept
    from pycontain.runtime.records import MountRecord, Record

__all__ = ["fork"]

_SHORT = 12  # digits of an id that is a host's name
_OF_ONE = frozenset({"name", "cidfile"})  # options that no two containers have alike


def fork(
    paths: Paths, images: Images, original: Kept, launcher: Launcher, name: str | None, *, start: bool | None
) -> Kept:
    """Make the new container; see `Container.fork`."""
    if b'"upperdir=' not in original.own_config:
        raise Unsupported(
            f'cannot fork container "{original.record.name}": its root is a directory of this machine',
            hint="`--rootfs DIR` without `:rw` gives containers a layer of their own",
        )
    called = None if name is None else container_name(name)
    id = os.urandom(32).hex()
    made = directories.make(f"{paths.containers}/{id}")
    try:
        if called is None:
            called = names.take_any(paths, made.path)
        else:
            names.take(paths, called, made.path)
        with keeping.standing_still(paths, original) as stopped:
            directories.use_image(made, original.record.image_id, images.hold)
            directories.use_images(made, directories.images(original.path), images.hold)
            _copy_files(paths, original, made.path, launcher, stopped=stopped)
            again = _volumes(paths, original, made.path, launcher)
            record = _record(original, id, called, again)
            config = _config(original, record, again)
        directories.record(made, record, config)
    except BaseException:
        directories.remove(paths, made, launcher)
        if called is not None:
            names.give_up(paths, called, id)
        raise
    made.close()
    events.of_container(paths, "create", record)
    found = kept.find(paths, id)
    if not stopped if start is None else start:
        keeping.start(paths, found, launcher)
    return found


def _copy_files(paths: Paths, original: Kept, directory: str, launcher: Launcher, *, stopped: bool) -> None:
    if stopped:
        with contextlib.suppress(OSError):  # this file system cannot do that: a copy is as good
            shared.move_below(paths, original.own_config, original.path)
    for layer in reversed(shared.layers(original.path)):
        with shared.put_below(directory, layer):
            pass
    for entry in staging.names(original.path):
        if entry in {"work", "nothing"} or entry.startswith("work-"):
            directories.fill([f"{directory}/{entry}"], ())
    directories.fill(
        [f"{directory}/upper"], ()
    )  # the original's is an empty one by now, where it could be moved
    launcher.duplicate(f"{original.path}/upper", f"{directory}/upper")


def _volumes(paths: Paths, original: Kept, directory: str, launcher: Launcher) -> dict[str, str]:
    """Those of the original; the new names of those that it has alone, which are copied."""
    again: dict[str, str] = {}
    for name, own in volumes.of_container(original.path).items():
        found = volumes.find(paths, name)
        again |= {name: os.urandom(32).hex()} if own else {}
        use = volumes.VolumeUse(
            again.get(name, name), found.record.labels, found.record.options, anonymous=own
        )
        if own:
            volumes.link(directory, use)
            with volumes.filled(paths, use, os.path.basename(directory), launcher) as files:
                launcher.duplicate(found.mountpoint, files)
        volumes.use(paths, directory, [use])
    return again


def _record(original: Kept, id: str, name: str, again: Mapping[str, str]) -> Record:
    old = original.record
    options = {key: value for key, value in old.options.items() if key not in _OF_ONE}
    return records.changed(
        old,
        id=id,
        name=name,
        created=time.time(),
        hostname=id[:_SHORT] if old.hostname == old.id[:_SHORT] else old.hostname,
        mounts=tuple(_again(mount, again) for mount in old.mounts),
        options=options | {"name": name},
    )


def _again(mount: MountRecord, again: Mapping[str, str]) -> MountRecord:
    name = again.get(mount.name, mount.name)
    return records.changed(mount, name=name, source=mount.source.replace(mount.name, name))


def _config(original: Kept, record: Record, again: Mapping[str, str]) -> bytes:
    """That of the original with another id, which is part of paths, and of the host's name by default.

    An id is a random number: where its digits are, it is meant. So are the names of its own volumes.
    """
    text = original.own_config.replace(original.id.encode(), record.id.encode())
    for old, new in again.items():
        text = text.replace(old.encode(), new.encode())
    if record.hostname != original.record.hostname:
        text = text.replace(original.record.hostname.encode(), record.hostname.encode())
    return text
