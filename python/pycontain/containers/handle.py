"""Handles of containers that stay: cheap, equal by the container's id; what may change is asked for."""

from __future__ import annotations

from pycontain.runtime import kept, sizes
from pycontain.runtime.pauses import finish, items

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
    from typing import IO, Any, Literal, Unpack, overload

    from pycontain._core import Launcher, Waiting
    from pycontain.containers.conditions import Condition
    from pycontain.containers.copying import Copier
    from pycontain.containers.executing import ExecOptions
    from pycontain.containers.logs import LogEntry
    from pycontain.containers.metering import Stats
    from pycontain.containers.process import Process
    from pycontain.images import Image, Images
    from pycontain.options import Duration, Updates
    from pycontain.paths import Paths
    from pycontain.runtime.pauses import Pause
    from pycontain.types import Completed, FileChange

__all__ = ["Container"]


class Container:
    """A container that stays until it is removed. Made by the engine only."""

    __slots__ = ("_images", "_kept", "_launcher", "_paths", "_tie", "_tied")

    def __init__(
        self, found: kept.Kept, paths: Paths, images: Images, launcher: Callable[[], Launcher]
    ) -> None:
        self._kept = found
        self._paths = paths
        self._images = images
        self._launcher = launcher
        self._tied = False  # it ends with this process, which holds
        self._tie: Waiting | None = None

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self._kept.id

    @property
    def name(self) -> str:
        """What it is called now."""
        return self._now().record.name

    @property
    def args(self) -> tuple[str, ...]:
        """The command that it was made to run."""
        return self._kept.record.args

    @property
    def labels(self) -> dict[str, str]:
        """Its own, and its image's."""
        return dict(self._kept.record.labels)

    @property
    def status(self) -> str:
        """What it does now: `created`, `running`, `paused`, `restarting`, `exited` or `dead`."""
        return self._now().state.status

    def ports(self) -> dict[str, list[tuple[str, int]]]:
        """Where on the host its published ports are, while it runs: `{"80/tcp": [("0.0.0.0", 8080)]}`.

        Raises:
            ContainerNotFound: it is gone.
        """
        from pycontain.containers.published import ports

        found: dict[str, list[tuple[str, int]]] = {}
        for inside, protocol, published in ports(self._now().state.networks):
            found.setdefault(f"{inside}/{protocol}", []).append((published.at, published.port))
        return found

    def port(self, inside: int | str) -> tuple[str, int]:
        """An address and a port at which this machine reaches one of its ports.

        >>> host, port = db.port(5432)

        Args:
            inside: its number, or `"53/udp"`.

        Raises:
            ContainerNotFound: it is gone.
            NotFound: it is not published, or the container does not run.
        """
        from pycontain.errors import NotFound

        text = str(inside)
        wanted = text if "/" in text else f"{text}/tcp"
        places = self.ports().get(wanted)
        if not places:
            raise NotFound(
                f"port {wanted} of container `{self._kept.record.name}` is not published",
                hint="`ports={80: 0}`, or `--publish`, publishes one",
            )
        address, number = places[0]
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address), number  # noqa: S104

    def inspect(self, *, size: bool = False) -> dict[str, Any]:
        """All about it as it is now, in the shape of docker's JSON.

        Args:
            size: with the bytes of its files: `SizeRw` of those that it wrote, `SizeRootFs` of all.

        Raises:
            ContainerNotFound: it is gone.
        """
        from pycontain.containers.inspecting import inspect

        return inspect(self._now(), self._image_size if size else None)

    def stats(self) -> Stats:
        """What it uses now; takes a tenth of a second, to see how busy it is. Zeros if it does not run.

        Raises:
            ContainerNotFound: it is gone.
        """
        from pycontain.containers.metering import stats

        return stats([self._now()])[0]

    def logs(
        self,
        *,
        follow: bool = False,
        since: str | float | None = None,
        until: str | float | None = None,
        tail: int | None = None,
    ) -> Iterator[LogEntry]:
        """What it wrote to its standard output and error, line by line, the oldest first.

        Args:
            follow: go on for as long as it runs.
            since: nothing older: `10m` ago, RFC 3339, or seconds since the epoch.
            until: nothing younger; 0: whenever.
            tail: begin with the last so many lines.

        Raises:
            ContainerNotFound: it is gone.
            InvalidOption: a time is none.
            Unsupported: its log driver is `none`.
        """
        return items(self._log(follow, since, until, tail))

    def _log(
        self,
        follow: bool,
        since: str | float | None = None,
        until: str | float | None = None,
        tail: int | None = None,
    ) -> Iterator[LogEntry | Pause]:
        from pycontain.containers.logs import entries

        return entries(self._paths, self._kept, follow=follow, since=since, until=until, tail=tail)

    def start(self) -> None:
        """Start it; it goes on without this process. Nothing is done if it runs.

        Raises:
            Conflict: it is paused.
            ContainerNotFound: it is gone.
            InvalidOption: a secret or config cannot be read.
            StartError: it could not be started; `CommandNotFound` when there is no such command.
        """
        from pycontain.containers import keeping

        launcher = self._launcher()
        tie = keeping.start(self._paths, self._kept, launcher, awaited=self._tied, tied=self._tied)
        if self._tied:
            self._tie = tie or self._tie

    def stop(self, *, signal: str | int | None = None, timeout: Duration | None = None) -> None:
        """Ask it to end, and kill it if it does not; at once, if it does not handle the signal.

        Args:
            signal: None: what it or its image has for that, else SIGTERM.
            timeout: until it is killed; None: as it was made with, else 10 s; -1 or `inf`: never.

        Raises:
            ContainerNotFound: it is gone.
            InvalidOption: there is no such signal, or the timeout is none.
        """
        finish(self._stop(signal, timeout))

    def _stop(self, signal: str | int | None, timeout: Duration | None) -> Generator[Pause, None, None]:
        from pycontain.containers import keeping
        from pycontain.runtime.sizes import patience, signal_number

        number = None if signal is None else signal_number("signal", signal)
        until_killed = None if timeout is None else patience("timeout", timeout)
        return keeping.stop(self._paths, self._kept, number=number, timeout=until_killed)

    def show(
        self,
        *,
        start: bool = False,
        stdin: bool = True,
        outputs: Collection[str] = ("stdout", "stderr"),
        detach_keys: str = "ctrl-p,ctrl-q",
        pass_signals: bool = True,
        end_by_signals: bool = False,
        tied: bool = False,
    ) -> int | None:
        """Pass its streams to and from those of this process until it ends. Only for the main thread.

        Args:
            start: start it first, so that nothing is missed.
            stdin: pass on what this process reads, if it was made to read.
            outputs: those of its outputs that are shown; what its terminal shows is `stdout`.
            detach_keys: leave it when these are typed in a terminal.
            pass_signals: send it the signals that this process gets.
            end_by_signals: kill it when it does not handle such a signal, and that ends other processes.
            tied: kill it when this process ends, unless it was left; only with `start`.

        Returns:
            Its exit code; None: it was left, and goes on.

        Raises:
            Conflict: it does not run, or is paused.
            ContainerNotFound: it is gone.
            StartError: it could not be started.
        """
        from pycontain.containers.showing import show

        return show(
            self._paths,
            self._kept,
            self._launcher if start else None,
            stdin=stdin,
            outputs=outputs,
            keys=detach_keys,
            pass_signals=pass_signals,
            end_by_signals=end_by_signals,
            tied=tied,
        )

    def restart(self, *, signal: str | int | None = None, timeout: Duration | None = None) -> None:
        """`stop`, if it runs, and `start`.

        Raises:
            InvalidOption: a secret or config cannot be read; it goes on as it is.
        """
        self._read_secrets()
        self.stop(signal=signal, timeout=timeout)
        self.start()

    def _read_secrets(self) -> None:
        """What its next start would be refused for."""
        from pycontain.runtime.joined import with_contents

        with_contents(self._kept.own_config)

    def kill(self, signal: str | int = "KILL") -> None:
        """Send a signal to its first process.

        Raises:
            Conflict: it does not run.
            ContainerNotFound: it is gone.
            InvalidOption: there is no such signal.
        """
        from pycontain.containers import keeping
        from pycontain.runtime.sizes import signal_number

        keeping.kill(self._paths, self._kept, signal_number("signal", signal))

    def pause(self) -> None:
        """Let nothing in it run, until `unpause`.

        Raises:
            Conflict: it does not run, or is paused.
            ContainerNotFound: it is gone.
            Unsupported: it has no control group of its own.
        """
        from pycontain.containers import keeping

        keeping.freeze(self._paths, self._kept, frozen=True)

    def unpause(self) -> None:
        """Let it go on.

        Raises:
            Conflict: it is not paused.
            ContainerNotFound: it is gone.
        """
        from pycontain.containers import keeping

        keeping.freeze(self._paths, self._kept, frozen=False)

    def wait(self, timeout: Duration | None = None) -> int:
        """Until it does not run and is not to be started again; its exit code.

        Raises:
            ContainerNotFound: it is gone.
            InvalidOption: the timeout is none.
            TimeoutExpired: it runs still.
        """
        return finish(self._wait(timeout))

    def _wait(self, timeout: Duration | None) -> Generator[Pause, None, int]:
        from pycontain.containers import keeping
        from pycontain.runtime.sizes import limit

        return keeping.wait(self._paths, self._kept, limit("timeout", timeout))

    def wait_until(
        self, condition: Condition | Callable[[Container], object], timeout: Duration | None = None
    ) -> None:
        """Until it is so: `port(5432)`, `log_line("ready")`, `healthy()`, `exited()`, or what you ask for.

        >>> db.wait_until(pycontain.port(5432), timeout=30)

        Args:
            condition: one of these, or what takes the container and returns whether it holds.
            timeout: None: for as long as it may still come true.

        Raises:
            Conflict: the container has ended, and it cannot come true any more.
            ContainerNotFound: it is gone.
            TimeoutExpired: it did not hold in time; the message says what was seen last.
        """
        finish(self._until(condition, timeout))

    def _until(
        self, condition: Condition | Callable[[Container], object], timeout: Duration | None
    ) -> Generator[Pause, None, None]:
        from pycontain.containers.conditions import until
        from pycontain.runtime.sizes import limit

        return until(self, condition, limit("timeout", timeout))

    if TYPE_CHECKING:

        @overload
        def run(
            self,
            args: str | Sequence[str],
            *,
            input: bytes | str | None = None,
            text: Literal[False] = False,
            check: bool = True,
            timeout: Duration | None = None,
            **options: Unpack[ExecOptions],
        ) -> Completed[bytes]: ...

        @overload
        def run(
            self,
            args: str | Sequence[str],
            *,
            input: bytes | str | None = None,
            text: Literal[True],
            check: bool = True,
            timeout: Duration | None = None,
            **options: Unpack[ExecOptions],
        ) -> Completed[str]: ...

        @overload
        def run(
            self,
            args: str | Sequence[str],
            *,
            input: bytes | str | None = None,
            text: bool,
            check: bool = True,
            timeout: Duration | None = None,
            **options: Unpack[ExecOptions],
        ) -> Completed[bytes | str]: ...

    def run(
        self,
        args: str | Sequence[str],
        *,
        input: bytes | str | None = None,
        text: bool = False,
        check: bool = True,
        timeout: Duration | None = None,
        **options: Unpack[ExecOptions],
    ) -> Completed[bytes | str]:
        r"""Run a command in it, and wait for that.

        >>> web.run(["cat", "/etc/hostname"], text=True).stdout
        '4f0c2a9d1e3b\n'

        Args:
            args: the command; a str is split as a shell would split words.
            input: what the command reads; None: nothing.
            text: both streams are str, decoded as UTF-8.
            check: raise when it fails.
            timeout: it is killed when that is over, with all that it started; None: never.
            options: see `ExecOptions`.

        Raises:
            Conflict: the container does not run.
            ExitError: the command failed and `check` is true; carries both streams.
            StartError: it could not be started; `CommandNotFound` when there is no such command.
            TimeoutExpired: it did not end in time.
        """
        from pycontain.containers import executing

        return executing.run(
            self._paths, self._kept, args, options, input=input, text=text, check=check, timeout=timeout
        )

    def exec(
        self, args: str | Sequence[str], *, stdin: bool = False, **options: Unpack[ExecOptions]
    ) -> Process:
        """Start a command in it, and go on: a `Process`, which is shaped like `subprocess.Popen`.

        That it could not be started is told by `Process.wait`.

        Args:
            args: the command; a str is split as a shell would split words.
            stdin: there is something for it to read: `process.stdin`.
            options: see `ExecOptions`; not `tty`.

        Raises:
            Conflict: the container does not run.
            InvalidOption: an option's value is not one it takes.
        """
        from pycontain.containers import executing

        return executing.begin(self._paths, self._kept, args, options, stdin=stdin)

    def exec_foreground(
        self,
        args: str | Sequence[str],
        *,
        stdin: bool = False,
        detach: bool = False,
        detach_keys: str = "ctrl-p,ctrl-q",
        **options: Unpack[ExecOptions],
    ) -> int:
        """Run a command in it with this process's streams, terminal and signals, as `pycontain exec` does.

        Only for the main thread.

        Args:
            args: the command.
            stdin: let it read what this process reads.
            detach: let it go on in the background, without streams; then this returns 0.
            detach_keys: leave it when these are typed in its terminal; it goes on.
            options: see `ExecOptions`.

        Returns:
            Its exit status; 0 when it was left.
        """
        from pycontain.containers import executing

        return executing.in_foreground(
            self._paths, self._kept, args, options, stdin=stdin, detach=detach, detach_keys=detach_keys
        )

    def fork(self, name: str | None = None, *, start: bool | None = None) -> Container:
        """Make a container that begins with the files of this one as they are now.

        Neither sees what the other writes from then on.

        >>> branch = db.fork("db-branch")

        Nothing is copied of one that is stopped: what it wrote becomes a layer of both. One that runs stands
        still while what it wrote is copied; files share their blocks, where the file system can do that.
        Volumes without a name are copied; those with one, and binds, are the same for both. The new one has
        the same options, but an id and a name of its own.

        Args:
            name: of the new one.
            start: start it; None: if this one runs.

        Raises:
            ContainerNotFound: it is gone.
            NameInUse: another container has the name.
            StartError: the new one is there, but could not be started.
            Unsupported: it writes to a directory of the host (`rootfs="DIR:rw"`), or cannot be paused.
        """
        from pycontain.containers.forking import fork
        from pycontain.runtime.namespaces import container_name

        if name is not None:
            name = container_name(name)
        made = fork(self._paths, self._images, self._now(), self._launcher(), name, start=start)
        return Container(made, self._paths, self._images, self._launcher)

    def checkpoint(self, name: str) -> None:  # noqa: ARG002 - of what there is none
        """Write down its processes, to go on with them elsewhere: not possible yet.

        Raises:
            ContainerNotFound: it is gone.
            Unsupported: always; it says whether criu is missing, does not work here, or would.
        """
        from pycontain.containers.checkpointing import refuse

        raise refuse(self.name)

    def rename(self, name: str) -> None:
        """Give it another name.

        Raises:
            ContainerNotFound: it is gone.
            NameInUse: another container has the name.
            InvalidOption: it is no name, or its name already.
        """
        from pycontain.runtime import events, names
        from pycontain.runtime.namespaces import container_name

        new = container_name(name)
        with kept.there(self._now()):
            record, old = names.rename(self._paths, self._kept.path, new)
        events.of_container(self._paths, "rename", record, oldName=old)

    def update(self, **changes: Unpack[Updates]) -> None:
        """Change limits and the restart policy, for this run, if it runs, and for those after it.

        >>> web.update(memory="1g", restart="always")

        Args:
            changes: `memory`, `memory_swap`, `memory_reservation`, `cpus`, `cpu_period`, `cpu_quota`,
                `cpu_shares`, `cpuset_cpus`, `cpuset_mems`, `pids_limit`, `blkio_weight`, `restart`: as in
                `ContainerOptions`.

        Raises:
            ContainerNotFound: it is gone.
            InvalidOption: an option cannot be changed, or its value is not one it takes.
            StartError: the kernel does not take a limit.
        """
        from pycontain.containers.updating import update

        update(self._paths, self._kept, changes)

    def top(self, options: Sequence[str] = ()) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """The processes inside, by the host's ids.

        Args:
            options: those of ps(1), which has to be installed then.

        Returns:
            The titles of the columns, and a row for each process.

        Raises:
            Conflict: it does not run.
            ContainerNotFound: it is gone.
            InvalidOption: ps does not take the options, or shows no process ids with them.
            Unsupported: ps is not installed.
        """
        from pycontain.containers.processes import top
        from pycontain.runtime.environment import strings

        return top(self._now(), strings("options", options))

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it with its files and its log.

        Args:
            force: kill it, if it runs.
            volumes: its volumes without a name go, too, as those of one with the option `remove` do.

        Raises:
            ContainerNotFound: it is gone.
            StillInUse: it runs.
        """
        from pycontain.containers.removal import remove

        remove(self._paths, self._kept, self._launcher, force=force, volumes=volumes)

    def _now(self) -> kept.Kept:
        return kept.find(self._paths, self.id)

    def _image_size(self) -> int:
        image = self._kept.record.image_id
        return self._images.get(image).size if image.startswith("sha256:") else 0

    def diff(self) -> tuple[FileChange, ...]:
        """What it changed in the files of its image, sorted; a directory with changes in it is changed too.

        Raises:
            Unsupported: its root is a directory of this machine.
        """
        from pycontain.containers.written import changes

        return changes(self._kept, self._launcher())

    def copy_in(
        self,
        source: str | os.PathLike[str],
        path: str | os.PathLike[str],
        *,
        archive: bool = False,
        follow: bool = False,
    ) -> None:
        """Copy a file or directory of the host to `path`, as docker's `cp` does. It need not run.

        Args:
            source: `DIR/.` stands for what is in the directory.
            path: a directory that is there gets the source as one more member.
            archive: numbers of owners stay; else all belongs to the container's root.
            follow: of a source that is a link, copy what it leads to.

        Raises:
            PathNotFound: there is no such source, or no directory to put it in.
            InvalidOption: a directory cannot become a file.
            PycontainError: something could not be read or written.
        """
        there = self._place(path)
        self._copier.put(sizes.path("source", source), there, archive=archive, follow=follow)

    def copy_out(
        self,
        path: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        archive: bool = False,
        follow: bool = False,
    ) -> None:
        """Copy what is at `path` to the host; with `archive` owners stay, else all belongs to the caller.

        Raises:
            PathNotFound: there is nothing, or no directory to put it in.
            InvalidOption: a directory cannot become a file.
            PycontainError: something could not be read or written.
        """
        there = self._place(path)
        self._copier.get(there, sizes.path("target", target), archive=archive, follow=follow)

    def put_archive(self, source: int, path: str | os.PathLike[str]) -> None:
        """Unpack a tar, read from an fd, in the directory `path`; otherwise as `copy_in`."""
        self._copier.put_tar(source, self._place(path))

    def get_archive(self, path: str | os.PathLike[str], target: int, *, follow: bool = False) -> None:
        """Write a tar of what is at `path` to an fd; otherwise as `copy_out`."""
        self._copier.get_tar(self._place(path), target, follow=follow)

    def read_bytes(self, path: str | os.PathLike[str]) -> bytes:
        """The content of a file in it; it need not run.

        Raises:
            PathNotFound: there is none.
            InvalidOption: it is no file.
        """
        return self._copier.read(self._place(path))

    def write_bytes(self, path: str | os.PathLike[str], data: bytes, *, mode: int = 0o644) -> None:
        """Make, or replace, a file in it; its directory must be there.

        Raises:
            PathNotFound: there is no such directory.
            InvalidOption: something else is there: a directory, a device.
        """
        permissions = sizes.whole("mode", mode, 0, 0o7777)
        self._copier.write(self._place(path), data, permissions)

    @staticmethod
    def _place(path: str | os.PathLike[str]) -> str:
        return sizes.path("path", path)

    @property
    def _copier(self) -> Copier:
        from pycontain.containers.copying import Copier

        return Copier(self._paths, self._kept, self._launcher)

    def export(self, target: str | os.PathLike[str] | IO[bytes]) -> None:
        """Write all of its files as a tar, as it sees them; not what is mounted there.

        `$SOURCE_DATE_EPOCH` is the latest time that is written.

        Args:
            target: a path, which appears when all is written, or something open to write to.

        Raises:
            StoreError: it could not be written.
        """
        from pycontain.containers.exporting import export

        export(self._paths, self._kept, self._launcher, target)

    def save(
        self,
        target: str | os.PathLike[str] | IO[bytes],
        *,
        incremental: bool = False,
        with_image: bool = False,
    ) -> None:
        """Write the container as an archive, of which `engine.containers.load` makes it again elsewhere.

        What it is, what it wrote, and its volumes. One that runs stands still while these are read.

        Args:
            target: a path, which appears when all is written, or something open to write to.
            incremental: only what the last archive did not have; the first has all. What a stopped container
                wrote need not be sent twice, what a running one wrote since it was started is.
            with_image: its image, too.

        Raises:
            StoreError: it could not be written.
            Unsupported: it is made of files of this machine, or cannot be paused.
        """
        from pycontain.containers.moving import save
        from pycontain.containers.target import writing

        with writing(target) as descriptor:
            save(
                self._paths,
                self._images,
                self._now(),
                self._launcher(),
                descriptor,
                incremental=incremental,
                with_image=with_image,
            )

    def commit(
        self,
        name: str | None = None,
        *,
        author: str = "",
        message: str = "",
        changes: Iterable[str] = (),
        pause: bool = True,
    ) -> Image:
        """Make an image of it: the configuration of its image, and one layer more.

        With `$SOURCE_DATE_EPOCH` the same files give the same image.

        Args:
            name: the new image's name.
            author: goes into the image.
            message: goes into its history.
            changes: instructions of a Dockerfile for its configuration: `CMD ["sh"]`.
            pause: whether nothing in it runs meanwhile, if it runs.

        Raises:
            ImageNotFound: its image is gone.
            InvalidOption: the name or a change is not valid.
            Unsupported: it has no image of layers, or cannot be paused.
        """
        from pycontain.containers.exporting import commit

        return commit(
            self._paths,
            self._images,
            self._kept,
            self._launcher,
            name,
            author=author,
            message=message,
            changes=changes,
            pause=pause,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Container) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Container {self.id[:12]}>"
