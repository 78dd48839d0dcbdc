"""What is compressed by several threads is what any gunzip reads."""

from __future__ import annotations

import gzip
import io
import os
import subprocess

import pytest
from pycontain.images.gzipping import gzipped


def packed(data: bytes) -> bytes:
    pieces = list(gzipped(io.BytesIO(data)))
    assert sum(length for _, length in pieces) == len(data)
    return b"".join(piece for piece, _ in pieces)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        bytes(5 << 20),
        os.urandom((3 << 20) + 17),
        b"the same words again and again, far apart " * 200_000,
        os.urandom(1 << 20) * 3,
    ],
    ids=["nothing", "a byte", "zeros", "noise", "words", "repeated beyond the window"],
)
def test_it_is_read_by_others_and_always_the_same(data: bytes) -> None:
    result = packed(data)
    assert gzip.decompress(result) == data
    assert subprocess.run(["gzip", "-dc"], input=result, capture_output=True, check=True).stdout == data
    assert packed(data) == result


def test_blocks_know_what_comes_before_them() -> None:
    """Compression is hardly worse than that of one piece."""
    data = b"".join(b"%d squared is %d\n" % (number, number * number) for number in range(200_000))
    assert len(packed(data)) < 1.01 * len(gzip.compress(data, 6))
