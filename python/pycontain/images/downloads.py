"""A layer on its way here: read as a stream that survives broken connections, by one process at a time.

<root>/downloads/<diff id>      flock(2) of who downloads that layer; the others wait, and then have it
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from pycontain.errors import BadDigest
from pycontain.registry.retries import Passing, Stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from pycontain.registry.repository import Repository

__all__ = ["Download", "alone", "sweep"]

_POLL_SECONDS = 0.05
_REPORT_EVERY = 512 << 10
_WORTH_NEW_TRIES = 1 << 20


class Download:
    """The bytes of a blob, from the beginning to the end.

    A connection that breaks is taken up again where it broke. What comes is as long as was promised, or there
    is an exception; the digest is for the reader to check.

    Args:
        repository: where it is.
        digest, size: as the manifest promises.
        report: is told of a phase, and of how many bytes are there.
        stop: set when nobody wants it any more.
    """

    def __init__(
        self,
        repository: Repository,
        digest: str,
        size: int,
        report: Callable[[str, int], None],
        stop: threading.Event,
    ) -> None:
        self._repository = repository
        self._digest = digest
        self._size = size
        self._report = report
        self._stop = stop

    def pour(self, pipe: int) -> None:
        """Write all of it into a pipe, once."""
        retries = self._repository.transport.retries()
        done = reported = broken_at = 0
        while done < self._size:
            try:
                for count in self._from(done, pipe):
                    if self._stop.is_set():
                        raise Stopped
                    done += count
                    if done - reported >= _REPORT_EVERY:
                        reported = done
                        self._report("Downloading", done)
            except Passing as passing:
                if done - broken_at >= _WORTH_NEW_TRIES:
                    retries.start_over()
                broken_at = done
                self._report("Retrying", done)
                retries.wait(passing)
        self._report("Download complete", done)

    def _from(self, offset: int, pipe: int) -> Iterator[int]:
        """As much as one connection gives; how many bytes each time."""
        with self._repository.download(self._digest, offset) as (begin, length, exchange):
            if length is not None and begin + length != self._size:
                raise BadDigest(
                    f"layer {self._digest} has {begin + length} bytes, its manifest promises {self._size}"
                )
            came = offset
            for count in exchange.pour(pipe, skip=offset - begin):
                came += count
                if came > self._size:
                    raise BadDigest(f"layer {self._digest} has more than the {self._size} bytes promised")
                yield count
            if came < self._size:
                raise BadDigest(f"layer {self._digest} has {came} bytes, its manifest promises {self._size}")


@contextlib.contextmanager
def alone(
    directory: str, diff_id: str, *, waiting: Callable[[], None], stop: threading.Event
) -> Iterator[None]:
    """Nobody else downloads this layer meanwhile; calls `waiting` when somebody does already.

    Raises:
        Stopped: `stop` was set while it waited.
    """
    path = f"{directory}/{diff_id.removeprefix('sha256:')}"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    told = False
    while (descriptor := _locked(path)) is None:
        if not told:
            told = True
            waiting()
        # not a lock that blocks: Ctrl-C has to end this thread too
        if stop.wait(_POLL_SECONDS):
            raise Stopped
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(descriptor)


def sweep(directory: str) -> None:
    """Remove the files of downloads that were killed."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            descriptor = _locked(f"{directory}/{name}", create=False)
            if descriptor is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{directory}/{name}")
                os.close(descriptor)


def _locked(path: str, *, create: bool = True) -> int | None:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileNotFoundError:
        return None
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # removed by another, between open and flock: the lock is on something without a name
        if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            return descriptor
    os.close(descriptor)
    return None
