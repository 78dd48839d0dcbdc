"""Containers that move to another machine: `save` writes one as a tar, `load` makes it again.

    container.json     what it is: see `_Document`
    image.tar          its image, as `pycontain save` writes it, if that is to come along
    layers/<id>        what it wrote before it was forked or saved, a tar.zst for each layer
    top                what it wrote since
    volumes/<n>        its anonymous volumes
    end                nothing; without it the archive was cut off

To save a stopped container makes a layer of what it wrote, as a fork does; a layer has the same id everywhere
and never changes. So it need not be sent twice: an incremental archive names those that the last one had.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import re
import shutil
import tarfile
from typing import Any

import msgspec

from pycontain.containers import keeping
from pycontain.errors import Conflict, ImageInvalid, ImageNotFound, StillInUse, Unsupported
from pycontain.images import staging
from pycontain.runtime import directory as directories
from pycontain.runtime import events, kept, names, recording, records, shared, spec
from pycontain.runtime.command import NoImage
from pycontain.runtime.namespaces import container_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from pycontain._core import Launcher
    from pycontain.images import Images
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept

__all__ = ["load", "save"]

_VERSION = 1
_SENT = "sent"  # in the container's directory: the ids of the layers that were in its last archive
# what a container may do on its machine: the options that say so, and where the configuration has it
_RIGHTS = frozenset(
    "cap_add cap_drop cgroup_parent cgroupns device_cgroup_rules devices ipc network pid privileged "
    "read_only security_opt sysctls userns uts".split()
)
_OF_PROCESS = ("capabilities", "noNewPrivileges")
_OF_ANNOTATIONS = ("io.pycontain.seccomp", "io.pycontain.privileged", "io.pycontain.copy")
_KINDS = ("bind", "tmpfs")  # of mounts that options ask for
_ID = re.compile(r"[0-9a-f]{64}\Z")
_LAYER = re.compile(r"[0-9a-f]{24}\Z")
_VOLUME = re.compile(r"[0-9]{1,6}\Z")
_LONGEST = 16 << 20  # bytes of a document


class _Document(msgspec.Struct, frozen=True):
    """What an archive begins with: `root` is where everything was, `layers` are all, the lowest first."""

    version: int
    root: str
    record: records.Record
    config: dict[str, Any]
    state: records.State
    layers: tuple[str, ...]
    volumes: tuple[str, ...]


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
            volumes = sorted(staging.names(f"{container.path}/volumes"), key=int)
            packed = {"top": _packed(files, paths, launcher, config, container, f"{container.path}/upper")}
            for volume in volumes:
                place = f"{container.path}/volumes/{volume}"
                packed[f"volumes/{volume}"] = _packed(files, paths, launcher, config, container, place)
        layers = [os.path.basename(path) for path in reversed(below)]
        document = _Document(
            _VERSION,
            paths.root,
            record,
            json.loads(config),
            state if state.status == "exited" else records.State(),
            tuple(layers),
            tuple(volumes),
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
    skip = [] if tree.startswith(f"{container.path}/volumes/") else container.mount_points
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
        self._member = archive.next()
        self._document = self._read_document()
        self._path = f"{paths.containers}/{self._document.record.id}"

    def make(self) -> Kept:
        """Make it."""
        self._load_image()
        with self._old() as old, contextlib.ExitStack() as layers:
            made = directories.make(f"{self._paths.ephemeral}/{os.urandom(32).hex()}")
            try:
                config = self._config()
                record = self._record(old, config)
                self._fill(made, layers)
                self._describe(made, record, config)
                self._appear(made, record, old)
            except BaseException:
                directories.remove(made, self._launcher)
                raise
            made.close()
        shared.collect(self._paths, self._launcher)  # of what was there before
        events.of_container(self._paths, "create", record)
        return kept.find(self._paths, record.id)

    def _read_document(self) -> _Document:
        try:
            document = msgspec.json.decode(self._read("container.json"), type=_Document)
        except msgspec.DecodeError as error:
            raise ImageInvalid(f"`container.json` is damaged: {str(error).lower()}") from error
        if document.version != _VERSION:
            raise Unsupported(
                f"the archive is of version {document.version}", hint="a newer pycontain reads it"
            )
        container_name(document.record.name)
        for kind, values in (
            (_ID, (document.record.id,)),
            (_LAYER, document.layers),
            (_VOLUME, document.volumes),
        ):
            for value in values:
                if not kind.match(value):
                    raise ImageInvalid(f"`container.json` is damaged: `{value}` is no id")
        return document

    def _load_image(self) -> None:
        from pycontain.images.mount_points import mount_points

        record = self._document.record
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
        found = kept.find(self._paths, self._document.record.id)
        with kept.held(self._paths, found) as stopped:
            if stopped is None:
                raise StillInUse(
                    f'container "{found.record.name}" is here already, and runs', hint="stop it first"
                )
            yield found

    def _record(self, old: Kept | None, config: bytes) -> records.Record:
        record = self._document.record
        name = self._name or (old.record.name if old else record.name)
        mounts = tuple(recording.mounts(config))
        return records.changed(record, name=name, mounts=mounts, options=record.options | {"name": name})

    def _fill(self, made: directories.Directory, held: contextlib.ExitStack) -> None:
        directory = made.path
        directories.use_image(made, self._document.record.image_id, self._images.hold)
        for layer in self._document.layers:
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
        if self._document.volumes:
            directories.fill([f"{directory}/volumes"], ())
        for volume in self._document.volumes:
            directories.fill([f"{directory}/volumes/{volume}"], ())
            self._unpack(f"volumes/{volume}", f"{directory}/volumes/{volume}")
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

    def _config(self) -> bytes:
        """Its configuration: what it may do is made anew of its options, and `inspect` tells all of it."""
        record = self._document.record
        options = {name: value for name, value in record.options.items() if name in _RIGHTS}
        profile = [text for text in options.get("security_opt", ()) if text.startswith("seccomp=/")]
        if profile:  # a file of the machine it comes from, whose content is in the configuration
            options["security_opt"] = [text for text in options["security_opt"] if text not in profile]
        start = self._images.for_start(record.image_id)
        granted = json.loads(
            spec.config(("true",), options, NoImage(), start.root, id=record.id, directory=self._path).config
        )
        try:
            config: dict[str, Any] = _mapped(self._document.config, self._moved)
            standard = {mount["destination"]: mount for mount in granted["mounts"]}
            config["mounts"] = [
                granted["mounts"][0],
                *(
                    mount if mount["type"] in _KINDS else standard[mount["destination"]]
                    for mount in config["mounts"][1:]
                ),
            ]
            config["process"] |= {name: granted["process"][name] for name in _OF_PROCESS}
            devices = granted["linux"]["resources"]["devices"]
            config["linux"] = granted["linux"] | {
                "resources": {**config["linux"]["resources"], "devices": devices}
            }
            for name in _OF_ANNOTATIONS[bool(profile) :]:
                config["annotations"].pop(name, None)
                if name in granted["annotations"]:
                    config["annotations"][name] = granted["annotations"][name]
            volumes = json.loads(config["annotations"].get("io.pycontain.volumes", "{}")).values()
            places = {f"{self._path}/volumes/{int(os.path.basename(place))}" for place in volumes}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ImageInvalid(f"`container.json` is damaged: no configuration: {error}") from error
        if places != set(volumes):
            raise ImageInvalid("`container.json` is damaged: it mounts what no options ask for")
        return json.dumps(config).encode()

    def _describe(self, made: directories.Directory, record: records.Record, config: bytes) -> None:
        directories.record(made, record, config)
        records.write_state(made.path, self._document.state)

    def _appear(self, made: directories.Directory, record: records.Record, old: Kept | None) -> None:
        from pycontain._core import exchange

        os.makedirs(self._paths.containers, mode=0o700, exist_ok=True)
        os.makedirs(self._paths.names, exist_ok=True)
        try:
            with staging.locked(
                self._paths.names
            ):  # until then the link leads nowhere, and could be taken over
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

    def _moved(self, text: str) -> str:
        """A path of where it was, as it is here."""
        old, new = self._document.root, self._paths.root
        for place in (f"/containers/{self._document.record.id}", "/layers/", "/mount-points"):
            text = text.replace(f"{old}{place}", f"{new}{place}")
        return text

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


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A document with all of its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(member, change) for key, member in value.items()}
    if isinstance(value, list):
        return [_mapped(member, change) for member in value]
    return value
