"""Lines of a file that others append to, and that is renamed to `.1`, `.2`, … when it has grown."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Lines"]

_BLOCK = 1 << 18


class Lines:
    """Whole lines, the oldest first; `new` gives those that have come since the last time.

    Args:
        path: of the file that is written to; it need not be there yet.
        last: begin with the last so many lines of those that are there; None: with all.
    """

    def __init__(self, path: str, *, last: int | None = None) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._rest: list[bytes] = []
        files = self._files()
        if last is None:
            self._open(files[-1] if files else path)
        else:
            self._open_at_last(files, last)

    def new(self) -> Iterator[bytes]:
        """Those that are there now, without their ends of line; ends when there are no more."""
        if self._descriptor is None:
            files = self._files()
            if not files or not self._open(files[-1]):
                return
        while True:
            yield from self._read()
            following = self._following()
            if following is None:
                return
            # what was written between the last read and the renaming
            yield from self._read()
            self.close()
            if not self._open(following):
                return

    def close(self) -> None:
        """Give up the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.close()  # nobody may ever have begun to read

    def _read(self) -> Iterator[bytes]:
        assert self._descriptor is not None
        while block := os.read(self._descriptor, _BLOCK):
            lines = block.split(b"\n")
            if len(lines) == 1:
                self._rest.append(block)
                continue
            lines[0] = b"".join((*self._rest, lines[0]))
            last = lines.pop()
            self._rest = [last] if last else []
            yield from lines

    def _files(self) -> list[str]:
        """Those that are there, the newest first."""
        found = [self._path] if os.path.exists(self._path) else []
        number = 1
        while os.path.exists(f"{self._path}.{number}"):
            found.append(f"{self._path}.{number}")
            number += 1
        return found

    def _following(self) -> str | None:
        """The file after the one that is open; None: it is the last."""
        assert self._descriptor is not None
        mine = os.fstat(self._descriptor)
        newer: str | None = None
        for path in self._files():
            try:
                if os.path.samestat(os.stat(path), mine):
                    return newer
            except FileNotFoundError:
                pass
            else:
                newer = path
        return newer  # rotated away altogether: the oldest that is left

    def _open(self, path: str) -> bool:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        return True

    def _open_at_last(self, files: list[str], count: int) -> None:
        for path in files:
            if not self._open(path):
                continue
            assert self._descriptor is not None
            count, offset = _beginning_of_last(self._descriptor, count)
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            if not count or path == files[-1]:
                return
            self.close()


def _beginning_of_last(descriptor: int, count: int) -> tuple[int, int]:
    """Where the last `count` lines begin; and how many of those the file does not have."""
    end = os.fstat(descriptor).st_size
    if not count or not end:
        return count, end
    position = end - 1  # where the last line ends
    while position:
        start = max(position - _BLOCK, 0)
        block = os.pread(descriptor, position - start, start)
        place = len(block)
        while (place := block.rfind(b"\n", 0, place)) >= 0:
            count -= 1
            if not count:
                return 0, start + place + 1
        position = start
    return count - 1, 0
