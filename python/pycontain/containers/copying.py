"""`cp`: files into and out of containers, running or not.

    host files -> tar -> pipe -> process in the container, which unpacks beneath its own root
    process in the container, which packs -> tar -> pipe -> launcher's errand, which unpacks it

The process is the runtime's executable once more, in the container's namespaces: there, no link and no race
can lead it to a file of the host. What comes out of the container is unpacked as what comes out of a
registry: nothing of it is trusted. For one that does not run, its namespaces are made meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import stat

from pycontain.containers import keeping
from pycontain.errors import Conflict, InvalidOption, PathNotFound, PycontainError
from pycontain.images.feeding import fed
from pycontain.paths import absolute
from pycontain.runtime import events, kept
from pycontain.runtime.document import utf8
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from tarfile import TarInfo

    from pycontain._core import Launcher, Process
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept

__all__ = ["Copier", "PathStat"]

_MISSING = 2  # the process's exit status
_MOST_LINKS = 40  # as the kernel's
_CAPABILITIES = tuple(
    f"CAP_{name}" for name in "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID SETFCAP".split()
)


class PathStat(Value):
    """What is at a path in a container.

    Attributes:
        path: with its links resolved, if they were followed.
        mode: type and permissions, as `os.stat` has them.
        size: bytes.
        mtime: seconds since the epoch.
        link: where it leads, of a link.
    """

    __slots__ = ("path", "mode", "size", "mtime", "link")  # noqa: RUF023 - the constructor's order
    path: str
    mode: int
    size: int
    mtime: int
    link: str

    def __init__(self, path: str, mode: int, size: int, mtime: int, link: str) -> None:
        self._set(path=path, mode=mode, size=size, mtime=mtime, link=link)

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)


class _Place(Value):
    """Where a copy goes: the directory to unpack in, and its name there; empty: what is in it is copied."""

    __slots__ = ("directory", "name")
    directory: str
    name: str

    def __init__(self, directory: str, name: str) -> None:
        self._set(directory=directory, name=name)


class Copier:
    """Copies into and out of one container; rules as those of docker's `cp`."""

    def __init__(self, paths: Paths, container: Kept, launcher: Callable[[], Launcher]) -> None:
        self._paths = paths
        self._container = container
        self._launcher = launcher

    def stat(self, path: str, *, follow: bool = True) -> PathStat:
        """What is at a path.

        Raises:
            PathNotFound: nothing.
        """
        with open(os.memfd_create("stat"), "w+b") as answer:
            self._run(["stat", _absolute(path), "follow" if follow else "stay"], None, answer.fileno())
            answer.seek(0)
            found = json.load(answer)
        path, link = (os.fsdecode(bytes(found[name])) for name in ("path", "link"))
        return PathStat(path, found["mode"], found["size"], found["mtime"], link)

    def put(self, source: str, path: str, *, archive: bool = False, follow: bool = False) -> None:
        """A file or directory of the host goes into the container; see `Container.copy_in`."""
        is_whole = not _means_contents(source)
        try:
            status = os.stat(source) if follow or source.endswith("/") or not is_whole else os.lstat(source)
        except OSError as error:
            raise PathNotFound(f"cannot copy `{source}`: {(error.strerror or str(error)).lower()}") from error
        name = os.path.basename(absolute(source)) if is_whole else ""
        place = _place(name, path, _Inside(self, path), is_dir=stat.S_ISDIR(status.st_mode))
        real = os.path.realpath(source) if follow or source.endswith("/") else source
        with fed(lambda pipe: _write_tar(real, place.name, pipe, archive=archive)) as reading:
            self.put_tar(reading, place.directory)

    def put_tar(self, source: int, path: str) -> None:
        """A tar, read from an fd, is unpacked in the directory `path`."""
        directory = self.stat(path)
        if not directory.is_dir:
            raise InvalidOption(f"cannot unpack at `{path}`: it is not a directory")
        with open(os.devnull, "wb") as null:
            self._run(["unpack", directory.path], source, null.fileno())
        events.of_container(self._paths, "extract-to-dir", self._container.record)

    def get(self, path: str, target: str, *, archive: bool = False, follow: bool = False) -> None:
        """The way back; see `Container.copy_out`."""
        found = self._source(path, follow=follow)
        place = _place(_name(path), target, _Outside(target), is_dir=found.is_dir)
        launcher = self._launcher()
        with fed(lambda pipe: self._run(["pack", found.path, place.name], None, pipe)) as reading:
            launcher.unpack(reading, place.directory, whiteouts=False, owners=archive)
        events.of_container(self._paths, "archive-path", self._container.record)

    def get_tar(self, path: str, target: int, *, follow: bool = False) -> None:
        """What is at `path` goes as a tar to an fd."""
        found = self._source(path, follow=follow)
        self._run(["pack", found.path, _name(path)], None, target)
        events.of_container(self._paths, "archive-path", self._container.record)

    def read(self, path: str) -> bytes:
        """The content of a file."""
        found = self.stat(path)
        if not stat.S_ISREG(found.mode):
            raise InvalidOption(f"cannot read `{path}`: it is not a file")
        import tarfile

        with open(os.memfd_create("file"), "w+b") as file:
            self._run(["pack", found.path, "file"], None, file.fileno())
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                member = tar.extractfile("file")
                return member.read() if member is not None else b""

    def write(self, path: str, data: bytes, mode: int) -> None:
        """Make a file."""
        import io
        import tarfile
        import time

        there = _Inside(self, path)
        if there.is_dir:
            raise InvalidOption(f"cannot write `{path}`: it is a directory")
        if there.exists and not there.is_file:
            raise InvalidOption(f"cannot write `{path}`: it is not a file")
        place = _place("", path, there, is_dir=False)
        member = tarfile.TarInfo(place.name)
        member.size, member.mode, member.mtime = len(data), mode, int(time.time())
        with open(os.memfd_create("file"), "w+b") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                tar.addfile(member, io.BytesIO(data))
            file.seek(0)
            self.put_tar(file.fileno(), place.directory)

    def _source(self, path: str, *, follow: bool) -> PathStat:
        return self.stat(path, follow=follow or path.endswith("/") or _means_contents(path))

    def _run(self, words: list[str], stdin: int | None, stdout: int) -> None:
        with open(os.memfd_create("stderr"), "w+b") as said, open(os.devnull, "rb") as null:
            streams = (null.fileno() if stdin is None else stdin, stdout, said.fileno())
            with self._started(words, streams) as process, keeping.watched(self._container.record.name):
                ended = process.wait()
            said.seek(0)
            text = said.read(1 << 12).decode(errors="replace").strip()
        if ended is None or ended.returncode == 0:
            return
        kind = PathNotFound if ended.returncode == _MISSING else PycontainError
        why = text or "the process that copies was killed"
        raise kind(f"cannot copy: {why} in container `{self._container.record.name}`")

    @contextlib.contextmanager
    def _started(self, words: list[str], streams: tuple[int, int, int]) -> Iterator[Process]:
        config = _config(self._container.config, words)
        with kept.held(self._paths, self._container) as stopped:
            if stopped is not None:
                process = self._launcher().start(config, streams, held=[stopped.lock])
                with contextlib.closing(process):
                    yield process
                    return
        name = self._container.record.name
        ending = Conflict(f'container "{name}" is about to end', hint="try again when it has")
        keeper = keeping.monitor(self._container)
        if keeper is None:
            raise ending
        try:
            entered = keeper.exec(config, streams)
        except ConnectionError:
            raise ending from None
        with contextlib.closing(entered):
            yield entered


