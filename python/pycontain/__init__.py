r"""A container engine that is a Python library.

>>> import pycontain
>>> pycontain.run("alpine", ["echo", "hi"], network="none").stdout
b'hi\n'

The names below are loaded when they are used: importing pycontain costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, Unpack, overload

    from pycontain.containers import Container
    from pycontain.containers.conditions import Condition, exited, healthy, log_line, port
    from pycontain.containers.logs import LogEntry
    from pycontain.containers.metering import Stats
    from pycontain.containers.process import Process
    from pycontain.engine import Engine  # type: ignore[import-not-found,unused-ignore]
    from pycontain.errors import (
        AddressInUse,
        BadDigest,
        CommandNotExecutable,
        CommandNotFound,
        Conflict,
        ContainerNotFound,
        ExitError,
        ImageInvalid,
        ImageNotFound,
        InvalidOption,
        NameInUse,
        NetworkNotFound,
        NotFound,
        PathNotFound,
        PortInUse,
        PycontainError,
        RateLimited,
        RegistryError,
        RegistryUnreachable,
        StartError,
        StillInUse,
        StoreError,
        TimeoutExpired,
        Unauthorized,
        Unsupported,
        VolumeNotFound,
    )
    from pycontain.images import Image
    from pycontain.networks import Network
    from pycontain.options import ContainerOptions, Duration
    from pycontain.registry.credentials import Credentials
    from pycontain.runtime.events import Event
    from pycontain.runtime.secrets import config_file, secret
    from pycontain.types import (
        Completed,
        FileChange,
        MemoryFile,
        Mount,
        Progress,
        RootFilesystem,
        Usage,
        bind,
        image_mount,
        tmpfs_mount,
        volume_mount,
    )
    from pycontain.volumes import Volume

__version__ = "0.1.0"

__all__ = [
    "AddressInUse",
    "BadDigest",
    "CommandNotExecutable",
    "CommandNotFound",
    "Completed",
    "Condition",
    "Conflict",
    "Container",
    "ContainerNotFound",
    "ContainerOptions",
    "Credentials",
    "Engine",
    "Event",
    "ExitError",
    "FileChange",
    "Image",
    "ImageInvalid",
    "ImageNotFound",
    "InvalidOption",
    "LogEntry",
    "MemoryFile",
    "Mount",
    "NameInUse",
    "Network",
    "NetworkNotFound",
    "NotFound",
    "PathNotFound",
    "PortInUse",
    "Process",
    "Progress",
    "PycontainError",
    "RateLimited",
    "RegistryError",
    "RegistryUnreachable",
    "RootFilesystem",
    "StartError",
    "Stats",
    "StillInUse",
    "StoreError",
    "TimeoutExpired",
    "Unauthorized",
    "Unsupported",
    "Usage",
    "Volume",
    "VolumeNotFound",
    "__version__",
    "bind",
    "config_file",
    "exited",
    "healthy",
    "image_mount",
    "log_line",
    "port",
    "run",
    "secret",
    "tmpfs_mount",
    "volume_mount",
]

_MODULES = {
    "Completed": "types",
    "Condition": "containers.conditions",
    "ContainerOptions": "options",
    "Container": "containers",
    "Credentials": "registry.credentials",
    "Engine": "engine",
    "Event": "runtime.events",
    "FileChange": "types",
    "Image": "images",
    "LogEntry": "containers.logs",
    "MemoryFile": "types",
    "Mount": "types",
    "Network": "networks",
    "Process": "containers.process",
    "Progress": "types",
    "RootFilesystem": "types",
    "Stats": "containers.metering",
    "Usage": "types",
    "bind": "types",
    "config_file": "runtime.secrets",
    "exited": "containers.conditions",
    "healthy": "containers.conditions",
    "image_mount": "types",
    "log_line": "containers.conditions",
    "port": "containers.conditions",
    "secret": "runtime.secrets",
    "tmpfs_mount": "types",
    "volume_mount": "types",
    "Volume": "volumes",
}  # the others are errors


if TYPE_CHECKING:

    @overload
    def run(
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
    image: str,
    args: str | Sequence[str] = (),
    *,
    input: bytes | str | None = None,
    text: bool = False,
    check: bool = True,
    timeout: Duration | None = None,
    **options: Unpack[ContainerOptions],
) -> Completed[bytes | str]:
    r"""Run a command in a new container, wait for it, remove it; in the default engine.

    >>> run("alpine", ["echo", "hi"], network="none").stdout
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
    from pycontain.engine import default

    result: Completed[bytes | str] = default().run(
        image, args, input=input, text=text, check=check, timeout=timeout, **options
    )
    return result


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"pycontain.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
