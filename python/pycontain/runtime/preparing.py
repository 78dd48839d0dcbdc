"""A container before it is started: its image, its configuration, and what is made for it on disk."""

from __future__ import annotations

import os

from pycontain.errors import InvalidOption, PycontainError, Unsupported
from pycontain.images import StartImage
from pycontain.runtime import directory as directories
from pycontain.runtime import names
from pycontain.runtime.host import Host
from pycontain.runtime.namespaces import with_network
from pycontain.runtime.template import Templates
from pycontain.types import Mount, RootFilesystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pycontain._core import Launcher, Process
    from pycontain.images import Images
    from pycontain.options import ContainerOptions
    from pycontain.paths import Paths
    from pycontain.runtime.donors import Donor
    from pycontain.runtime.joined import Joined
    from pycontain.runtime.kept import Kept
    from pycontain.runtime.records import Record
    from pycontain.runtime.spec import Prepared

__all__ = ["Preparation", "Preparer"]


class Preparer:
    """Prepares the containers of an engine; what one start has in common with the next is worked out once."""

    def __init__(self, paths: Paths, images: Images) -> None:
        self._paths = paths
        self._images = images
        self._templates = Templates()
        self._host = _Here(paths, images)

    def prepare(
        self,
        image: str,
        args: str | Sequence[str],
        options: ContainerOptions,
        *,
        keep: bool,
        attached: bool,
    ) -> Preparation:
        """Make what a container needs before it is started.

        Args:
            image: as `Engine.create` takes it.
            args: likewise.
            options: likewise.
            keep: it stays until it is removed; else it goes with its command.
            attached: of one that stays: somebody is to see what it writes from the beginning.
        """
        if options.get("cidfile") is None:
            return self._prepare(image, args, options, keep=keep, attached=attached)
        from pycontain.runtime import id_file

        with id_file.made(options["cidfile"]) as write:
            made = self._prepare(image, args, options, keep=keep, attached=attached)
            write(made.id)
            return made

    def _prepare(
        self,
        image: str,
        args: str | Sequence[str],
        options: ContainerOptions,
        *,
        keep: bool,
        attached: bool,
    ) -> Preparation:
        start = self._start_image(image, options)
        if keep:  # read twice: for the configuration, and for the record
            options = _without_iterators(options)
        options = with_network(options, self._host)
        joins = any(str(options.get(name, "")).startswith("container:") for name in ("network", "pid", "ipc"))
        if joins:
            options = _with_ids(self._paths, options)
        id = os.urandom(32).hex()
        path = f"{self._paths.containers if keep else self._paths.ephemeral}/{id}"
        scratch = self._paths.ephemeral if not keep and not joins and not options.get("name") else None
        prepared = self._templates.config(
            args,
            options,
            start.config,
            start.root,
            id=id,
            directory=path,
            scratch=scratch,
            host=self._host,
        )
        if scratch is not None and not prepared.directories and not prepared.volumes:
            directories.fill((), prepared.missing_sources)
            return Preparation(self._paths, id, None, prepared, image_lock=self._images.hold(start.id))
        directory = directories.make(path)
        name, record = prepared.name, None
        try:
            directories.use_image(directory, start.id, self._images.hold)
            directories.use_images(directory, prepared.images, self._images.hold)
            directories.fill(prepared.directories, prepared.missing_sources)
            if prepared.volumes:
                from pycontain.runtime import volumes

                volumes.use(self._paths, path, prepared.volumes)
            if name is not None:
                names.take(self._paths, name, path)
            elif keep:
                name = names.take_any(self._paths, path)
            if keep and name is not None:
                from pycontain.runtime.recording import record_of

                record = record_of(directory.id, name, image, start, prepared, options, attached=attached)
                record = directories.record(directory, record, prepared.config)
        except BaseException as error:
            directories.remove(self._paths, directory)
            if name is not None:
                names.give_up(self._paths, name, id)
            if isinstance(error, OSError) and not isinstance(error, PycontainError):
                raise directories.not_filled(error) from error
            raise
        if record is not None:
            from pycontain.runtime import events

            events.of_container(self._paths, "create", record)
        return Preparation(self._paths, id, directory, prepared, record)

    def _start_image(self, image: str, options: ContainerOptions) -> StartImage:
        if "rootfs" in options:
            from pycontain.images.mount_points import mount_points
            from pycontain.runtime.command import NoImage
            from pycontain.runtime.mounts import rootfs
            from pycontain.runtime.sizes import path

            root = rootfs(path("rootfs", options["rootfs"]))
            if not os.path.isdir(root.directory or root.lower[0]):
                raise InvalidOption(f"no such directory: `{root.directory or root.lower[0]}`")
            if root.lower:
                root = RootFilesystem((*root.lower, mount_points(self._paths)))
            return StartImage("", root, NoImage())
        pull = options.get("pull", "missing")
        if pull not in ("missing", "always", "never"):
            from pycontain.runtime.sizes import invalid

            raise invalid("pull", pull, "must be missing, always or never")
        return self._images.for_start(image, platform=options.get("platform"), pull=pull)