def _config(own: bytes, words: list[str]) -> bytes:
    """The container's configuration with a process that may do everything with files, and nothing else."""
    document = json.loads(own)
    process, annotations = document["process"], document["annotations"]
    process |= {
        "args": words,
        "cwd": "/",
        "env": [],
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
    }
    annotations["io.pycontain.copy"] = "true"
    for name in ("seccomp", "user", "make-workdir", "init"):
        annotations.pop(f"io.pycontain.{name}", None)
    return utf8(json.dumps(document, ensure_ascii=False))


class _Inside:
    """What is at a path of a container, where something is to be copied to."""

    def __init__(self, copier: Copier, path: str) -> None:
        self._copier = copier
        self.path, self._found = self._end(_bare(path))

    def _end(self, path: str) -> tuple[str, PathStat | None]:
        """Where links lead: what is there, or would be."""
        for _ in range(_MOST_LINKS):
            try:
                found = self._copier.stat(path, follow=False)
            except PathNotFound:
                return path, None
            if not stat.S_ISLNK(found.mode):
                return path, found
            path = _bare(posixpath.join(posixpath.dirname(_absolute(path)), found.link))
        raise _too_many_links(path)

    @property
    def exists(self) -> bool:
        return self._found is not None

    @property
    def is_dir(self) -> bool:
        return self._found is not None and self._found.is_dir

    @property
    def is_file(self) -> bool:
        return self._found is not None and stat.S_ISREG(self._found.mode)

    def directory(self, path: str) -> str:
        found = self._copier.stat(path)
        if not found.is_dir:
            raise PathNotFound(f"cannot copy to `{path}`: it is not a directory")
        return found.path


