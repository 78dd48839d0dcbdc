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

from pycontain.errors import ImageInvalid, ImageNotFound, StoreError, Unsupported
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
# Of what is spooled, as of a layer: in all, and beyond the floor as a multiple of what is compressed.
_MOST_BYTES = 128 << 30
_EXPANSION = 500
_EXPANSION_FLOOR = 1 << 30
_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"


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
            file = stack.enter_context(_spooled(file, staging, _MOST_BYTES))
        plain = _decompressed(file)
        if plain is not file:
            most = max(_EXPANSION_FLOOR, _EXPANSION * os.fstat(file.fileno()).st_size)
            file = stack.enter_context(_spooled(plain, staging, min(most, _MOST_BYTES)))
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
        with _legible():
            data = source.read(wanted) if offset is None else os.pread(source.fileno(), wanted, offset)
        if not data:
            break
        _write(target, data)
        offset = None if offset is None else offset + len(data)
        left = None if left is None else left - len(data)


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


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
def _legible() -> Iterator[None]:
    """What cannot be read, or not be decompressed, is no valid archive."""
    import lzma
    import zlib

    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise ImageInvalid(f"archive is damaged or truncated: {error}") from error
    except OSError as error:
        if error.errno is None and not isinstance(error, TimeoutError):
            raise ImageInvalid(f"archive is damaged: {error}") from error
        raise ImageInvalid(f"cannot read the archive: {(error.strerror or str(error)).lower()}") from error


@contextlib.contextmanager
def _spooled(source: IO[bytes], staging: str, most: int) -> Iterator[IO[bytes]]:
    name, size = f"{staging}/{os.urandom(6).hex()}", 0
    with open(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "rb") as spool:
        os.unlink(name)  # not O_TMPFILE, which some file systems do not have
        for data in _chunks(source):
            size += len(data)
            if size > most:
                raise ImageInvalid(f"archive has more than {most} bytes")
            try:
                _write(spool.fileno(), data)
            except OSError as error:
                words = (error.strerror or str(error)).lower()
                raise StoreError(
                    f"cannot spool the archive in `{staging}`: {words}", errno=error.errno, filename=staging
                ) from error
        spool.seek(0)
        yield spool


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    """All that it has; only the beginning where that is no archive's: it may have no end, as `/dev/zero`."""
    import tarfile

    head = b""
    with _legible():
        while len(head) < tarfile.BLOCKSIZE and (data := source.read(tarfile.BLOCKSIZE - len(head))):
            head += data
    yield head
    if not head.startswith((_GZIP, _BZIP2, _XZ)):
        try:
            tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
        except tarfile.HeaderError:
            return
    while True:
        with _legible():
            data = source.read(_CHUNK)
        if not data:
            return
        yield data


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    """The same file, or what it decompresses to: archives are often compressed as a whole."""
    with _legible():
        head = os.pread(file.fileno(), 6, 0)
    if head.startswith(_GZIP):
        import gzip

        return gzip.open(file)  # type: ignore[return-value]
    if head.startswith(_BZIP2):
        import bz2

        return bz2.open(file)
    if head == _XZ:
        import lzma

        return lzma.open(file)
    if head.startswith(_ZSTD):
        raise Unsupported(
            "archive is compressed by zstd as a whole", hint="pipe it: `zstd -dc FILE | pycontain load`"
        )
    return file


class _Directory:
    """A directory in the OCI layout, or docker's; what a name or a link leads to elsewhere is not in it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._root = os.path.realpath(path)

    def __contains__(self, name: str) -> bool:
        return self._place(name) is not None

    def size(self, name: str) -> int:
        with self._opened(name) as file:
            return os.fstat(file.fileno()).st_size

    def read(self, name: str) -> bytes:
        with self._opened(name) as file, _legible():
            return _document(file.read(_LONGEST_DOCUMENT + 1), name)

    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[int]:
        with self._opened(name) as file:
            yield file.fileno()

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        place = self._place(name)
        if place is None:
            raise ImageInvalid(f"`{name}` is missing in `{self._path}`")
        with _opened(place) as file:
            yield file

    def _place(self, name: str) -> str | None:
        try:
            place = os.path.realpath(os.path.join(self._root, name))
        except ValueError:  # it has a NUL
            return None
        is_within = os.path.commonpath((self._root, place)) == self._root
        return place if is_within and os.path.isfile(place) else None


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
        with _legible():
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
                    if entries > _MOST_ENTRIES:
                        raise ImageInvalid(f"the archive has more than {_MOST_ENTRIES} entries")
                    if archive.offset <= end:
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
        with _legible():
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
