"""The engine for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import functools

from pycontain import engine as synchronous
from pycontain import images as of_images
from pycontain import volumes as of_volumes
from pycontain.aio import process as processes
from pycontain.aio.container import Container
from pycontain.aio.waiting import in_thread, items, readable, to_the_end
from pycontain.containers import Containers as SyncContainers
from pycontain.networks import Networks as SyncNetworks
from pycontain.runtime.completing import completed, given
from pycontain.runtime.sizes import limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from typing import IO, Literal, Unpack, overload

    from pycontain._core import Launcher
    from pycontain._core import Process as Started
    from pycontain.containers.filters import ContainerFilters
    from pycontain.containers.happenings import EventFilters
    from pycontain.options import ContainerOptions, Duration
    from pycontain.runtime.events import Event
    from pycontain.runtime.preparing import Preparation
    from pycontain.types import Completed
    from pycontain.volumes.listing import VolumeFilters

__all__ = ["Containers", "Engine", "Images", "Networks", "Volume", "Volumes"]

_STARTING = 32  # of a thousand starts at once: more would only stand in each other's way


class Engine:
    """As `pycontain.Engine`, which says more. For one event loop."""

    def __init__(self, root: str | os.PathLike[str] | None = None, *, spares: bool = True) -> None:
        self._sync = synchronous.Engine(root, spares=spares)
        self._starting = asyncio.Semaphore(_STARTING)

    @property
    def images(self) -> Images:
        """The images that are kept here."""
        return Images(self._sync.images)

    @property
    def containers(self) -> Containers:
        """The containers that stay here."""
        return Containers(self._sync)

    @property
    def networks(self) -> Networks:
        """The networks of this machine that containers here can be in."""
        return Networks(self._sync.networks)

    @property
    def volumes(self) -> Volumes:
        """The volumes that are kept here."""
        return Volumes(self._sync.volumes)

    if TYPE_CHECKING:

        @overload
        async def run(
            self,
            image: str,
            args: str | Sequence[str] = (),
            *,
            input: bytes | str | None = None,
            text: Literal[False] = False,
            check: bool = True,
            timeout: Duration | None = None,
            **options: Unpack[ContainerOptions],
        ) -> Completed[bytes]: ...

        @overload
        async def run(
            self,
            image: str,
            args: str | Sequence[str] = (),
            *,
            input: bytes | str | None = None,
            text: Literal[True],
            check: bool = True,
            timeout: Duration | None = None,
            **options: Unpack[ContainerOptions],
        ) -> Completed[str]: ...

        @overload
        async def run(
            self,
            image: str,
            args: str | Sequence[str] = (),
            *,
            input: bytes | str | None = None,
            text: bool,
            check: bool = True,
            timeout: Duration | None = None,
            **options: Unpack[ContainerOptions],
        ) -> Completed[bytes | str]: ...

    async def run(
        self,
        image: str,
        args: str | Sequence[str] = (),
        *,
        input: bytes | str | None = None,
        text: bool = False,
        check: bool = True,
        timeout: Duration | None = None,
        **options: Unpack[ContainerOptions],
    ) -> Completed[bytes | str]:
        """Run a command in a new container, wait for it, remove it; to cancel this is to kill all inside."""
        most = limit("timeout", timeout)
        options["remove"] = True

        def prepare() -> tuple[Launcher, Preparation]:
            launcher = self._sync._get_launcher()  # it removes what is made from here on
            return launcher, self._sync._prepare(image, args, options, keep=False)

        launcher, container = await to_the_end(prepare, lambda made: made[1].__exit__(None))
        with container:
            words = container.prepared.args

            async def begin(streams: tuple[int, int, int]) -> Started:
                return container.start(launcher, streams)

            async with self._starting:
                process = await processes.start(words, begin, stdin=input is not None)
                try:
                    await readable(process)  # it is there, or never will be
                except BaseException:
                    await process.close()
                    raise
            ended, out, err = await process.finished(given(input), most, text=text)
        return completed(words, ended, out, err, text=text, check=check)

    async def create(
        self, image: str, args: str | Sequence[str] = (), **options: Unpack[ContainerOptions]
    ) -> Container:
        """Make a container, and start nothing."""
        create = functools.partial(self._sync.create, image, args, **options)
        return Container(await to_the_end(create, lambda made: made.remove(volumes=True)))

    async def start(
        self, image: str, args: str | Sequence[str] = (), **options: Unpack[ContainerOptions]
    ) -> Container:
        """Run a command in a new container that goes on without this process."""
        start = functools.partial(self._sync.start, image, args, **options)
        return Container(await to_the_end(start, lambda made: made.remove(force=True, volumes=True)))

    @contextlib.asynccontextmanager
    async def container(
        self, image: str, args: str | Sequence[str] = (), **options: Unpack[ContainerOptions]
    ) -> AsyncIterator[Container]:
        """A container for an `async with` block: started at its beginning, removed at its end."""
        block = self._sync.container(image, args, **options)

        def leave(_: object = None) -> None:
            block.__exit__(None, None, None)

        container = await to_the_end(block.__enter__, leave)
        try:
            yield Container(container)
        finally:
            await to_the_end(leave, lambda _: None)

    def events(
        self,
        *,
        since: str | float | None = None,
        until: str | float | None = None,
        **filters: Unpack[EventFilters],
    ) -> AsyncIterator[Event]:
        """What happens here from now on, by whatever process; what has happened before, with `since`."""
        return items(self._sync._events(since, until, filters))

    stats = in_thread(synchronous.Engine.stats)
    disk_usage = in_thread(synchronous.Engine.disk_usage)
    prune = in_thread(synchronous.Engine.prune)
    warm_up = in_thread(synchronous.Engine.warm_up)
    explain = in_thread(synchronous.Engine.explain)

    async def close(self) -> None:
        """End the launcher, and with it every container that this engine runs in the foreground."""
        await to_the_end(self._sync.close, lambda _: None)

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Containers:
    """As `pycontain.engine.containers`."""

    def __init__(self, engine: synchronous.Engine) -> None:
        self._sync = engine.containers

    async def get(self, name: str) -> Container:
        """The container of this id, name, or beginning of an id."""
        return Container(await asyncio.to_thread(self._sync.get, name))

    async def list(
        self, *, all: bool = False, last: int | None = None, **filters: Unpack[ContainerFilters]
    ) -> tuple[Container, ...]:
        """Containers, the youngest first: those that run; `all`: the others as well."""
        found = await asyncio.to_thread(self._sync.list, all=all, last=last, **filters)
        return tuple(map(Container, found))

    async def load(self, source: str | os.PathLike[str] | IO[bytes], *, name: str | None = None) -> Container:
        """Make the container of an archive of `Container.save`, in place of one that is here already."""
        return Container(await to_the_end(lambda: self._sync.load(source, name=name), lambda _: None))

    summaries = in_thread(SyncContainers.summaries)
    stats = in_thread(SyncContainers.stats)
    prune = in_thread(SyncContainers.prune)


class Images:
    """As `pycontain.Engine.images`. An `Image` is the same here and there: what it asks, it asks the disk."""

    def __init__(self, sync: of_images.Images) -> None:
        self._sync = sync

    get = in_thread(of_images.Images.get)
    list = in_thread(of_images.Images.list)
    summaries = in_thread(of_images.Images.summaries)
    load = in_thread(of_images.Images.load)
    save = in_thread(of_images.Images.save)
    import_ = in_thread(of_images.Images.import_)
    pull = in_thread(of_images.Images.pull)
    pull_all = in_thread(of_images.Images.pull_all)
    push = in_thread(of_images.Images.push)
    push_all = in_thread(of_images.Images.push_all)
    bootstrap = in_thread(of_images.Images.bootstrap)
    tag = in_thread(of_images.Images.tag)
    remove = in_thread(of_images.Images.remove)
    prune = in_thread(of_images.Images.prune)


class Networks:
    """As `pycontain.Engine.networks`. A `Network` is the same here and there."""

    def __init__(self, sync: SyncNetworks) -> None:
        self._sync = sync

    create = in_thread(SyncNetworks.create)
    get = in_thread(SyncNetworks.get)
    list = in_thread(SyncNetworks.list)
    connect = in_thread(SyncNetworks.connect)
    disconnect = in_thread(SyncNetworks.disconnect)
    remove = in_thread(SyncNetworks.remove)
    prune = in_thread(SyncNetworks.prune)


class Volume:
    """As `pycontain.Volume`."""

    def __init__(self, sync: of_volumes.Volume) -> None:
        self._sync = sync

    @property
    def name(self) -> str:
        """Its name."""
        return self._sync.name

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self._sync.labels

    @property
    def options(self) -> dict[str, str]:
        """What its driver was given."""
        return self._sync.options

    @property
    def mountpoint(self) -> str:
        """The directory of its files on the host."""
        return self._sync.mountpoint

    inspect = in_thread(of_volumes.Volume.inspect)
    remove = in_thread(of_volumes.Volume.remove)
    export = in_thread(of_volumes.Volume.export)
    import_ = in_thread(of_volumes.Volume.import_)


class Volumes:
    """As `pycontain.Engine.volumes`."""

    def __init__(self, sync: of_volumes.Volumes) -> None:
        self._sync = sync

    async def create(
        self,
        name: str | None = None,
        *,
        labels: Mapping[str, str] | Iterable[str] = (),
        driver: str = "local",
        options: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume; one of this name that is there is given as it is."""
        create = functools.partial(self._sync.create, name, labels=labels, driver=driver, options=options)
        return Volume(await asyncio.to_thread(create))

    async def get(self, name: str) -> Volume:
        """The volume of this name."""
        return Volume(await asyncio.to_thread(self._sync.get, name))

    async def list(self, **filters: Unpack[VolumeFilters]) -> tuple[Volume, ...]:
        """Volumes, by name."""
        return tuple(map(Volume, await asyncio.to_thread(functools.partial(self._sync.list, **filters))))

    remove = in_thread(of_volumes.Volumes.remove)
    prune = in_thread(of_volumes.Volumes.prune)
