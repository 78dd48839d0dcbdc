"""The Rust core, as Python sees it: bytes and borrowed fds go in, frozen values and owners of fds come out.

Every call releases the interpreter lock while it works, and notices Ctrl-C while it waits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import final

__all__ = ["Exit", "Launcher", "Packed", "Process", "Unpacked", "sync_file_system"]

@final
class Unpacked:
    """An archive that has been unpacked: digests are `sha256:<hex>`, sizes are bytes."""

    @property
    def digest(self) -> str: ...  # of the stream as given (compressed)
    @property
    def diff_id(self) -> str: ...  # of the tar
    @property
    def compression(self) -> str: ...  # `none`, `gzip` or `zstd`
    @property
    def compressed_size(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def entries(self) -> int: ...

@final
class Packed:
    """Files that have been packed: digests are `sha256:<hex>`, sizes are bytes."""

    @property
    def digest(self) -> str: ...  # of the stream as written (compressed)
    @property
    def diff_id(self) -> str: ...  # of the tar
    @property
    def compressed_size(self) -> int: ...
    @property
    def size(self) -> int: ...  # of the tar
    @property
    def entries(self) -> int: ...

@final
class Exit:
    """How a container ended, and what it used (read from its cgroup before that goes)."""

    @property
    def returncode(self) -> int: ...  # 128 + n after signal n
    @property
    def oom_killed(self) -> bool: ...
    @property
    def cpu_nanoseconds(self) -> int | None: ...
    @property
    def memory_peak(self) -> int | None: ...  # bytes
    @property
    def left(self) -> list[str]: ...  # what could not be cleaned up, in words

@final
class Process:
    """A container's first process. Closing it, or losing it, kills everything inside."""

    @property
    def pid(self) -> int: ...  # in the host's pid namespace
    @property
    def notes(self) -> list[str]: ...  # what could not be done as asked by default, in words
    def fileno(self) -> int: ...  # readable when there is news, at the latest when the container has ended
    def terminal(self) -> int: ...  # a new fd of the pty's master
    def kill(self, signal: int) -> None: ...
    def wait(self, timeout: float | None = None) -> Exit | None: ...  # None: still running after `timeout` s
    def relay(self, passages: list[tuple[int, int]]) -> Exit: ...  # (from, to); takes over fds above 2
    def relay_terminal(self, input: int | None, output: int) -> Exit: ...  # raw mode, window size
    def close(self) -> None: ...

@final
class Launcher:
    """The launcher process of this process. Closing it kills all containers that it started."""

    # spares: each start is followed by a spare for the next
    def __new__(cls, run_directory: str, *, spares: bool = True) -> Launcher: ...
    def prepare(self, config: bytes) -> None: ...  # a container of its shape is to be started soon
    def start(
        self,
        config: bytes,
        streams: tuple[int, int, int],
        *,
        ephemeral: str | None = None,
        lock: int | None = None,
    ) -> Process: ...
    # Exit is None after a timeout: everything inside was killed
    def run(
        self,
        config: bytes,
        *,
        input: bytes | None = None,
        timeout: float | None = None,
        ephemeral: str | None = None,
        lock: int | None = None,
    ) -> tuple[Exit | None, bytes, bytes, list[str]]: ...
    # `copy`: an fd of a file on the directory's file system, gets the bytes of `source` as they come
    # `lock`: held open until nothing is written any more, even if this process is killed
    def unpack(
        self,
        source: int,
        directory: str,
        *,
        whiteouts: bool = True,
        copy: int | None = None,
        lock: int | None = None,
    ) -> Unpacked: ...
    # `skip`: paths in the container that were made for it, not by it; `latest`: SOURCE_DATE_EPOCH
    def pack_layer(
        self,
        config: bytes,
        target: int,
        *,
        skip: Sequence[str],
        compression: str = "gzip",
        latest: int | None = None,
    ) -> Packed: ...
    def export(self, config: bytes, target: int, *, latest: int | None = None) -> Packed: ...
    def changes(self, config: bytes, *, skip: Sequence[str]) -> list[tuple[str, Path]]: ...  # `C`, `A` or `D`
    def freeze(self, group: str, frozen: bool) -> None: ...  # the cgroup's path, as in /proc/PID/cgroup
    def remove_tree(self, directory: str) -> None: ...
    @property
    def alive(self) -> bool: ...
    def facts(self) -> str: ...  # the probed facts of the host, JSON
    def explain(self, config: bytes) -> str: ...
    def close(self) -> None: ...

def sync_file_system(fd: int) -> None: ...  # syncfs(2)
