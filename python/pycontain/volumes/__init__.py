"""Volumes: `engine.volumes`, and the handles it gives out."""

from __future__ import annotations

from pycontain.runtime import volumes as store
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from typing import IO, Any, Unpack

    from pycontain._core import Launcher
    from pycontain.paths import Paths
    from pycontain.volumes.listing import VolumeFilters

__all__ = ["Pruned", "Volume", "Volumes"]


class Pruned(Value):
    """What a removal of several volumes did.

    Attributes:
        names: of those that are gone.
        reclaimed: bytes of their files.
    """

    __slots__ = ("names", "reclaimed")
    names: tuple[str, ...]
    reclaimed: int

    def __init__(self, names: Iterable[str] = (), reclaimed: int = 0) -> None:
        self._set(names=tuple(names), reclaimed=reclaimed)


class Volume:
    """A volume of an engine; equal and hashable by its name. Made by `Volumes` only."""

    __slots__ = ("_found", "_launcher", "_paths")

    def __init__(self, found: store.Found, paths: Paths, launcher: Callable[[], Launcher]) -> None:
        self._found = found
        self._paths = paths
        self._launcher = launcher

    @property
    def name(self) -> str:
        """Its name; 64 hexadecimal digits where nobody gave it one."""
        return self._found.name

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self._found.record.labels)

    @property
    def options(self) -> dict[str, str]:
        """What its driver was given: `type`, `device`, `o`."""
        return dict(self._found.record.options)

    @property
    def created(self) -> float:
        """Seconds since the epoch."""
        return self._found.record.created

    @property
    def mountpoint(self) -> str:
        """The directory of its files on the host."""
        return self._found.mountpoint

    @property
    def containers(self) -> tuple[str, ...]:
        """The ids of the containers that use it now, running or not."""
        return tuple(sorted(store.users(self._paths, self.name)))

    @property
    def size(self) -> int:
        """Bytes of its files now."""
        from pycontain.runtime.disk import size_below

        return size_below(self.mountpoint)

    def inspect(self) -> dict[str, Any]:
        """All about it, in the shape of docker's JSON.

        Raises:
            VolumeNotFound: it is gone.
        """
        from pycontain.volumes.listing import inspect

        return inspect(store.find(self._paths, self.name))

    def remove(self, *, force: bool = False) -> None:
        """Remove it with its files; no container may use it.

        Args:
            force: one that is gone is as good.

        Raises:
            StillInUse: a container uses it, running or not.
            VolumeNotFound: it is gone.
        """
        from pycontain.errors import VolumeNotFound

        try:
            store.remove(self._paths, self.name, self._launcher())
        except VolumeNotFound:
            if not force:
                raise

    def export(self, target: str | os.PathLike[str] | IO[bytes]) -> None:
        """Write its files as a tar.

        Args:
            target: a path, which appears when all is written, or something open to write to.

        Raises:
            StoreError: it could not be written.
            VolumeNotFound: it is gone.
        """
        from pycontain.volumes.moving import export

        export(store.find(self._paths, self.name), self._launcher(), target)

    def import_(self, source: str | os.PathLike[str] | IO[bytes]) -> None:
        """Fill it with the files of a tar. It has to be empty, and appears with all of them at once.

        Args:
            source: a path, or something open to read from; may be compressed by gzip or zstd.

        Raises:
            Conflict: there are files in it.
            ImageInvalid: the tar is damaged; nothing has changed.
            StillInUse: a container uses it.
        """
        from pycontain.volumes.moving import import_

        import_(self._paths, store.find(self._paths, self.name), self._launcher(), source)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Volume) and (self._paths, self.name) == (other._paths, other.name)

    def __hash__(self) -> int:
        return hash((self._paths, self.name))

    def __repr__(self) -> str:
        return f"<Volume {self.name}>"


class Volumes:
    """The volumes of an engine."""

    def __init__(self, paths: Paths, launcher: Callable[[], Launcher]) -> None:
        self._paths = paths
        self._launcher = launcher

    def create(
        self,
        name: str | None = None,
        *,
        labels: Mapping[str, str] | Iterable[str] = (),
        driver: str = "local",
        options: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume; one of this name that is there is given as it is.

        Args:
            name: None: one of 64 hexadecimal digits.
            labels: for people and filters.
            driver: `local`.
            options: the driver's, as `mount` takes them: `type`, `device`, `o`.

        Raises:
            InvalidOption: the name is none, or an option is not one it takes.
            Unsupported: there is no such driver, or the options ask for what there is not yet.
        """
        import os

        from pycontain.runtime import environment, mounts

        store.check_driver(driver)
        given = store.plain(options or {})
        mounts.driver_options(given)
        tags = dict(environment.labels("labels", labels))
        if name is None:
            name = os.urandom(32).hex()
            tags.setdefault(store.ANONYMOUS, "")
        store.make(self._paths, store.VolumeUse(store.check_name(name), tags, given, anonymous=False))
        return self.get(name)

    def get(self, name: str) -> Volume:
        """The volume of this name.

        Raises:
            VolumeNotFound: there is none.
        """
        return Volume(store.find(self._paths, name), self._paths, self._launcher)

    def list(self, **filters: Unpack[VolumeFilters]) -> tuple[Volume, ...]:
        """Volumes, by name.

        Args:
            filters: see `VolumeFilters`.

        Raises:
            InvalidOption: a filter is not valid.
        """
        from pycontain.volumes.listing import select

        return tuple(Volume(found, self._paths, self._launcher) for found in select(self._paths, filters))

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove the volume of this name; see `Volume.remove`."""
        from pycontain.errors import VolumeNotFound

        try:
            self.get(name).remove(force=force)
        except VolumeNotFound:
            if not force:
                raise

    def prune(
        self, *, all: bool = False, label: str | Iterable[str] = (), without_label: str | Iterable[str] = ()
    ) -> Pruned:
        """Remove volumes that no container uses: those that nobody gave a name.

        Args:
            all: those with a name, too.
            label: with this label, or all of these: `k` or `k=v`.
            without_label: with none of these.
        """
        from pycontain.volumes.listing import prune

        return prune(
            self._paths,
            self._launcher,
            everything=all,
            label=label,
            without_label=without_label,
        )
