"""gzip by several threads at once, as pigz does it: any gunzip reads it, and the same bytes give the same.

Each block is compressed by itself, knowing the 32 KiB before it; the pieces, each ended at a byte by an empty
block, are one deflate stream. zlib lets go of the interpreter's lock while it works.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

__all__ = ["gzipped"]

_LEVEL = 6
_BLOCK = 1 << 20
_WINDOW = 32 << 10
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # deflate, no name, no time, no system


def gzipped(source: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """What `source` has, compressed, in pieces; and how much of it each piece stands for."""
    threads = os.cpu_count() or 1
    checksum, size = 0, 0
    yield _HEADER, 0
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[tuple[Future[bytes], int]] = deque()
        before = b""
        while block := source.read(_BLOCK):
            checksum, size = zlib.crc32(block, checksum), size + len(block)
            pending.append((pool.submit(_deflated, block, before), len(block)))
            before = block[-_WINDOW:]
            # no more in memory than the threads need to be busy
            if len(pending) > 2 * threads:
                piece, length = pending.popleft()
                yield piece.result(), length
        for piece, length in pending:
            yield piece.result(), length
    # the last block, empty, and what gunzip checks: checksum and size
    end = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS).flush()
    yield end + checksum.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little"), 0


def _deflated(block: bytes, before: bytes) -> bytes:
    if before:
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=before)
    else:
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)
