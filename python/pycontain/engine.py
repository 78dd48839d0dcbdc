"""The engine: where things are kept, and the launcher that starts containers from them."""

from __future__ import annotations

import contextlib
import functools
import os
import threading

from pycontain.images import Images
from pycontain.paths import Paths, find
from pycontain.runtime import directory as directories
from pycontain.runtime.completing import completed, expired, given
from pycontain.runtime.sizes import limit
from pycontain.streams import fill_closed
from pycontain.types import RootFilesystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import Literal, Unpack, overload

    from pycontain._core import Launcher, Unpacked
    from pycontain.containers import Container, Containers
    from pycontain.containers.happenings import EventFilters
    from pycontain.containers.metering import Stats
    from pycontain.images.filters import PruneFilters
    from pycontain.images.removal import Removal
    from pycontain.networks import Networks
    from pycontain.options import ContainerOptions, Duration
    from pycontain.runtime.disk import DiskUsage
    from pycontain.runtime.events import Event
    from pycontain.runtime.pauses import Pause
    from pycontain.runtime.preparing import Preparation, Preparer
    from pycontain.types import Completed
    from pycontain.volumes import Volumes

__all__ = ["Engine", "default"]


class Engine:
    """Runs containers. Safe in threads, and after a fork; costs nothing until it is used.

    Args:
        root: where images and containers are kept; by default `$PYCONTAIN_ROOT`, else `/var/lib/pycontain`
            for root and `~/.local/share/pycontain` for others.
        spares: after each start, make ready what the next of its kind can have before anything else of it is
            known: half of the time that a start takes, for 100 KiB of memory.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, *, spares: bool = True) -> None:
        fill_closed()
        self._paths: Paths = find(root)
        self._spares = spares
        self._lock = threading.Lock()
        self._launcher: Launcher | None = None
        self._pid = 0
        users = functools.partial(directories.users, self._paths)
        self._images = Images(self._paths, _Unpacker(self), users)
        self._preparer: Preparer | None = None

    @property
    def images(self) -> Images:
        """The images that are kept here."""
        return self._images

    @property
    def containers(self) -> Containers:
        """The containers that stay here: those that were created, and those run without `remove`."""
        from pycontain.containers import Containers

        return Containers(self._paths, self._images, self._get_launcher)

    @property
    def networks(self) -> Networks:
        """The networks of this machine that containers here can be in."""
        from pycontain.networks import Networks

        return Networks(self._paths)

    @property
    def volumes(self) -> Volumes:
        """The volumes that are kept here."""
        from pycontain.volumes import Volumes

        return Volumes(self._paths, self._get_launcher)

    def create(
        self, image: str, args: str | Sequence[str] = (), **options: Unpack[ContainerOptions]
    ) -> Container:
        """Make a container, and start nothing.

        Args:
            image: its name; `host` stands for this machine's own programs.
            args: the command; a str is split as a shell would split words; empty: the image's.
            options: see `ContainerOptions`.

        Raises:
            ImageNotFound: no such image, here or in its registry.
            InvalidOption: an option's value is not one it takes.
            NameInUse: another container has the name.
        """
        return self._make(image, args, options)

    def start(
        self, image: str, args: str | Sequence[str] = (), **options: Unpack[ContainerOptions]
    ) -> Container:
        """Run a command in a new container that goes on without this process.

        >>> web = engine.start("nginx", name="web", restart="on-failure:3")

        Args:
            image: its name; `host` stands for this machine's own programs.
            args: the command; a str is split as a shell would split words; empty: the image's.
            options: see `ContainerOptions`.

        Raises:
            ImageNotFound: no such image, here or in its registry.
            InvalidOption: an option's value is not one it takes.
            NameInUse: another container has the name.
            StartError: it could not be started; the container is there nevertheless, but with `remove`.
        """
        from pycontain.containers import starting

        made = self._prepare(image, args, options, attached=False)
        container = self._handle(made)
        starting.in_background(made, container, self._paths, self._get_launcher, options)
        return container

    @contextlib.contextmanager
    def container(
        self, image: str, args: str | Sequence[str] = (), **options: Unpack[ContainerOptions]
    ) -> Iterator[Container]:
        """A container for a `with` block: started at its beginning, removed at its end.

        It is killed and removed, too, when this process ends without getting there.

        >>> with engine.container("postgres:16", env={"POSTGRES_PASSWORD": "x"}) as db:
        ...     db.wait_until(pycontain.port(5432), timeout=30)

        Args:
            image: its name; `host` stands for this machine's own programs.
            args: the command; a str is split as a shell would split words; empty: the image's.
            options: see `ContainerOptions`.

        Raises:
            ImageNotFound: no such image, here or in its registry.
            InvalidOption: an option's value is not one it takes.
            NameInUse: another container has the name.
            StartError: it could not be started.
        """
        from pycontain.containers import starting

        container = self._make(image, args, options, attached=False)
        with starting.for_block(container):
            yield container

    if TYPE_CHECKING:

        @overload
        def run(
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
        def run(
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
        def run(
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

    def run(
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
        r"""Run a command in a new container, wait for it, remove it.

        >>> engine.run("alpine", ["echo", "hi"]).stdout
        b'hi\n'

        Args:
            image: its name; `host` stands for this machine's own programs.
            args: the command; a str is split as a shell would split words; empty: the image's.
            input: what the command reads; None: nothing.
            text: both streams are str, decoded as UTF-8.
            check: raise when it fails.
            timeout: everything inside is killed when that is over; None: never.
            options: see `ContainerOptions`.

        Raises:
            ExitError: the command failed and `check` is true; carries both streams.
            TimeoutExpired: it did not end in time.
            ImageNotFound: no such image, here or in its registry.
            InvalidOption: an option's value is not one it takes.
            StartError: it could not be started; `CommandNotFound` when there is no such command.
        """
        most = limit("timeout", timeout)
        options["remove"] = True
        launcher = self._get_launcher()  # it removes what is made from here on
        container = self._prepare(image, args, options, keep=False)
        with container, container.joined() as joined:
            ended, out, err, _notes = launcher.run(
                joined.config,
                input=given(input),
                timeout=most,
                ephemeral=container.path,
                held=joined.fds,
            )
        words = container.prepared.args
        if ended is None:
            raise expired(words, most, out, err, text=text)
        return completed(words, ended, out, err, text=text, check=check)

    def run_foreground(
        self,
        image: str,
        args: Sequence[str] = (),
        *,
        streams: Collection[str] | None = None,
        detach_keys: str = "ctrl-p,ctrl-q",
        pass_signals: bool = True,
        **options: Unpack[ContainerOptions],
    ) -> int:
        """Run a command in a new container with this process's streams and terminal, as `pycontain run` does.

        Only for the main thread.

        One that is removed in the end and has no name ends with this process, however that ends. If it has no
        terminal either, it is its caller's alone: no list shows it. Any other one is as if it had been
        started in the background.

        Args:
            image: its name; `host` stands for this machine's own programs.
            args: the command; empty: the image's.
            streams: those of `stdin`, `stdout` and `stderr` that are this process's; None: all, and the
                container may be its caller's alone.
            detach_keys: leave it when these are typed in its terminal; it goes on.
            pass_signals: send it the signals that this process gets.
            options: see `ContainerOptions`.

        Returns:
            The command's exit status; 128 + n when signal n ended it; 0 when it was left.
        """
        from pycontain.runtime import foreground

        terminal = bool(options.get("tty"))
        stdin = bool(options.get("stdin")) and (streams is None or "stdin" in streams)
        foreground.check_terminal(terminal=terminal, stdin=stdin)
        if terminal or not options.get("remove") or options.get("name") or streams is not None:
            from pycontain.containers import starting

            container = self._make(image, args, options)
            return starting.in_foreground(
                container,
                options,
                streams=("stdin", "stdout", "stderr") if streams is None else streams,
                detach_keys=detach_keys,
                pass_signals=pass_signals,
            )
        launcher = self._get_launcher()  # as in `run`
        with self._prepare(image, args, options, keep=False) as made:
            start = functools.partial(made.start, launcher)
            init = bool(options.get("init"))
            return foreground.show(start, terminal=False, stdin=stdin, init=init, pass_signals=pass_signals)

    def warm_up(self, **options: Unpack[ContainerOptions]) -> None:
        """Make ready, beside all else, what the first container with such options can have before it starts.

        Raises:
            InvalidOption: an option's value is not one it takes.
        """
        from pycontain.runtime.command import NoImage
        from pycontain.runtime.host import Host
        from pycontain.runtime.namespaces import with_network
        from pycontain.runtime.spec import config

        options = with_network(options, Host())
        root = RootFilesystem(("/",))
        container = config(
            ("true",), options, NoImage(), root, id="0" * 64, directory="/", scratch=self._paths.ephemeral
        )
        self._get_launcher().prepare(container.config)

    def explain(self, image: str, args: Sequence[str] = (), **options: Unpack[ContainerOptions]) -> str:
        """The plan of the start of a container, one step a line; nothing is started."""
        from pycontain.runtime.joined import with_contents

        container = self._prepare(image, args, options, keep=False)
        with container:
            try:
                return self._get_launcher().explain(with_contents(container.prepared.config))
            finally:
                container.discard(self._get_launcher())

    def events(
        self,
        *,
        since: str | float | None = None,
        until: str | float | None = None,
        **filters: Unpack[EventFilters],
    ) -> Iterator[Event]:
        """What happens here from this call on, by whatever process; what has happened before, with `since`.

        >>> for event in engine.events(type="container"):
        ...     print(event.action, event.attributes["name"])

        Args:
            since: `10m` ago, RFC 3339, or seconds since the epoch.
            until: as `since`; None: for ever.
            filters: see `EventFilters`.

        Raises:
            InvalidOption: a time or a filter is not valid.
        """
        from pycontain.runtime.pauses import items

        return items(self._events(since, until, filters))

    def _events(
        self, since: str | float | None, until: str | float | None, filters: EventFilters
    ) -> Iterator[Event | Pause]:
        import time

        from pycontain.containers.happenings import wanted
        from pycontain.images.filters import moment
        from pycontain.runtime import events

        now = time.time()
        first = None if since is None else moment(since, now)
        last = None if until is None else moment(until, now)
        return events.watch(self._paths, first, last, wanted(filters))

    def stats(self) -> tuple[Stats, ...]:
        """What every container that runs uses now: see `engine.containers.stats`."""
        return self.containers.stats()

    def disk_usage(self) -> DiskUsage:
        """What is kept on disk, and how much of it nothing uses."""
        from pycontain.runtime.disk import disk_usage

        return disk_usage(self._paths, self._images.usage())

    def prune(self, *, all: bool = False, **filters: Unpack[PruneFilters]) -> Removal:
        """Remove images that nothing uses, and what ended processes left unfinished.

        Args:
            all: images with a tag too.
            filters: see `PruneFilters`.

        Raises:
            InvalidOption: a filter is not valid.
        """
        from pycontain.runtime import volumes

        volumes.collect(self._paths)
        directories.collect(self._paths, self._get_launcher())
        directories.collect_unfinished(self._paths, self._get_launcher())
        return self._images.prune(all=all, **filters)

    def close(self) -> None:
        """End the launcher, and with it every container that this engine runs in the foreground."""
        with self._lock:
            launcher, self._launcher = self._launcher, None
        if launcher is not None and self._pid == os.getpid():
            launcher.close()
        self._images.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get_launcher(self) -> Launcher:
        launcher = self._launcher
        if launcher is not None and self._pid == os.getpid() and launcher.alive:
            return launcher
        with self._lock:
            # A fork of this process must not use its parent's: two processes would read one channel.
            if self._launcher is None or self._pid != os.getpid() or not self._launcher.alive:
                from pycontain._core import Launcher

                self._launcher = Launcher(self._paths.run, spares=self._spares)
                self._pid = os.getpid()
                directories.collect(self._paths, self._launcher)
            return self._launcher

    def _prepare(
        self,
        image: str,
        args: str | Sequence[str],
        options: ContainerOptions,
        *,
        keep: bool = True,
        attached: bool = True,
    ) -> Preparation:
        if self._preparer is None:
            from pycontain.runtime.preparing import Preparer  # 18 ms that commands about images need not pay

            self._preparer = Preparer(self._paths, self._images)
        return self._preparer.prepare(image, args, options, keep=keep, attached=attached)

    def _make(
        self, image: str, args: str | Sequence[str], options: ContainerOptions, *, attached: bool = True
    ) -> Container:
        with self._prepare(image, args, options, attached=attached) as made:
            return self._handle(made)

    def _handle(self, made: Preparation) -> Container:
        from pycontain.containers import Container

        return Container(made.kept, self._paths, self._images, self._get_launcher)


class _Unpacker:
    """What the images need of the launcher, which starts when they first need it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def unpack(
        self, source: int, directory: str, *, whiteouts: bool, flush: bool, own: bool, copy: int, lock: int
    ) -> Unpacked:
        launcher = self._engine._get_launcher()
        return launcher.unpack(
            source, directory, whiteouts=whiteouts, flush=flush, own=own, copy=copy, lock=lock
        )

    def sync(self, file_system: int, directory: str, name: str) -> None:
        self._engine._get_launcher().sync(file_system, directory, name)

    def remove_tree(self, directory: str) -> None:
        self._engine._get_launcher().remove_tree(directory)


_default: Engine | None = None
_default_lock = threading.Lock()


def default(*, spares: bool = True) -> Engine:
    """The engine that the module's functions use: at `$PYCONTAIN_ROOT`, else the user's own place.

    Args:
        spares: as `Engine` takes it; only the first call decides.
    """
    global _default  # noqa: PLW0603 - the one
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = Engine(spares=spares)
    return _default
