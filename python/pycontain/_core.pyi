"""The Rust core, as Python sees it: bytes and borrowed fds go in, frozen values and owners of fds come out.

Every call releases the interpreter lock while it works, and notices Ctrl-C while it waits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import final

__all__ = [
    "Exit",
    "Launcher",
    "Monitor",
    "Packed",
    "Process",
    "Unpacked",
    "Waiting",
    "exchange",
    "free_subnet",
    "overlapping_route",
    "remove_bridge",
    "sync_file_system",
]

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
    """A container's first process, or one that was started in it. Closing it, or losing it, kills it.

    With the first process all others in the container are killed.
    """

    @property
    def pid(self) -> int: ...  # in the host's pid namespace
    @property
    def notes(self) -> list[str]: ...  # what could not be done as asked by default, in words
    def fileno(self) -> int: ...  # readable when there is news, at the latest when the container has ended
    def terminal(self) -> int: ...  # a new fd of the pty's master
    def kill(self, signal: int) -> None: ...
    # SIGKILL, also for all that it started, even if that has outlived it
    def end(self) -> None: ...
    def wait(self, timeout: float | None = None) -> Exit | None: ...  # None: still running after `timeout` s
    # (from, to); takes over fds above 2. None, here and below: it was left
    def relay(self, passages: list[tuple[int, int]]) -> Exit | None: ...
    # raw mode, window size; left when `keys` are typed
    def relay_terminal(self, input: int | None, output: int, keys: bytes | None = None) -> Exit | None: ...
    def leave(self) -> None: ...  # of one in a container with a monitor: closed, it goes on
    def close(self) -> None: ...

@final
class Waiting:
    """The answer of a monitor that will come."""

    def fileno(self) -> int: ...  # readable when it is there
    # None: not after `timeout` s. ConnectionError: the monitor was killed, or ended just before it was asked
    def wait(self, timeout: float | None = None) -> Exit | None: ...
    def leave(
        self,
    ) -> None: ...  # of what is `tied` to this: it goes on when this is lost; of a hold: its end

@final
class Monitor:
    """The monitor of a detached container that runs, or waits to be started again.

    Everything raises ConnectionError when there is none, or none any more: then `state.json` says how the
    container ended.
    """

    def __new__(cls, directory: str) -> Monitor: ...  # the container's
    def signal(self, signal: int) -> None: ...
    # `timeout` in seconds before all is killed; None: as the container was started with; `math.inf`: never.
    # The Exit comes when all of the container is gone and its directory is unlocked.
    def stop(self, signal: int | None = None, timeout: float | None = None) -> Waiting: ...
    def pause(self) -> None: ...
    def unpause(self) -> None: ...
    # nothing runs from its answer on, until it is lost or left; who wants something run meanwhile waits
    def hold(self) -> Waiting: ...
    def resize(self, rows: int, columns: int) -> None: ...
    # stdin, stdout, stderr: each a pipe or socket, or None; they become non-blocking, and close with the run
    def attach(self, streams: tuple[int | None, int | None, int | None]) -> None: ...
    # `config`: the container's with another `process`; that gets the streams themselves. When the Process is
    # closed or lost before its end, it is killed with all that it started, unless `detached`. No usage
    def exec(self, config: bytes, streams: tuple[int, int, int], *, detached: bool = False) -> Process: ...
    def update(self, resources: bytes) -> None: ...  # JSON, as `linux.resources`; for later runs, too
    def set_restart(self, policy: bytes) -> None: ...  # JSON, as `restart` in `Launcher.start_detached`
    # JSON: see `NetworkChange` in rust/plan/src/step.rs; for later runs, too. It has copies of `held` then
    def change_networks(self, change: bytes, held: list[int]) -> None: ...
    def end(self) -> Waiting: ...  # of the present run, even if there is another after it

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
        held: list[int] = ...,
    ) -> Process: ...
    # Returns pid and notes when the command has been executed. `directory`: the container's, an fd with the
    # lock on it; the caller closes theirs. `streams`: attached from the beginning, as by `Monitor.attach`.
    # `detached`: JSON, each key optional,
    #   stdin: bool, stdin_once: bool     stdin is a pipe; closed when the first who is attached closes theirs
    #   log: {"max_size": bytes | null, "max_files": int}   docker's json-file; absent: no log
    #   health: {"args": [str], "interval": ms, "timeout": ms, "start_period": ms, "start_interval": ms,
    #            "retries": int}
    #   restart: "no" | "always" | "unless-stopped" | {"on-failure": {"most": int}}   0: as often as it fails
    #   stop_signal: int (15), stop_timeout: seconds (10) | null: as long as it takes
    #   awaited: bool                            the Waiting gets the end; else it raises ConnectionError
    #   tied: bool                               it is killed when that Waiting is lost
    #   networks: JSON, goes into the state
    #   remove: {"directory": path, "name": path | null}    what goes in the end: directory, link
    # and `state.json` in the directory follows: status, pid, started, finished, exit_code, oom_killed, error,
    # restart_count, stopped_by_user, cgroup, cpu_nanoseconds, memory_peak, and health: status (`starting`,
    # `healthy`, `unhealthy`), failing_streak, log of the last 5 (start, end, exit_code, output)
    def start_detached(
        self,
        config: bytes,
        detached: bytes,
        directory: int,
        *,
        streams: tuple[int | None, int | None, int | None] | None = None,
        held: list[int] = ...,
    ) -> tuple[int, list[str], Waiting]: ...
    # Exit is None after a timeout: everything inside was killed
    def run(
        self,
        config: bytes,
        *,
        input: bytes | None = None,
        timeout: float | None = None,
        ephemeral: str | None = None,
        held: list[int] = ...,
    ) -> tuple[Exit | None, bytes, bytes, list[str]]: ...
    # `copy`: an fd of a file on the directory's file system, gets the bytes of `source` as they come
    # `flush`: the disk begins to write meanwhile; `owners`: files belong to whom the archive says
    # `lock`: held open until nothing is written any more, even if this process is killed
    def unpack(
        self,
        source: int,
        directory: str,
        *,
        whiteouts: bool = True,
        flush: bool = False,
        owners: bool = True,
        own: bool = False,
        copy: int | None = None,
        lock: int | None = None,
    ) -> Unpacked: ...
    # returns at once; `directory` gets an empty file `name` when the file system that the fd is on has been
    # written to disk, even if this process and the launcher have ended by then
    def sync(self, file_system: int, directory: str, name: str) -> None: ...
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
    def duplicate(self, source: str, target: str) -> None: ...
    def remove_tree(self, directory: str) -> None: ...
    @property
    def alive(self) -> bool: ...
    def facts(self) -> str: ...  # the probed facts of the host, JSON
    def explain(self, config: bytes) -> str: ...
    def close(self) -> None: ...

def exchange(first: str, second: str) -> None: ...  # renameat2(2)
def sync_file_system(fd: int) -> None: ...  # syncfs(2)

# a subnet that is free on this host and not among `taken`; with `seed`, 5 bytes, one of IPv6
def free_subnet(taken: list[str], seed: list[int] | None = None) -> str: ...

# the route of the host that has an address in common with the subnet, but for that of its own bridge
def overlapping_route(subnet: str, bridge: str) -> str | None: ...

# with the elements of our sets of rules that are of its network
def remove_bridge(bridge: str) -> None: ...
