"""Containers that move to another machine: `save` writes one as a tar, `load` makes it again.

    container.json     what it is: see `archived.Document`
    image.tar          its image, as `pycontain save` writes it, if that is to come along
    layers/<id>        what it wrote before it was forked or saved, a tar.zst for each layer
    top                what it wrote since
    volumes/<name>     its volumes, but what their driver takes from elsewhere
    end                nothing; without it the archive was cut off

To save a stopped container makes a layer of what it wrote, as a fork does; a layer has the same id everywhere
and never changes. So it need not be sent twice: an incremental archive names those that the last one had.
Volumes are always sent.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shutil
import tarfile

import msgspec

from pycontain.containers import keeping
from pycontain.containers.archived import VERSION, Archived, Document, Volume
from pycontain.errors import Conflict, ImageInvalid, ImageNotFound, StillInUse, Unsupported
from pycontain.images import staging
from pycontain.runtime import directory as directories
from pycontain.runtime import events, kept, names, records, shared, volumes
from pycontain.runtime.namespaces import container_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from pycontain._core import Launcher
    from pycontain.images import Images
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept
    from pycontain.types import RootFilesystem

__all__ = ["load", "save"]

_SENT = "sent"  # in the container's directory: the ids of the layers that were in its last archive
_LONGEST = 16 << 20  # bytes of a document


def save(
    paths: Paths,
    images: Images,
    container: Kept,
    launcher: Launcher,
    target: int,
    *,
    incremental: bool,
    with_image: bool,
) -> None:
    """Write the container to an fd; see `Container.save`."""
    record = container.record
    if any(mount.type == "image" for mount in record.mounts):
        raise Unsupported(
            f'cannot save container "{record.name}": it has the files of an image mounted',
            hint="`pycontain export` writes all of its own files",
        )
    if not record.image_id.startswith("sha256:"):
        raise Unsupported(
            f'cannot save container "{record.name}": it is made of files that only this machine has',
            hint="`pycontain export` writes all of its files",
        )
    known = _sent(container) if incremental else frozenset()
    with contextlib.ExitStack() as files:
        with keeping.standing_still(paths, container) as stopped:
            state = kept.state(paths, container)
            if stopped:
                with contextlib.suppress(OSError):  # then all of it is sent each time
                    shared.move_below(paths, container.own_config, container.path)
            config = container.own_config
            below = shared.layers(container.path)
            found = {name: volumes.find(paths, name) for name in volumes.of_container(container.path)}
            packed = {"top": _packed(files, paths, launcher, config, container, f"{container.path}/upper")}
            for name, volume in found.items():
                if not volume.record.options:
                    tree = volume.mountpoint
                    packed[f"volumes/{name}"] = _packed(files, paths, launcher, config, container, tree)
        layers = [os.path.basename(path) for path in reversed(below)]
        document = Document(
            VERSION,
            paths.root,
            record,
            json.loads(config),
            state if state.status == "exited" else records.State(),
            tuple(layers),
            tuple(
                Volume(name, own, found[name].record.labels, found[name].record.options)
                for name, own in volumes.of_container(container.path).items()
            ),
        )
        with os.fdopen(os.dup(target), "wb") as file, tarfile.open(fileobj=file, mode="w|") as archive:
            _add(archive, "container.json", io.BytesIO(msgspec.json.encode(document)))
            if with_image:
                image = files.enter_context(_temporary(paths))
                images.save([record.image_id], image)
                _add(archive, "image.tar", image)
            for path in reversed(below):
                if os.path.basename(path) not in known:
                    with contextlib.ExitStack() as one:
                        layer = _packed(one, paths, launcher, config, container, path)
                        _add(archive, f"layers/{os.path.basename(path)}", layer)
            for name, member in packed.items():
                _add(archive, name, member)
            _add(archive, "end", io.BytesIO())
    records.replace_file(f"{container.path}/{_SENT}", json.dumps(layers).encode())


def _sent(container: Kept) -> frozenset[str]:
    with contextlib.suppress(FileNotFoundError, ValueError), open(f"{container.path}/{_SENT}") as file:
        return frozenset(json.load(file))
    return frozenset()


def _packed(
    files: contextlib.ExitStack, paths: Paths, launcher: Launcher, config: bytes, container: Kept, tree: str
) -> IO[bytes]:
    """A tree as a compressed layer, in a file without a name."""
    file = files.enter_context(_temporary(paths))
    skip = [] if tree.startswith(f"{paths.volumes}/") else container.mount_points
    of_tree = shared.with_upper(config, container.path, tree)
    launcher.pack_layer(of_tree, file.fileno(), skip=skip, compression="zstd")
    return file


def _temporary(paths: Paths) -> IO[bytes]:
    os.makedirs(paths.staging, mode=0o700, exist_ok=True)
    return os.fdopen(os.open(paths.staging, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), "w+b")


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes]) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = file.seek(0, os.SEEK_END)
    file.seek(0)
    archive.addfile(entry, file)


def load(paths: Paths, images: Images, launcher: Launcher, source: IO[bytes], *, name: str | None) -> Kept:
    """Make the container of an archive; see `Containers.load`."""
    try:
        with tarfile.open(fileobj=source, mode="r|") as archive:
            return _Loading(paths, images, launcher, archive, name).make()
    except tarfile.TarError as error:
        raise ImageInvalid(f"this is no archive of a container, or not all of one: {error}") from error


class _Loading:
    """A container in the making: a directory that takes its place at the end, when all is there."""

    def __init__(
        self, paths: Paths, images: Images, launcher: Launcher, archive: tarfile.TarFile, name: str | None
    ) -> None:
        self._paths = paths
        self._images = images
        self._launcher = launcher
        self._archive = archive
        self._name = name and container_name(name)
        self._volumes: dict[str, str] = {}  # their directories, until they appear
        self._member = archive.next()
        self._archived = Archived(self._read("container.json"), paths)
        self._path = self._archived.path

    def make(self) -> Kept:
        """Make it."""
        self._load_image()
        with self._old() as old, contextlib.ExitStack() as layers:
            made = directories.make(f"{self._paths.ephemeral}/{os.urandom(32).hex()}")
            try:
                config, record = self._archived.complete(self._root(), self._called(old))
                self._fill(made, layers)
                self._describe(made, record, config)
                self._appear(made, record, old)
            except BaseException:
                directories.remove(self._paths, made, self._launcher)
                raise
            made.close()
        shared.collect(self._paths, self._launcher)  # of what was there before
        events.of_container(self._paths, "create", record)
        return kept.find(self._paths, record.id)

    def _load_image(self) -> None:
        from pycontain.images.mount_points import mount_points

        record = self._archived.record
        if self._is_at("image.tar"):
            with self._spooled() as file:
                self._images.load(file)
        if not self._images.has(record.image_id):
            raise ImageNotFound(
                f"the image of container `{record.name}` is not here: `{record.image}`, {record.image_id}",
                hint="pull it, or save the container with it: `pycontain container save --with-image`",
            )
        mount_points(self._paths)

    @contextlib.contextmanager
    def _old(self) -> Iterator[Kept | None]:
        """What an archive before this one made of it, if anything; it does not run for the block."""
        if not os.path.exists(f"{self._path}/container.json"):
            yield None
            return
        found = kept.find(self._paths, self._archived.record.id)
        with kept.held(self._paths, found) as stopped:
            if stopped is None:
                raise StillInUse(
                    f'container "{found.record.name}" is here already, and runs', hint="stop it first"
                )
            yield found

    def _root(self) -> RootFilesystem:
        return self._images.for_start(self._archived.record.image_id).root

    def _called(self, old: Kept | None) -> str:
        return self._name or (old.record.name if old else self._archived.record.name)

    def _fill(self, made: directories.Directory, held: contextlib.ExitStack) -> None:
        directory = made.path
        directories.use_image(made, self._archived.record.image_id, self._images.hold)
        for layer in self._archived.layers:
            if self._is_at(f"layers/{layer}"):
                held.enter_context(self._new_layer(layer))
            elif not os.path.isdir(f"{self._paths.shared}/{layer}"):
                raise Conflict(
                    f"layer {layer} is not here: the archive has only what is new since the one before it",
                    hint="save all of it: `pycontain container save` without `--incremental`",
                )
            held.enter_context(shared.put_below(directory, f"{self._paths.shared}/{layer}"))
        directories.fill([f"{directory}/work", f"{directory}/upper"], ())
        self._unpack("top", f"{directory}/upper")
        for volume in self._archived.volumes:
            held.enter_context(self._volume(volume, directory))
        if not self._is_at("end"):
            raise ImageInvalid("the archive of the container is cut off")

    @contextlib.contextmanager
    def _new_layer(self, layer: str) -> Iterator[None]:
        """Nobody removes it for the block, although no container has it yet."""
        held = staging.hold(self._paths.shared)
        try:
            self._unpack(f"layers/{layer}", held.path)
            try:
                os.rename(held.path, f"{self._paths.shared}/{layer}")
            except OSError:  # it is here: a layer never changes
                self._launcher.remove_tree(held.path)
            fcntl.flock(held.descriptor, fcntl.LOCK_SH)
            yield
        finally:
            held.release()

    @contextlib.contextmanager
    def _volume(self, volume: Volume, directory: str) -> Iterator[None]:
        """A volume of the container, which takes its place when the container does."""
        id = self._archived.record.id
        use = volumes.VolumeUse(volume.name, volume.labels, volume.options, anonymous=volume.own)
        if volumes.exists(self._paths, volume.name):
            users = staging.names(f"{self._paths.volumes}/{volume.name}/users")
            if users != [id]:
                raise Conflict(
                    f"volume `{volume.name}` of the container is here already, and not the container's alone",
                    hint="look whether it may go: `pycontain volume rm`",
                )
        volumes.link(directory, use)
        with volumes.making(self._paths, use) as made:
            try:
                directories.fill([f"{made}/_data"], ())
                os.symlink(id, f"{made}/users/{id}")
                if not volume.options:
                    self._unpack(f"volumes/{volume.name}", f"{made}/_data")
                self._volumes[volume.name] = made
                yield
            finally:
                self._launcher.remove_tree(made)  # or what was in its place

    def _describe(self, made: directories.Directory, record: records.Record, config: bytes) -> None:
        directories.record(made, record, config)
        records.write_state(made.path, self._archived.state)

    def _appear(self, made: directories.Directory, record: records.Record, old: Kept | None) -> None:
        from pycontain._core import exchange

        os.makedirs(self._paths.containers, mode=0o700, exist_ok=True)
        os.makedirs(self._paths.names, exist_ok=True)
        try:
            with staging.locked(
                self._paths.names
            ):  # until then the link leads nowhere, and could be taken over
                for name, volume in self._volumes.items():
                    volumes.appear(self._paths, volume, name)
                if old is None or old.record.name != record.name:
                    names.take_locked(self._paths, record.name, self._path)
                os.rename(made.path, self._path) if old is None else exchange(made.path, self._path)
        except OSError:
            if old is None:
                names.give_up(self._paths, record.name, record.id)
            raise
        if old is None:
            return
        self._launcher.remove_tree(made.path)
        if old.record.name != record.name:
            names.give_up(self._paths, old.record.name, record.id)

    def _is_at(self, name: str) -> bool:
        return self._member is not None and self._member.name == name

    def _read(self, name: str) -> bytes:
        if not self._is_at(name):
            raise ImageInvalid(f"this is no archive of a container: it has no `{name}` where that should be")
        assert self._member is not None
        file = self._archive.extractfile(self._member)
        content = file.read(_LONGEST) if file is not None else b""
        self._member = self._archive.next()
        return content

    @contextlib.contextmanager
    def _spooled(self) -> Iterator[IO[bytes]]:
        """The member, in a file without a name."""
        assert self._member is not None
        with _temporary(self._paths) as file:
            source = self._archive.extractfile(self._member)
            if source is not None:
                shutil.copyfileobj(source, file)
            file.seek(0)
            yield file
        self._member = self._archive.next()

    def _unpack(self, name: str, directory: str) -> None:
        if not self._is_at(name):
            raise ImageInvalid(f"the archive of the container is cut off: it has no `{name}`")
        with self._spooled() as file:
            self._launcher.unpack(file.fileno(), directory, whiteouts=True)
