"""Every error that pycontain raises.

    PycontainError
    ├── InvalidOption (ValueError)
    ├── NotFound (LookupError)
    │   ├── ImageNotFound
    │   ├── ContainerNotFound
    │   ├── PathNotFound
    │   ├── NetworkNotFound
    │   └── VolumeNotFound
    ├── Conflict
    │   ├── NameInUse
    │   ├── PortInUse
    │   ├── AddressInUse
    │   └── StillInUse
    ├── StartError
    │   ├── CommandNotFound
    │   └── CommandNotExecutable
    ├── ExitError
    ├── TimeoutExpired (TimeoutError)
    ├── RegistryError
    │   ├── RegistryUnreachable
    │   ├── Unauthorized
    │   ├── RateLimited
    │   └── BadDigest
    ├── ImageInvalid
    ├── StoreError (OSError)
    └── Unsupported

A message says what failed, on what and why; `hint` says what to do next, where there is something to do.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, ClassVar


class PycontainError(Exception):
    """Something that pycontain was asked for did not happen."""

    hint: str | None
    _HINT: ClassVar[str | None] = None  # of all errors of a kind, but for those that have a better one

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint or self._HINT

    def __reduce__(self) -> tuple[Any, ...]:
        # for other processes: as it is, since constructors take more than the message
        members = {name: getattr(self, name, None) for name in ("errno", "filename")}  # of OSError
        state = self.__dict__ | {name: value for name, value in members.items() if value is not None}
        return _remade, (type(self), self.args), state


def _remade(kind: type[PycontainError], args: tuple[Any, ...]) -> PycontainError:
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class InvalidOption(PycontainError, ValueError):
    """An option does not take this value; the message names the option, the value and what is allowed."""


class NotFound(PycontainError, LookupError):
    """No such object."""


class ImageNotFound(NotFound):
    """No image of this name, here or in its registry."""


class ContainerNotFound(NotFound):
    """No container of this name or id."""


class PathNotFound(NotFound):
    """No such file or directory, in a container or on the host."""


class NetworkNotFound(NotFound):
    """No network of this name or id."""


class VolumeNotFound(NotFound):
    """No volume of this name."""


class Conflict(PycontainError):
    """It cannot be done beside what is there already."""


class NameInUse(Conflict):
    """A container of this name exists."""


class PortInUse(Conflict):
    """The port on the host is taken."""


class AddressInUse(Conflict):
    """The address is taken."""


class StillInUse(Conflict):
    """What should be removed is in use."""


class StartError(PycontainError):
    """A container did not start: the message names the step of the plan that failed, on what, and why.

    Attributes:
        returncode: what the command line exits with: 125, 126 or 127, as docker does.
        errno: the system's error number, or None.
    """

    returncode = 125

    def __init__(self, message: str, *, errno: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.errno = errno


class CommandNotFound(StartError):
    """The command is not in the container."""

    _HINT = "it is looked for among the container's files, not the host's; a line of the shell needs `sh -c`"
    returncode = 127


class CommandNotExecutable(StartError):
    """The command is in the container and cannot be executed."""

    _HINT = "it has to be a file with the permission to execute it; `sh FILE` runs a script that has not"
    returncode = 126


class ExitError(PycontainError):
    """The command ended with a status other than 0.

    Attributes:
        args_: the command as it was run.
        returncode: its exit status; 128 + n when signal n ended it.
        stdout, stderr: what it wrote, as in `Completed`; None where that was not captured.
        oom_killed: whether the kernel ended a process of the container for want of memory.
    """

    stdout: Any  # bytes or str, which no `except` can tell: as in subprocess
    stderr: Any

    def __init__(
        self,
        args: Sequence[str],
        returncode: int,
        stdout: bytes | str | None = None,
        stderr: bytes | str | None = None,
        *,
        oom_killed: bool = False,
    ) -> None:
        reason = "was killed: out of memory" if oom_killed else f"exited with {returncode}"
        super().__init__(f"command `{' '.join(args)}` {reason}")
        self.args_ = tuple(args)
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr
        self.oom_killed = oom_killed


class TimeoutExpired(PycontainError, TimeoutError):
    """The command did not end in time; everything inside its container has been killed, but after `wait`.

    Attributes:
        args_: the command as it was run.
        timeout: seconds.
        stdout, stderr: both streams as far as they came.
    """

    stdout: Any
    stderr: Any

    def __init__(
        self,
        args: Sequence[str],
        timeout: float,
        stdout: bytes | str | None = None,
        stderr: bytes | str | None = None,
        *,
        killed: bool = True,
        message: str | None = None,
    ) -> None:
        what = "was killed" if killed else "still runs"
        command = f"command `{' '.join(args)}`"
        super().__init__(message or f"{command} did not end within {timeout:g} s and {what}")
        self.args_ = tuple(args)
        self.timeout = timeout
        self.stdout = stdout
        self.stderr = stderr


class RegistryError(PycontainError):
    """A registry did not do what it was asked; the message names the registry, the request and its answer."""


class RegistryUnreachable(RegistryError):
    """No connection to the registry, or none that lasted."""


class Unauthorized(RegistryError):
    """The registry wants a login, or does not let this one do that."""


class RateLimited(RegistryError):
    """The registry wants to be asked less often."""


class BadDigest(RegistryError):
    """What the registry sent is not what its digest promises."""


class ImageInvalid(PycontainError):
    """An archive, a document or a layer is not a valid image; the message names the entry and why."""

    _HINT = "nothing of it was kept: get it again, or have it made again"


class StoreError(PycontainError, OSError):
    """The store on disk could not be read or written; `errno` and `filename` as in OSError."""

    def __init__(
        self, message: str, *, errno: int | None = None, filename: str | None = None, hint: str | None = None
    ) -> None:
        PycontainError.__init__(self, message, hint=hint)
        self.errno = errno
        self.filename = filename

    def __str__(self) -> str:
        return str(self.args[0])


class Unsupported(PycontainError):
    """Not possible on this host; `hint` names the one thing that would change that."""
