"""Containers that stay: `engine.containers`, and the handles it gives out."""

from __future__ import annotations

from pycontain.containers.handle import Container
from pycontain.runtime import kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator
    from typing import IO, Unpack

    from pycontain._core import Launcher
    from pycontain.containers.filters import ContainerFilters
    from pycontain.containers.listing import Summary
    from pycontain.containers.metering import Stats
    from pycontain.containers.removal import Removed
    from pycontain.errors import PycontainError
    from pycontain.images import Images
    from pycontain.paths import Paths

__all__ = ["Container", "Containers"]


class Containers:
    """The containers of an engine that stay until they are removed."""

    def __init__(self, paths: Paths, images: Images, launcher: Callable[[], Launcher]) -> None:
        self._paths = paths
        self._images = images
        self._launcher = launcher

    def get(self, name: str) -> Container:
        """The container of this id, name, or beginning of an id.

        Raises:
            ContainerNotFound: there is none.
            InvalidOption: several ids begin so.
        """
        return self._handle(kept.find(self._paths, name))

    def list(
        self, *, all: bool = False, last: int | None = None, **filters: Unpack[ContainerFilters]
    ) -> tuple[Container, ...]:
        """Containers, the youngest first: those that run.

        Args:
            all: those that do not run as well.
            last: no more than so many, running or not.
            filters: see `ContainerFilters`.

        Raises:
            ContainerNotFound, ImageNotFound: one that a filter names is not here.
            InvalidOption: a filter is not valid.
        """
        from pycontain.containers.listing import select

        return tuple(map(self._handle, select(self._paths, self._images, filters, all=all, last=last)))

    def summaries(
        self, *, all: bool = False, last: int | None = None, **filters: Unpack[ContainerFilters]
    ) -> tuple[Summary, ...]:
        """The same as values: what a list shows of each."""
        from pycontain.containers.listing import select, summary

        return tuple(map(summary, select(self._paths, self._images, filters, all=all, last=last)))

    def load(self, source: str | os.PathLike[str] | IO[bytes], *, name: str | None = None) -> Container:
        """Make the container of an archive that `Container.save` wrote; one that is here already is replaced.

        Its options are as if they were given again, and it mounts what it says: load only what comes from
        somebody who may run containers here.

        Args:
            source: a path, or something open to read from.
            name: another name than it had.

        Raises:
            Conflict: the archive is incremental, and what it builds upon is not here; or a volume of the name
                of one of its own is, and not that container's alone.
            ImageInvalid: it is damaged, or no such archive.
            ImageNotFound: the container's image is not here.
            InvalidOption: there is no such file, or an option of it cannot be had on this machine.
            NameInUse: another container has its name.
            StillInUse: the container is here, and runs.
        """
        import os

        from pycontain.containers.moving import load
        from pycontain.errors import InvalidOption
        from pycontain.runtime.sizes import check_file

        check_file("source", source, "read")
        if isinstance(source, str | os.PathLike):
            try:
                file = open(source, "rb")  # noqa: SIM115 - not what is in it is what cannot be read
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise InvalidOption(f"cannot read `{os.fspath(source)}`: {reason}") from error
            with file:
                return self.load(file, name=name)
        found = load(self._paths, self._images, self._launcher(), source, name=name)
        return self._handle(found)

    def start_again(self) -> Iterator[tuple[Container, PycontainError | None]]:
        """Start the containers that are to run after a boot of the machine.

        Those with `restart="always"`, and those with `restart="unless-stopped"` that nobody stopped. What was
        to be removed at its end is removed.

        Yields:
            Each, and why it could not be started, if so.
        """
        from pycontain.errors import PycontainError
        from pycontain.runtime import lifecycle

        for found in sorted(kept.all_of(self._paths), key=lambda one: one.record.created):
            options = found.record.options
            policy = lifecycle.restart(options).policy
            wanted = policy == "always" or (policy == "unless-stopped" and not found.state.stopped_by_user)
            if (
                found.state.is_alive
                or found.state.status == "created"
                or not (wanted or options.get("remove"))
            ):
                continue
            container = self._handle(found)
            try:
                if options.get("remove"):
                    container.remove()
                    continue
                container.start()
            except PycontainError as error:
                yield container, error
            else:
                yield container, None

    def stats(self, names: Iterable[str] = (), *, all: bool = False) -> tuple[Stats, ...]:
        """What containers use now, read at once; takes a tenth of a second, to see how busy they are.

        Args:
            names: which; none: those that run.
            all: those that do not run as well, with zeros.

        Raises:
            ContainerNotFound: one of them is not here.
        """
        from pycontain.containers.listing import select
        from pycontain.containers.metering import stats

        chosen = [kept.find(self._paths, name) for name in names]
        return stats(chosen or select(self._paths, self._images, {}, all=all))

    def prune(
        self,
        *,
        until: str | float | None = None,
        label: str | Iterable[str] = (),
        without_label: str | Iterable[str] = (),
    ) -> Removed:
        """Remove those that do not run.

        Args:
            until: made before this: `24h` ago, `2026-01-31`, RFC 3339, or seconds since the epoch.
            label: with this label, or all of these: `k` or `k=v`.
            without_label: with none of these.

        Raises:
            InvalidOption: `until` is no time.
        """
        from pycontain.containers.removal import prune

        return prune(self._paths, self._launcher, until=until, label=label, without_label=without_label)

    def _handle(self, found: kept.Kept) -> Container:
        return Container(found, self._paths, self._images, self._launcher)
