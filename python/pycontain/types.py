"""The values that go in and come out: frozen, compared by content.

Nothing here costs an import: the options' `TypedDict` lives in `options.py` and is loaded when it is asked
for.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Generic, TypeVar, overload

    from pycontain.options import ContainerOptions

    S_co = TypeVar("S_co", bound=bytes | str | None, covariant=True)
else:
    S_co = None

    class Generic:
        """As `typing.Generic`, whose import costs every start 5 ms: it takes parameters, and forgets them."""

        __slots__ = ()
        __class_getitem__ = classmethod(type(list[int]))


__all__ = [
    "Completed",
    "ContainerOptions",
    "FileChange",
    "MemoryFile",
    "Mount",
    "Progress",
    "RootFilesystem",
    "Usage",
    "Value",
    "bind",
    "tmpfs_mount",
]


def __getattr__(name: str) -> object:
    if name == "ContainerOptions":
        from pycontain import options

        return options.ContainerOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Value:
    """A frozen value: its fields are named by `__slots__`, in the order of its constructor."""

    # by hand, because `dataclasses` and `typing.NamedTuple` cost every start 7 ms and more
    __slots__: tuple[str, ...] = ()

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _fields(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot set `{name}`: {type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"cannot delete `{name}`: {type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[type[Value], tuple[object, ...]]:
        return type(self), self._fields()


class FileChange(Value):
    """A path that a container changed in its image.

    Attributes:
        kind: `C` changed, `A` added, `D` deleted.
        path: absolute, in the container; bytes that are no UTF-8 as `os.fsdecode` has them.
    """

    __slots__ = ("kind", "path")
    kind: str
    path: str

    def __init__(self, kind: str, path: str) -> None:
        self._set(kind=kind, path=path)


class Mount(Value):
    """Something mounted in a container. Made by `bind`, `volume_mount`, `image_mount` and `tmpfs_mount`.

    Attributes:
        type: `bind`, `volume`, `image` or `tmpfs`.
        source: the directory or file on the host, the volume, or the image. A volume without a name is a new
            one, which goes with the container.
        target: the absolute path in the container.
        options: mount options, in the words of mount(8): `ro`, `rbind`, `rslave`, `size=67108864`.
        create_source: whether a missing source becomes a directory, as with docker's `--volume`.
    """

    __slots__ = ("type", "source", "target", "options", "create_source")  # noqa: RUF023 - the constructor's order
    type: str
    source: str
    target: str
    options: tuple[str, ...]
    create_source: bool

    def __init__(
        self, type: str, source: str, target: str, options: Iterable[str] = (), create_source: bool = False
    ) -> None:
        self._set(
            type=type, source=source, target=target, options=tuple(options), create_source=create_source
        )


def bind(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    read_only: bool = False,
    propagation: str = "rprivate",
    recursive: bool = True,
) -> Mount:
    """A directory or file of the host, visible at `target` in the container.

    Args:
        source: must exist; a relative path starts at the current directory.
        target: absolute.
        read_only: writes through this mount fail with EROFS.
        propagation: of mounts made later: `private`, `rprivate`, `slave`, `rslave`, `shared` or `rshared`.
        recursive: whether what is mounted below `source` is visible as well.

    Raises:
        InvalidOption: the target is not absolute, or the propagation is none of these.
    """
    from os import fspath

    from pycontain.runtime.mounts import bind_mount

    return bind_mount(
        fspath(source), fspath(target), read_only=read_only, propagation=propagation, recursive=recursive
    )


def volume_mount(
    name: str,
    target: str | os.PathLike[str],
    *,
    read_only: bool = False,
    copy: bool = True,
    subpath: str | None = None,
    labels: Mapping[str, str] | None = None,
    driver_options: Mapping[str, str] | None = None,
) -> Mount:
    """A volume, visible at `target` in the container; it is made if it is not there.

    Args:
        name: of the volume; empty: a new one, which goes with the container.
        target: absolute.
        read_only: writes through this mount fail with EROFS.
        copy: while it is empty, it gets what the image has at `target`.
        subpath: what of the volume is mounted; it has to be there.
        labels: of a volume that is made now.
        driver_options: likewise: `type`, `device`, `o`.

    Raises:
        InvalidOption: the name is none, or the target is not absolute.
    """
    from os import fspath

    from pycontain.runtime import mounts

    return mounts.volume_mount(
        name,
        fspath(target),
        read_only=read_only,
        copy=copy,
        subpath=subpath,
        labels=labels,
        driver_options=driver_options,
    )


def image_mount(image: str, target: str | os.PathLike[str], *, subpath: str | None = None) -> Mount:
    """The files of an image, visible read-only at `target` in the container.

    Args:
        image: its name.
        target: absolute.
        subpath: what of its files is mounted.

    Raises:
        InvalidOption: the target is not absolute.
    """
    from os import fspath

    from pycontain.runtime import mounts

    return mounts.image_mount(image, fspath(target), subpath=subpath)


def tmpfs_mount(
    target: str | os.PathLike[str],
    *,
    size: int | str | None = None,
    mode: int | None = None,
    read_only: bool = False,
) -> Mount:
    """An empty file system in memory at `target`, gone with the container.

    Args:
        target: absolute.
        size: bytes, or a string such as `"64m"`; None: the kernel's default, half of the memory.
        mode: permission bits of its root directory; None: 0o1777.
        read_only: it stays empty.

    Raises:
        InvalidOption: the target is not absolute, or the size is not one.
    """
    from os import fspath

    from pycontain.runtime.mounts import tmpfs_from_fields

    return tmpfs_from_fields("mounts", fspath(target), size=size, mode=mode, read_only=read_only)


class MemoryFile(Value):
    """A file that a container gets at each start, in memory of its own. Made by `secret` and `config_file`.

    Attributes:
        type: `secret` or `config`.
        name: what it is called in messages and by `inspect`.
        source: the file on the host that is read at each start.
        env: or the environment variable of whoever starts the container. Neither: the variable of that name
            where there is one, else the file.
        target: the absolute path in the container.
        uid, gid: whose it is, by the container's ids.
        mode: permission bits; nobody can write it.
    """

    __slots__ = ("type", "name", "source", "env", "target", "uid", "gid", "mode")  # noqa: RUF023
    type: str
    name: str
    source: str | None
    env: str | None
    target: str
    uid: int
    gid: int
    mode: int

    def __init__(
        self,
        type: str,
        name: str,
        source: str | None,
        env: str | None,
        target: str,
        uid: int = 0,
        gid: int = 0,
        mode: int = 0o400,
    ) -> None:
        self._set(type=type, name=name, source=source, env=env, target=target, uid=uid, gid=gid, mode=mode)


class RootFilesystem(Value):
    """What a container's root is made of: layers, or one directory as it is.

    Attributes:
        lower: layer directories, topmost first; the container's own writable directory goes on top of them.
        overlays: (destination, directory) pairs: further overlays inside the root, each with a lower
            directory of its own.
        directory: this directory itself is the root, and writes go to it; `lower` and `overlays` are empty
            then.
        immutable: nobody changes the layers: what was made of them once may be made again.
    """

    __slots__ = ("lower", "overlays", "directory", "immutable")  # noqa: RUF023 - the constructor's order
    lower: tuple[str, ...]
    overlays: tuple[tuple[str, str], ...]
    directory: str | None
    immutable: bool

    def __init__(
        self,
        lower: Iterable[str] = (),
        overlays: Iterable[tuple[str, str]] = (),
        directory: str | None = None,
        *,
        immutable: bool = False,
    ) -> None:
        lower, overlays = tuple(lower), tuple(overlays)
        if (directory is None) == (not lower):
            raise ValueError("a root file system has either layers or a directory")
        self._set(lower=lower, overlays=overlays, directory=directory, immutable=immutable)


class Progress(Value):
    """One step of a pull or a push, in docker's words.

    Attributes:
        layer: the first 12 digits of a layer's digest; a tag; empty: it is about the image as a whole.
        phase: `Pulling fs layer`, `Waiting`, `Downloading`, `Retrying`, `Download complete`, `Pull complete`,
            `Already exists`; `Preparing`, `Compressing`, `Pushing`, `Pushed`, `Layer already exists`,
            `Mounted from …`; of the image: `Digest: sha256:…`, `Status: …`.
        done, total: bytes of a layer, compressed; 0 where there are none to tell.
    """

    __slots__ = ("layer", "phase", "done", "total")  # noqa: RUF023 - the constructor's order
    layer: str
    phase: str
    done: int
    total: int

    def __init__(self, layer: str, phase: str, done: int = 0, total: int = 0) -> None:
        self._set(layer=layer, phase=phase, done=done, total=total)


class Usage(Value):
    """What a container used, all its processes together; None where the host does not count it.

    Attributes:
        cpu: seconds of processor time.
        memory_peak: bytes, the most it held at once.
    """

    __slots__ = ("cpu", "memory_peak")
    cpu: float | None
    memory_peak: int | None

    def __init__(self, cpu: float | None = None, memory_peak: int | None = None) -> None:
        self._set(cpu=cpu, memory_peak=memory_peak)

    def __repr__(self) -> str:
        cpu = "None" if self.cpu is None else f"{self.cpu:.3f} s"
        memory = "None" if self.memory_peak is None else f"{self.memory_peak:_} B"
        return f"Usage(cpu={cpu}, memory_peak={memory})"


class Completed(Value, Generic[S_co]):
    """A command that ran to its end in a container; shaped like `subprocess.CompletedProcess`.

    `Completed[bytes]`; with `text=True` `Completed[str]`.

    Attributes:
        args: the command as it was run, the image's entrypoint included.
        returncode: its exit status; 128 + n when signal n ended it.
        stdout, stderr: what it wrote: bytes, with `text=True` str.
        oom_killed: whether the kernel ended a process of the container for want of memory.
        usage: what it used, read before its cgroup went.
    """

    __slots__ = ("args", "returncode", "stdout", "stderr", "oom_killed", "usage")  # noqa: RUF023
    args: tuple[str, ...]
    returncode: int
    stdout: S_co
    stderr: S_co
    oom_killed: bool
    usage: Usage

    if TYPE_CHECKING:

        @overload
        def __init__(
            self: Completed[None],
            args: Sequence[str],
            returncode: int,
            stdout: None = None,
            stderr: None = None,
            oom_killed: bool = False,
            usage: Usage | None = None,
        ) -> None: ...

        @overload
        def __init__(
            self,
            args: Sequence[str],
            returncode: int,
            stdout: S_co,
            stderr: S_co,
            oom_killed: bool = False,
            usage: Usage | None = None,
        ) -> None: ...

    def __init__(
        self,
        args: Sequence[str],
        returncode: int,
        stdout: bytes | str | None = None,
        stderr: bytes | str | None = None,
        oom_killed: bool = False,
        usage: Usage | None = None,
    ) -> None:
        self._set(
            args=tuple(args),
            returncode=returncode,
            stdout=stdout,
            stderr=stderr,
            oom_killed=oom_killed,
            usage=usage or Usage(),
        )
