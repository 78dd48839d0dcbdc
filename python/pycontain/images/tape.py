"""Writes a tar whose bytes depend on nothing but its entries: no times, no owners."""

from __future__ import annotations

import errno
import io
import os

from pycontain.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

__all__ = ["Tape"]

_BLOCK = 512
_RECORD = 20 * _BLOCK  # what tar pads an archive to
_MOST_AT_ONCE = 1 << 30  # a signal is noticed between two calls
# of a pair of files between which the kernel copies in no such way
_NOT_SO = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EBADF, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY}


class Tape:
    """A tar in the making.

    Args:
        target: what is written to; where it has a descriptor, files are copied to that by the kernel.
    """

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._written = 0
        self._descriptor = _descriptor(target)

    def directory(self, name: str) -> None:
        """A directory."""
        self._header(name + "/", 0, directory=True)

    def document(self, name: str, content: bytes) -> None:
        """A file with this content."""
        self._header(name, len(content))
        self._write(content)
        self._pad(_BLOCK)

    def file(self, name: str, source: int, size: int, described: str) -> None:
        """A file with the content of the file open as `source`, which must have this size.

        Raises:
            StoreError: it has another one; names it as `described`.
        """
        self._header(name, size)
        found = os.fstat(source).st_size
        if found != size:
            raise StoreError(f"`{described}` has {found} bytes, not {size}", filename=described)
        self._copy(source, size)
        self._pad(_BLOCK)

    def end(self) -> None:
        """The end of the archive."""
        self._write(bytes(2 * _BLOCK))
        self._pad(_RECORD)
        self._target.flush()

    def _header(self, name: str, size: int, *, directory: bool = False) -> None:
        import tarfile

        member = tarfile.TarInfo(name)
        member.size = size
        member.mode = 0o755 if directory else 0o644
        member.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
        self._write(member.tobuf(tarfile.PAX_FORMAT))

    def _pad(self, unit: int) -> None:
        self._write(bytes(-self._written % unit))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._target.write(view) or 0 :]
        self._written += len(data)

    def _copy(self, source: int, size: int) -> None:
        """By the kernel, in the first way that this pair of files knows."""
        offset = 0
        if self._descriptor is not None:
            self._target.flush()
            ways: list[Callable[[int, int, int, int], int]] = [_copy_file_range, _sendfile]
            while ways and offset < size:
                try:
                    done = ways[0](self._descriptor, source, offset, min(size - offset, _MOST_AT_ONCE))
                except OSError as error:
                    if error.errno not in _NOT_SO:
                        raise
                    done = 0
                offset += done
                if done == 0:
                    del ways[0]
            self._written += offset
        while offset < size:
            data = os.pread(source, 1 << 20, offset)
            if not data:
                raise StoreError(f"a blob ended after {offset} of {size} bytes")
            self._write(data)
            offset += len(data)


def _copy_file_range(target: int, source: int, offset: int, count: int) -> int:
    return os.copy_file_range(source, target, count, offset_src=offset)


def _sendfile(target: int, source: int, offset: int, count: int) -> int:
    return os.sendfile(target, source, offset, count)


def _descriptor(target: IO[bytes]) -> int | None:
    try:
        return target.fileno()
    except (AttributeError, io.UnsupportedOperation, OSError):
        return None
