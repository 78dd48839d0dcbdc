"""`--cidfile`: a file that gets the id of a new container, for whoever started it to find."""

from __future__ import annotations

import contextlib
import os

from pycontain.errors import InvalidOption, StoreError
from pycontain.runtime import sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["made"]


@contextlib.contextmanager
def made(path: str | os.PathLike[str]) -> Iterator[Callable[[str], None]]:
    """A function that writes the id. Where it is not called, there is no file.

    Raises:
        InvalidOption: the file is there already, or it is no path.
        StoreError: it cannot be made.
    """
    name = sizes.path("cidfile", path)
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise InvalidOption(
            f"the file `{name}` for a container's id is there already",
            hint="make sure that that container does not run, or remove the file",
        ) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StoreError(f"cannot write `{name}`: {reason}", errno=error.errno, filename=name) from error
    written = False

    def write(id: str) -> None:
        nonlocal written
        os.write(descriptor, id.encode())
        written = True

    try:
        yield write
    finally:
        os.close(descriptor)
        if not written:
            with contextlib.suppress(OSError):
                os.unlink(name)
