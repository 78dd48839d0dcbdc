"""What is written down of a container that stays, in its directory.

    container.json   what it is: written once it is made, and again when it is renamed
    state.json       what it does: written by whoever holds the lock on the directory; not there before that

Each appears by a rename: whoever reads one finds the whole of it, or what was there before. Nothing is
synced: that is not worth 10 ms of every start.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import Any, TypeVar

import msgspec

from pycontain.errors import StoreError
from pycontain.runtime.document import not_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ALIVE",
    "Health",
    "HealthResult",
    "MountRecord",
    "Record",
    "State",
    "changed",
    "moment",
    "now",
    "read_record",
    "read_state",
    "replace_file",
    "write_file",
    "write_record",
    "write_state",
]

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

# what `status` can be: created running paused restarting exited dead
ALIVE = frozenset({"running", "paused", "restarting"})


class MountRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something of the host, a volume or an image that is mounted in a container.

    `name` is that of a volume, which goes with the container if it is `anonymous`.
    """

    type: str
    source: str
    target: str
    options: tuple[str, ...] = ()
    name: str = ""
    anonymous: bool = False


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a container is.

    `image` is as it was given, `image_id` empty without one; `entrypoint` and `command` make the command
    together; `exposed` are ports that serve: `80/tcp`; `stop_timeout` is None where a stop waits for ever;
    with `stdin_once` its standard input ends with that of the first who is attached; `health` is as in
    `lifecycle.health`, and `shell` runs it; `options` are those that were given; `connected` are its
    networks, if they have changed since.
    """

    id: str
    name: str
    created: float
    image: str = ""
    image_id: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    hostname: str = ""
    labels: dict[str, str] = {}
    mounts: tuple[MountRecord, ...] = ()
    exposed: tuple[str, ...] = ()
    stop_signal: int = 15
    stop_timeout: float | None = 10.0
    stdin_once: bool = False
    health: dict[str, Any] | None = None
    shell: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    connected: tuple[str, ...] | None = None

    @property
    def args(self) -> tuple[str, ...]:
        """The command as it runs."""
        return self.entrypoint + self.command

    @property
    def network(self) -> str:
        """As it was made with: `none`, `host`, `container:ID`, or the name of a network."""
        return str(self.options.get("network") or "none")

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of those that it is in, or comes into by its next start."""
        if self.connected is not None:
            return self.connected
        return () if self.network.startswith("container:") else (self.network,)


class HealthResult(msgspec.Struct, frozen=True):
    """One look at a container's health."""

    start: str
    end: str
    exit_code: int
    output: str = ""


class Health(msgspec.Struct, frozen=True):
    """How it was at the last looks: `starting`, `healthy` or `unhealthy`."""

    status: str
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


class Published(msgspec.Struct, frozen=True):
    """A port of the host, at an address, that leads to one of the container's: an address and a port."""

    at: str
    port: int
    protocol: str
    to: str


class Joined(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a container got of a network: addresses with the lengths of their prefixes.

    `port` is its port of the bridge, `interface` what leads there inside.
    """

    network: str
    network_id: str
    mac: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...] = ()
    port: str = ""
    interface: str = ""
    names: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a container does, or how it ended.

    Moments are RFC 3339 in UTC; `pid` is 0 when nothing runs; `cgroup` is below the hierarchies' directories.
    """

    status: str = "created"
    pid: int = 0
    started: str | None = None
    finished: str | None = None
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    restart_count: int = 0
    stopped_by_user: bool = False
    cgroup: str | None = None
    cpu_nanoseconds: int | None = None
    memory_peak: int | None = None
    health: Health | None = None
    networks: tuple[Joined, ...] | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it runs, as far as this says: whoever wrote it may have been killed since."""
        return self.status in ALIVE


def changed(struct: S, **news: Any) -> S:
    """The same with some members changed."""
    found: S = msgspec.structs.replace(struct, **news)
    return found


def now() -> str:
    """The present moment: `2026-01-31T12:00:00.123456789Z`."""
    return moment(time.time_ns())


def moment(nanoseconds: int) -> str:
    """The moment so long after 1970, as it is written down."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09}Z"


_records = msgspec.json.Decoder(Record)
_states = msgspec.json.Decoder(State)
_encode = msgspec.json.Encoder().encode


def read_record(directory: str) -> Record:
    """What the container of this directory is.

    Raises:
        FileNotFoundError: it is gone, or not yet made.
        StoreError: the file is damaged.
    """
    path = f"{directory}/container.json"
    return _decoded(_records, _content(path), path)


def read_state(directory: str) -> State:
    """What it does: nothing, until somebody has written that down.

    Raises:
        FileNotFoundError: it is gone, or not yet made.
        StoreError: the file is damaged.
    """
    path = f"{directory}/state.json"
    try:
        content = _content(path)
    except FileNotFoundError:
        if not os.path.exists(f"{directory}/container.json"):
            raise
        return State()
    # after a loss of power a file may have its name and not its content
    return _decoded(_states, content, path) if content else State()


def write_record(directory: str, record: Record) -> Record:
    """Only by its maker, and by who holds the lock on the names.

    Returns:
        What `read_record` gives from then on.

    Raises:
        InvalidOption: an option is no text.
    """
    try:
        content = _encode(record)
    except UnicodeEncodeError as error:
        raise not_text(error.object) from None
    replace_file(f"{directory}/container.json", content)
    return _records.decode(content)


def write_state(directory: str, state: State) -> None:
    """Only by who holds the lock on the directory."""
    replace_file(f"{directory}/state.json", _encode(state))


def replace_file(path: str, content: bytes) -> None:
    """Write a file that appears as a whole.

    Raises:
        StoreError: it cannot be written, as on a full disk.
    """
    with _told(path):
        _write(f"{path}.new", content)
        os.rename(f"{path}.new", path)


def write_file(path: str, content: bytes) -> None:
    """Write a file that nobody looks for yet.

    Raises:
        StoreError: it cannot be written, as on a full disk.
    """
    with _told(path):
        _write(path, content)


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise  # the directory is gone
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StoreError(f"cannot write `{path}`: {reason}", errno=error.errno, filename=path) from error


def _content(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(descriptor, 1 << 16)
        if len(content) == 1 << 16:  # longer than nearly all
            with open(descriptor, "rb", closefd=False) as rest:
                content += rest.read()
        return content
    finally:
        os.close(descriptor)


def _decoded(decoder: msgspec.json.Decoder[T], content: bytes, path: str) -> T:
    try:
        return decoder.decode(content)
    except msgspec.DecodeError as error:
        raise StoreError(f"`{path}` is damaged: {str(error).lower()}", filename=path) from error