class _Outside:
    """The same on the host."""

    def __init__(self, path: str) -> None:
        if not path:
            raise PathNotFound("cannot copy to ``: there is no such directory", hint="`.` is the current one")
        self.path = os.path.realpath(_bare(path))
        self.exists = os.path.lexists(self.path)
        self.is_dir = os.path.isdir(self.path)
        if os.path.islink(self.path):
            raise _too_many_links(path)

    def directory(self, path: str) -> str:
        if not os.path.isdir(path):
            raise PathNotFound(f"cannot copy to `{path}`: there is no such directory")
        return path


def _place(name: str, target: str, there: _Inside | _Outside, *, is_dir: bool) -> _Place:
    """Docker's rules: what is there decides whether the copy goes into it, or has its name."""
    if there.is_dir:
        return _Place(there.path, name)
    if there.exists and is_dir:
        raise InvalidOption(f"cannot copy a directory to `{target}`: it is a file")
    if there.exists and _means_directory(target):
        raise InvalidOption(f"cannot copy to `{target}`: it is not a directory")
    if _means_directory(target) and not is_dir:
        raise PathNotFound(f"cannot copy to `{target}`: there is no such directory")
    parent = posixpath.dirname(there.path) or "/"
    return _Place(there.directory(parent), posixpath.basename(there.path))


def _too_many_links(path: str) -> InvalidOption:
    return InvalidOption(f"cannot copy to `{path}`: too many levels of symbolic links")


def _bare(path: str) -> str:
    """Without the slash at its end, with which a file would seem to be nothing."""
    return path.rstrip("/") or path[:1]


def _means_directory(path: str) -> bool:
    return path.endswith("/") or _means_contents(path)


def _absolute(path: str) -> str:
    return "/" + path.lstrip("/")


def _means_contents(path: str) -> bool:
    return path == "." or path.endswith("/.")


def _name(path: str) -> str:
    """What it is called where it goes; empty where what is in it is meant."""
    return "" if _means_contents(path) else posixpath.basename(posixpath.normpath(_absolute(path)))


def _write_tar(source: str, name: str, pipe: int, *, archive: bool) -> None:
    import tarfile

    def owned(member: TarInfo) -> TarInfo | None:
        if not archive:
            member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    try:
        with (
            open(pipe, "wb", closefd=False) as file,
            tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for member in [name] if name else sorted(os.listdir(source)):
                tar.add(source if name else f"{source}/{member}", member, filter=owned)
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise PycontainError(f"cannot copy `{error.filename or source}`: {reason}") from error
