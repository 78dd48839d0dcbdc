"""Where an export goes: a path, at which it appears when all is written, or something open to write to."""

from __future__ import annotations

import contextlib
import os

from pycontain.errors import StoreError
from pycontain.runtime.sizes import check_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

__all__ = ["writing"]


@contextlib.contextmanager
def writing(target: str | os.PathLike[str] | IO[bytes]) -> Iterator[int]:
    """An fd of it."""
    check_file("target", target, "write")
    if not isinstance(target, str | os.PathLike):
        with _piped_to(target) as descriptor:
            yield descriptor
        return
    path = os.fspath(target)
    # a device or a pipe is written to; a file is replaced when all is there
    final = not os.path.exists(path) or os.path.isfile(path)
    made = f"{path}.{os.urandom(6).hex()}" if final else path
    flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if final else 0)
    try:
        descriptor = os.open(made, flags, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot write `{path}`: {(error.strerror or str(error)).lower()}",
            errno=error.errno,
            filename=path,
        ) from error
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        if final:
            os.rename(made, path)
    except BaseException:
        if final:
            os.unlink(made)
        raise


@contextlib.contextmanager
def _piped_to(target: IO[bytes]) -> Iterator[int]:
    import io
    import shutil
    import threading

    try:
        target.flush()
        yield target.fileno()
        return
    except io.UnsupportedOperation:
        pass
    reading, writing = os.pipe()

    def copy() -> None:
        with open(reading, "rb") as source:
            shutil.copyfileobj(source, target)

    thread = threading.Thread(target=copy, name="export")
    thread.start()
    try:
        yield writing
    finally:
        os.close(writing)
        thread.join()