class _Here(Host):
    """The machine, and what the engine keeps on it."""

    def __init__(self, paths: Paths, images: Images) -> None:
        self._paths = paths
        self._images = images

    def image(self, name: str) -> tuple[str, Sequence[str]]:
        found = self._images.for_start(name, pull="missing")
        if found.root.overlays:
            raise Unsupported(
                f"image `{name}` cannot be mounted", hint="`--volume /usr:/usr:ro` mounts the host's"
            )
        return found.id, found.root.lower[:-1]  # without the mount points

    def donor(self, container: str) -> Donor:
        import json

        from pycontain.runtime import donors, kept

        found = kept.find(self._paths, container)
        monitor = f"{found.path}/monitor.sock"
        spaces = {space["type"]: space for space in json.loads(found.own_config)["linux"]["namespaces"]}
        user = spaces["user"].get("path", monitor) if "user" in spaces else ""
        ipc = found.record.options.get("ipc")
        shares = ipc in {"shareable", "host"} or donors.of_option(ipc) is not None
        record = found.record
        return donors.Donor(found.id, record.name, monitor, record.hostname, user, shares_ipc=shares)

    def mounts_of(self, container: str, access: str) -> Iterator[Mount]:
        from pycontain.runtime import kept

        for mount in kept.find(self._paths, container).record.mounts:
            options = [word for word in mount.options if word not in {"ro", "rw"} or not access]
            options += ["ro"] * (access == "ro")
            if mount.type == "bind":
                yield Mount("bind", mount.source, mount.target, options)
            elif mount.type == "volume":
                options += ["anonymous"] * mount.anonymous + ["nocopy"]
                yield Mount("volume", mount.name, mount.target, options)


def _with_ids(paths: Paths, options: ContainerOptions) -> ContainerOptions:
    """In place of the names of containers whose namespaces are joined."""
    from pycontain.runtime import donors, kept

    options = options.copy()
    for name in donors.OPTIONS:
        if (container := donors.of_option(options.get(name))) is not None:
            options[name] = donors.PREFIX + kept.find(paths, container).id  # type: ignore[literal-required]
    return options


def _without_iterators(options: ContainerOptions) -> ContainerOptions:
    from collections.abc import Iterator

    options = options.copy()
    for key, given in options.items():
        if isinstance(given, Iterator):
            options[key] = list(given)  # type: ignore[literal-required]
    return options


class Preparation:
    """What is being started; leaving it gives up the lock on its directory, which the launcher has too.

    One that is removed in the end and keeps nothing in a directory of its own has none: it locks its image.
    """

    def __init__(
        self,
        paths: Paths,
        id: str,
        directory: directories.Directory | None,
        prepared: Prepared,
        record: Record | None = None,
        *,
        image_lock: int | None = None,
    ) -> None:
        self._paths = paths
        self.id = id
        self.directory = directory
        self.prepared = prepared
        self.record = record  # of one that stays
        self._image_lock = image_lock

    @property
    def kept(self) -> Kept:
        """One that stays, as it is found from now on."""
        from pycontain.runtime.kept import Kept
        from pycontain.runtime.records import State

        assert self.directory is not None
        assert self.record is not None
        return Kept(self.id, self.directory.path, self.record, State())

    @property
    def path(self) -> str | None:
        """Of its directory."""
        return self.directory.path if self.directory else None

    @property
    def lock(self) -> int | None:
        """The fd that holds the lock on its directory, or on its image."""
        return self.directory.lock if self.directory else self._image_lock

    def joined(self) -> Joined:
        """Its configuration with what it got of its networks, and the fds to hold for it."""
        from pycontain.runtime.joined import join

        holder = {"id": self.id, "name": self.prepared.name or ""}
        return join(self._paths, self.prepared.config, holder, [] if self.lock is None else [self.lock])

    def start(self, launcher: Launcher, streams: tuple[int, int, int]) -> Process:
        """Start one that goes with its command."""
        with self.joined() as joined:
            return launcher.start(joined.config, streams, ephemeral=self.path, held=joined.fds)

    def discard(self, launcher: Launcher) -> None:
        """Remove what was made for it."""
        if self.directory is not None:
            launcher.remove_tree(self.directory.path)

    def __enter__(self) -> Preparation:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._image_lock is not None:
            os.close(self._image_lock)
        if self.directory is None:
            return
        if kind is not None and self.record is None:  # the launcher may never have heard of it
            directories.remove(self._paths, self.directory)
        else:
            self.directory.close()
        if self.record is None and self.prepared.name is not None:
            names.give_up(self._paths, self.prepared.name, self.directory.id)
