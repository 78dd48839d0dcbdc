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
    is_written_to = os.path.exists(path) and not os.path.isfile(path)  # a device, a pipe
    with (_opened if is_written_to else _appearing)(path) as descriptor:
        yield descriptor


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    with _told(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _appearing(path: str) -> Iterator[int]:
    """A file that is there, in place of another, when all is written; until then it has no name."""
    descriptor = _unnamed(os.path.dirname(path) or ".")
    if descriptor is None:
        with _appearing_named(path) as named:
            yield named
        return
    try:
        yield descriptor
        with _told(path):
            _name(descriptor, path)
    finally:
        os.close(descriptor)


def _unnamed(directory: str) -> int | None:
    """None: this file system cannot do that, or there is no such directory."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError:
        return None


def _name(descriptor: int, path: str) -> None:
    unnamed = f"/proc/self/fd/{descriptor}"
    # with a directory given link(3) is linkat(2), which follows that link: open(2) has it
    try:
        os.link(unnamed, path, src_dir_fd=descriptor)
    except FileExistsError:
        made = _temporary(path)
        os.link(unnamed, made, src_dir_fd=descriptor)
        try:
            os.rename(made, path)
        except BaseException:
            os.unlink(made)
            raise


@contextlib.contextmanager
def _appearing_named(path: str) -> Iterator[int]:
    """The same under another name until then, which stays when this process is killed."""
    made = _temporary(path)
    with _told(path):
        descriptor = os.open(made, os.O_WRONLY | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        with _told(path):
            os.rename(made, path)
    except BaseException:
        os.unlink(made)
        raise


def _temporary(path: str) -> str:
    return f"{path}.{os.urandom(6).hex()}"


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Whatever fails here is that the file cannot be written."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write `{path}`: {(error.strerror or str(error)).lower()}",
            errno=error.errno,
            filename=path,
        ) from error


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
