"""The entries of an image archive, by name: of a tar, or of a directory in the OCI layout.

Nothing is extracted by its path. A tar is indexed once, and an entry is then read from where it lies; a tar
that comes through a pipe, or compressed, is first spooled to a file that has no name and so is never left.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import stat

from pycontain.errors import ImageInvalid, ImageNotFound, Unsupported
from pycontain.images.feeding import fed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Protocol

    class Readable(Protocol):
        """What can be piped; of a file with an offset also its fd is used."""

        def read(self, size: int, /) -> bytes: ...
        def fileno(self) -> int: ...

    class Entries(Protocol):
        """What an image is made from."""

        def __contains__(self, name: str) -> bool: ...
        def size(self, name: str) -> int:
            """Its bytes."""

        def read(self, name: str) -> bytes:
            """A document, in full."""

        def stream(self, name: str) -> contextlib.AbstractContextManager[int]:
            """An fd to read it from."""


__all__ = ["Entries", "open_entries", "piped"]

_CHUNK = 1 << 20
# Documents are kilobytes. A header, of a name say, that claims more than this is an attack on memory.
_LONGEST_DOCUMENT = 8 << 20
_MOST_ENTRIES = 200_000
_MOST_LINKS = 16


@contextlib.contextmanager
def open_entries(source: str | os.PathLike[str] | IO[bytes], staging: str) -> Iterator[Entries]:
    """The entries of the archive `source`: a path, or something open; `staging` is where it may be spooled.

    Raises:
        ImageInvalid: it is neither a tar nor a directory in the OCI layout.
        ImageNotFound: there is no such file.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(source, str | os.PathLike):
            path = os.fspath(source)
            if os.path.isdir(path):
                yield _Directory(path)
                return
            file = stack.enter_context(_opened(path))
        else:
            file = source
        if not _is_at_start_of_a_file(file):
            file = stack.enter_context(_spooled(file, staging))
        plain = _decompressed(file)
        if plain is not file:
            file = stack.enter_context(_spooled(plain, staging))
        yield _Tar(file)


def piped(
    source: Readable, offset: int | None = None, size: int | None = None
) -> contextlib.AbstractContextManager[int]:
    """The reading end of a pipe for `source`, from where it stands or for `size` bytes from `offset`."""
    return fed(lambda pipe: _copy(source, offset, size, pipe))


def _copy(source: Readable, offset: int | None, size: int | None, target: int) -> None:
    left = size
    while left is None or left > 0:
        wanted = _CHUNK if left is None else min(_CHUNK, left)
        data = source.read(wanted) if offset is None else os.pread(source.fileno(), wanted, offset)
        if not data:
            break
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
        offset = None if offset is None else offset + len(data)
        left = None if left is None else left - len(data)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below
    except FileNotFoundError as error:
        raise ImageNotFound(f"no such file: `{path}`") from error
    except OSError as error:
        raise ImageInvalid(f"cannot open `{path}`: {error.strerror}") from error
    with file:
        yield file


def _is_at_start_of_a_file(file: IO[bytes]) -> bool:
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode) and file.tell() == 0
    except (OSError, AttributeError, ValueError):
        return False


@contextlib.contextmanager
def _spooled(source: IO[bytes], staging: str) -> Iterator[IO[bytes]]:
    import lzma
    import zlib

    name = f"{staging}/{os.urandom(6).hex()}"
    with open(name, "x+b") as spool:
        os.unlink(name)  # not O_TMPFILE, which some file systems do not have
        try:
            while data := source.read(_CHUNK):
                spool.write(data)
        except (EOFError, zlib.error, lzma.LZMAError) as error:
            raise ImageInvalid(f"archive is damaged or truncated: {error}") from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise ImageInvalid(f"archive is damaged: {error}") from error
        spool.flush()
        spool.seek(0)
        yield spool


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    """The same file, or what it decompresses to: archives are often compressed as a whole."""
    head = os.pread(file.fileno(), 6, 0)
    if head.startswith(b"\x1f\x8b"):
        import gzip

        return gzip.open(file)  # type: ignore[return-value]
    if head.startswith(b"BZh"):
        import bz2

        return bz2.open(file)
    if head == b"\xfd7zXZ\x00":
        import lzma

        return lzma.open(file)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        raise Unsupported(
            "archive is compressed by zstd as a whole", hint="pipe it: `zstd -dc FILE | pycontain load`"
        )
    return file


