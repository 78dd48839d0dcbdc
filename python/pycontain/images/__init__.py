"""Images: `engine.images`, and the handles it gives out."""

from __future__ import annotations

from pycontain.errors import ImageNotFound, InvalidOption, Unsupported
from pycontain.images.handle import HOST, Image, StartImage, not_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import IO, Unpack

    from pycontain.images.filters import ImageFilters, PruneFilters
    from pycontain.images.listing import Summary
    from pycontain.images.platforms import Platform
    from pycontain.images.reference import Reference
    from pycontain.images.removal import Removal
    from pycontain.images.stage import Unpacker
    from pycontain.images.store import Store, StoredImage
    from pycontain.images.usage import StoreUsage
    from pycontain.paths import Paths
    from pycontain.registry.credentials import Credentials
    from pycontain.types import Progress

__all__ = ["Image", "Images", "StartImage"]


def _unused() -> dict[str, tuple[str, ...]]:
    return {}


class Images:
    """The images of an engine.

    Args:
        paths: where they are kept.
        launcher: unpacks layers and removes them.
        users: gives the ids of the containers whose directories name an image, by its id.
    """

    def __init__(
        self, paths: Paths, launcher: Unpacker, users: Callable[[], Mapping[str, Sequence[str]]] = _unused
    ) -> None:
        self._paths = paths
        self._launcher = launcher
        self._users = users
        self._opened: dict[str, Store] = {}

    @property
    def _store(self) -> Store:
        # a start of the image `host` needs neither the store nor the 10 ms that importing it takes
        if not self._opened:
            from pycontain.images.store import Store

            self._opened.setdefault("store", Store(self._paths, self._launcher, self._users))
        return self._opened["store"]

    def get(self, name: str) -> Image:
        """The image of this name, id or beginning of an id.

        Raises:
            ImageNotFound: there is none.
        """
        return Image(self._store, self._store.get(not_host(name)))

    def load(
        self,
        source: str | os.PathLike[str] | IO[bytes],
        *,
        named: Callable[[str, Sequence[str]], None] | None = None,
    ) -> tuple[Image, ...]:
        """Add every image in an archive of `docker save`, in an OCI archive, or in an OCI layout directory.

        Args:
            source: a path, or something open to read from.
            named: is called with the id of each image, and the names that the archive has for it.

        Raises:
            ImageInvalid: the archive is damaged or not what it claims to be; nothing was added.
            Unsupported: its images are for other kinds of machines.
        """
        from pycontain.images.archive import load
        from pycontain.runtime.sizes import check_file

        check_file("source", source, "read")
        return tuple(Image(self._store, stored) for stored in load(self._store, source, named))

    def save(
        self,
        names: str | Iterable[str],
        target: str | os.PathLike[str] | IO[bytes],
        *,
        platform: str | None = None,
    ) -> None:
        """Write an archive of images, as `docker save` does: `load`, docker, podman and skopeo read it.

        >>> engine.images.save(["python:3.12"], "python.tar")

        Args:
            names: one or several; one without a tag stands for all tags of that repository.
            target: a path, which appears when all of it is written; or something open to write to.
            platform: `linux/amd64`: what the images must be for.

        Raises:
            ImageNotFound: one of them is not here.
            Unsupported: one is for another platform.
            StoreError: the archive cannot be written.
        """
        from pycontain.images.saving import save

        given = [names] if isinstance(names, str) else names
        save(self._store, [not_host(name) for name in given], target, platform=platform)

    def import_(
        self,
        source: str | os.PathLike[str] | IO[bytes],
        name: str | None = None,
        *,
        changes: Iterable[str] = (),
        message: str = "",
        platform: str | None = None,
    ) -> Image:
        """Make an image of one layer from a tar of a file system, as it is or compressed by gzip or zstd.

        Args:
            source: a path, or something open to read from.
            name: the image's name.
            changes: instructions of a Dockerfile for its configuration: `CMD ["sh"]`.
            message: goes into its history.
            platform: `linux/arm64`: what its files are for; None: this machine.

        Raises:
            ImageInvalid: the tar is damaged; nothing was added.
            InvalidOption: the name, the platform or a change is not valid.
        """
        from pycontain.images.importing import import_file_system
        from pycontain.runtime.sizes import check_file

        check_file("source", source, "read")
        if name is not None:
            not_host(name)
        wanted = _platform(platform)
        stored = import_file_system(
            self._store, source, name, changes=changes, message=message, platform=wanted
        )
        return Image(self._store, stored)

    def pull(
        self,
        name: str,
        *,
        platform: str | None = None,
        progress: Callable[[Progress], None] | None = None,
        credentials: Credentials | None = None,
    ) -> Image:
        """Bring an image from its registry; what is here already is not moved again.

        Args:
            name: `alpine`, `registry.lan:5000/app:1`, `alpine@sha256:…`.
            platform: `linux/arm64`; None: this machine's.
            progress: is called at each step, by one thread at a time.
            credentials: None: those of docker's `config.json`.

        Raises:
            ImageNotFound: the registry has none of this name.
            Unauthorized: it wants a login, or another one.
            RegistryUnreachable: there is no connection to it, or none that lasts.
            RateLimited: it wants to be asked less often.
            RegistryError: it did not do its part in another way.
            ImageInvalid: what it has is not a valid image; nothing was added.
            Unsupported: it has none for this platform.
        """
        from pycontain.images.pulling import Puller
        from pycontain.registry import Client

        reference, wanted = _reference(name), _platform(platform)
        with Client(credentials=credentials) as client:
            return Image(self._store, Puller(self._store, client, progress).pull(reference, wanted))

    def pull_all(
        self,
        name: str,
        *,
        platform: str | None = None,
        progress: Callable[[Progress], None] | None = None,
        credentials: Credentials | None = None,
    ) -> tuple[Image, ...]:
        """Bring every tag of the repository `name`; otherwise as `pull`."""
        from pycontain.images.pulling import Puller
        from pycontain.registry import Client

        reference, wanted = _reference(name), _platform(platform)
        with Client(credentials=credentials) as client:
            stored = Puller(self._store, client, progress).pull_all(reference, wanted)
            return tuple(Image(self._store, one) for one in stored)

    def push(
        self,
        name: str,
        *,
        progress: Callable[[Progress], None] | None = None,
        credentials: Credentials | None = None,
    ) -> str:
        """Send an image to the registry that its name names; layers that are there are not moved again.

        Args:
            name: `registry.lan:5000/app:1`.
            progress: is called at each step, by one thread at a time.
            credentials: None: those of docker's `config.json`.

        Returns:
            The digest that the registry knows it by now.

        Raises:
            ImageNotFound: there is no image `name` here.
            Unauthorized: the registry wants a login, or another one.
            RegistryUnreachable: there is no connection to it, or none that lasts.
            RegistryError: it did not do its part in another way.
        """
        from pycontain.images.pushing import Pusher
        from pycontain.registry import Client

        reference = _reference(name)
        with Client(credentials=credentials) as client:
            return Pusher(self._store, client, progress).push(reference)

    def push_all(
        self,
        name: str,
        *,
        progress: Callable[[Progress], None] | None = None,
        credentials: Credentials | None = None,
    ) -> tuple[str, ...]:
        """Send every tag of the repository `name` that is here; otherwise as `push`."""
        from pycontain.images.pushing import Pusher
        from pycontain.registry import Client

        reference = _reference(name)
        with Client(credentials=credentials) as client:
            return Pusher(self._store, client, progress).push_all(reference)

    def bootstrap(
        self,
        distribution: str,
        name: str | None = None,
        *,
        mirror: str | None = None,
        variant: str = "minbase",
        include: Iterable[str] = (),
    ) -> Image:
        """Make a base image from a distribution's package mirror, by an installed mmdebstrap or debootstrap.

        >>> engine.images.bootstrap("debian:bookworm", include=["ca-certificates"])

        Args:
            distribution: `debian` or `ubuntu`, a colon, and the suite.
            name: the image's; None: as `distribution`.
            mirror: where packages come from; None: as this machine's apt has it, else the distribution's own.
            variant: which packages it has.
            include: further packages.

        Raises:
            InvalidOption: there is no such distribution or variant.
            Unsupported: no such program is installed, or it failed; says why.
        """
        from pycontain.images.bootstrap import bootstrap

        stored = bootstrap(
            self._store,
            self._launcher,
            distribution,
            name,
            mirror=mirror,
            variant=variant,
            include=include,
        )
        return Image(self._store, stored)

    def add(self, make: Callable[[Store], StoredImage]) -> Image:
        """The handle of what `make` adds to the store: for the parts of the engine that make images."""
        return Image(self._store, make(self._store))

    def tag(self, name: str, target: str) -> None:
        """Give the image `name` the name `target` as well; another image of that name loses it.

        Raises:
            ImageNotFound: there is no image `name`.
            InvalidOption: `target` is no name, or not one that can be given.
        """
        self._store.tag(not_host(name), target)

    def remove(self, name: str, *, force: bool = False) -> Removal:
        """Take a name away; with its last name goes the image. By id: the image, with all names if `force`.

        Args:
            name: the image's, or its id.
            force: by id, although it has several names; by its last name, although containers are made from
                it: then it stays, without a name.

        Raises:
            ImageNotFound: there is none.
            StillInUse: containers are made from it.
            Conflict: it has several names.
        """
        return self._store.remove(not_host(name), force=force)

    def prune(
        self,
        *,
        all: bool = False,
        keep_storage: int | None = None,
        **filters: Unpack[PruneFilters],
    ) -> Removal:
        """Remove images that no container is made from, and that have no tag.

        Args:
            all: those with a tag too.
            keep_storage: with a tag too, but only as many as it takes for all images together to have no more
                bytes than this, unpacked and as they came; the least recently used first.
            filters: see `PruneFilters`.

        Raises:
            InvalidOption: a filter is not valid.
        """
        from pycontain.images.removal import prune

        return prune(self._store, filters, everything=all, keep_storage=keep_storage)

    def usage(self) -> StoreUsage:
        """What the images take on disk."""
        from pycontain.images.usage import usage

        return usage(self._store)

    def has(self, id: str) -> bool:
        """Whether there is an image of this id."""
        return self._store.has(id)

    def hold(self, id: str) -> int | None:
        """Keep the image from being removed while the fd that this returns is open; None: nobody removes it.

        Raises:
            ImageNotFound: it has just been removed.
        """
        import os

        from pycontain.images import use

        if not id.startswith("sha256:"):
            return None
        held, is_there = use.hold(self._paths, id)
        if is_there:
            return held
        # in this order: a removal excludes whoever would hold the image, and then takes it
        if self._store.has(id):
            if held is not None:
                use.confirm(held)
            return held
        if held is not None:
            os.close(held)
        raise ImageNotFound(f"image `{id[7:19]}` has just been removed")

    def for_start(self, name: str, *, platform: str | None = None, pull: str = "never") -> StartImage:
        """What a container of the image `name` is made of. Only reads the database, unless it has to pull.

        Args:
            name: the image's, or its id.
            platform: `linux/amd64`: what the image must be for; None: this machine.
            pull: `missing`, `always` or `never`.

        Raises:
            ImageNotFound: there is none, here or where it was asked for.
            Unsupported: its programs are for another kind of machine.
        """
        from pycontain.images.mount_points import mount_points
        from pycontain.runtime.sizes import string
        from pycontain.types import RootFilesystem

        if string("image", name) == HOST:
            from pycontain.images.config import machine_platform
            from pycontain.images.host import host_image

            wanted = _platform(platform)
            if wanted is not None and not wanted.is_served_by(*machine_platform()):
                here = "/".join(machine_platform())
                raise Unsupported(f"platform `{wanted}`: the image `host` is this machine, {here}")
            host = host_image(self._paths)
            return StartImage(HOST, host.root, host.config)
        if pull == "always":
            self.pull(name, platform=platform)
        try:
            stored = self._for_platform(name, platform)
        except ImageNotFound:
            if pull != "missing" or name.startswith("sha256:"):  # no registry is asked for an id
                raise
            self.pull(name, platform=platform)
            stored = self._for_platform(name, platform)
        lower = (*stored.layers, mount_points(self._paths))
        return StartImage(stored.id, RootFilesystem(lower, immutable=True), stored.config)

    def _for_platform(self, name: str, platform: str | None) -> StoredImage:
        wanted = _platform(platform)
        if wanted is not None:
            stored = self._store.get(name)
            if not wanted.is_served_by(stored.os, stored.architecture):
                raise ImageNotFound(
                    f"image `{name}` is here for {stored.os}/{stored.architecture}, not for `{wanted}`",
                    hint=f"`pycontain pull --platform {wanted} {name}` gets it where there is one",
                )
        return self._store.resolve(name)

    def list(self, name: str | None = None, **filters: Unpack[ImageFilters]) -> tuple[Image, ...]:
        """The images, the newest first.

        >>> engine.images.list("python:3.*", label="tier=front", until="24h")

        Args:
            name: a pattern for their names.
            filters: see `ImageFilters`.

        Raises:
            ImageNotFound: there is no such image as `before` or `since` names.
            InvalidOption: a filter is not valid.
        """
        from pycontain.images.filters import several

        if name is not None:
            filters["reference"] = [*several("reference", filters.get("reference", ())), name]
        if not filters:
            return tuple(Image(self._store, stored) for stored in self._store.list())
        chosen = self._store.summaries(filters)
        return tuple(Image(self._store, self._store.get(one.id)) for one in chosen)

    def summaries(self, **filters: Unpack[ImageFilters]) -> tuple[Summary, ...]:
        """As `list`, and of each image only what a table shows: much cheaper where there are many."""
        return tuple(self._store.summaries(filters))

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        for store in self._opened.values():
            store.close()


def _reference(name: str) -> Reference:
    from pycontain.images.reference import parse

    if name == HOST:
        raise InvalidOption(f"image `{HOST}` is this machine's own programs: no registry has it")
    return parse(name)


def _platform(text: str | None) -> Platform | None:
    from pycontain.images.platforms import parse

    return None if text is None else parse(text)