class _Directory:
    """A directory in the OCI layout; names are made of digests that were checked, so none leads out of it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __contains__(self, name: str) -> bool:
        return os.path.isfile(os.path.join(self._path, name))

    def size(self, name: str) -> int:
        with self._opened(name) as file:
            return os.fstat(file.fileno()).st_size

    def read(self, name: str) -> bytes:
        with self._opened(name) as file:
            return _document(file.read(_LONGEST_DOCUMENT + 1), name)

    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[int]:
        with self._opened(name) as file:
            yield file.fileno()

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        if name not in self:
            raise ImageInvalid(f"`{name}` is missing in `{self._path}`")
        with open(os.path.join(self._path, name), "rb") as file:
            yield file


class _Tar:
    """A tar in a file: where each regular file lies, and what links to what."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        self._index()

    def __contains__(self, name: str) -> bool:
        return self._target(name) in self._places

    def size(self, name: str) -> int:
        return self._place(name)[1]

    def read(self, name: str) -> bytes:
        offset, size = self._place(name)
        if size > _LONGEST_DOCUMENT:
            raise ImageInvalid(f"`{name}` is a document of {size} bytes")
        return _document(os.pread(self._file.fileno(), size, offset), name)

    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[int]:
        offset, size = self._place(name)
        with piped(self._file, offset, size) as reading:
            yield reading

    def _place(self, name: str) -> tuple[int, int]:
        try:
            return self._places[self._target(name)]
        except KeyError:
            raise ImageInvalid(f"`{name}` is missing in the archive") from None

    def _target(self, name: str) -> str:
        # docker wrote a layer that several images share once, and links to it
        target = posixpath.normpath(name)
        for _ in range(_MOST_LINKS):
            if target in self._places or target not in self._links:
                return target
            target = self._links[target]
        raise ImageInvalid(f"`{name}` is a link that leads to itself")

    def _index(self) -> None:
        import tarfile

        guarded = _Guarded(self._file)
        end = entries = 0
        try:
            with tarfile.open(fileobj=guarded, mode="r:") as archive:
                while (member := archive.next()) is not None:
                    entries += 1
                    if archive.offset <= end or entries > _MOST_ENTRIES:
                        raise ImageInvalid(f"`{member.name[:200]}` in the archive has an impossible size")
                    end = archive.offset
                    self._add(member)
        except tarfile.TarError as error:
            raise ImageInvalid(f"archive is not a tar, or is truncated: {error}") from error
        except (ValueError, OverflowError, RecursionError) as error:
            raise ImageInvalid(f"archive is damaged: {error}") from error

    def _add(self, member: object) -> None:
        import tarfile

        assert isinstance(member, tarfile.TarInfo)
        name = posixpath.normpath(member.name)
        if member.isreg():
            if member.issparse():
                raise ImageInvalid(f"`{member.name}` in the archive is sparse")
            self._places[name] = (member.offset_data, member.size)
            self._links.pop(name, None)
        elif member.issym():
            self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
        elif member.islnk():
            self._links[name] = posixpath.normpath(member.linkname)


class _Guarded(io.RawIOBase):
    """What `tarfile` reads headers from: it takes their sizes on trust, negative ones too (CVE-2025-8194)."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_DOCUMENT:
            raise ImageInvalid(f"a header in the archive claims a size of {size} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset < 0:
            raise ImageInvalid("a header in the archive claims a negative size")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _document(data: bytes, name: str) -> bytes:
    if len(data) > _LONGEST_DOCUMENT:
        raise ImageInvalid(f"`{name}` is a document of more than {_LONGEST_DOCUMENT} bytes")
    return data
