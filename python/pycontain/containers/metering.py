"""What containers use: read from their control groups, version 1 and 2, or else from their processes."""

from __future__ import annotations

import functools
import os
import re
import time

from pycontain.containers import processes
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pycontain.runtime.kept import Kept

__all__ = ["BlockIO", "NetworkIO", "Stats", "stats"]

_ROOT = "/sys/fs/cgroup"
# docker waits a second; of a thousand containers the readings themselves take as long as this
_INTERVAL = 0.1
_NO_LIMIT = 1 << 60


class BlockIO(Value):
    """Bytes that went from and to block devices."""

    __slots__ = ("read", "written")
    read: int
    written: int

    def __init__(self, read: int = 0, written: int = 0) -> None:
        self._set(read=read, written=written)


class NetworkIO(Value):
    """Bytes that came and went by network devices but `lo`."""

    __slots__ = ("received", "sent")
    received: int
    sent: int

    def __init__(self, received: int = 0, sent: int = 0) -> None:
        self._set(received=received, sent=sent)


class Stats(Value):
    """What a container uses at one moment. Zero, or empty, where the machine does not tell.

    Of one without a control group, as an ordinary user's is on version 1, its processes tell: processor time,
    the memory that is resident, shared parts for each, and how many they are.

    Attributes:
        id: 64 hexadecimal digits.
        name: what it is called.
        cpu: seconds of processor time since its start.
        cpu_share: of one processor, since a moment before: 0.5 is half of one, 2.0 two.
        memory: bytes in use but for the cache that could go at once, as docker counts.
        memory_limit: bytes; the machine's memory where it has no limit.
        pids: processes and threads.
        io: what it read and wrote, and the disk did for it.
        network: what it received and sent.
        throttled: seconds that it had to wait because of its limit of processor time.
        oom_kills: processes that were killed for want of memory.
        pressure: of `cpu`, `memory`, `io`: the share of the last 10 s in which some of it waited for that.
    """

    __slots__ = (  # noqa: RUF023 - the constructor's order
        "id", "name", "cpu", "cpu_share", "memory", "memory_limit", "pids", "io", "network", "throttled",
        "oom_kills", "pressure",
    )  # fmt: skip
    id: str
    name: str
    cpu: float
    cpu_share: float
    memory: int
    memory_limit: int
    pids: int
    io: BlockIO
    network: NetworkIO
    throttled: float
    oom_kills: int
    pressure: Mapping[str, float]

    def __init__(
        self,
        id: str,
        name: str,
        cpu: float = 0.0,
        cpu_share: float = 0.0,
        memory: int = 0,
        memory_limit: int = 0,
        pids: int = 0,
        io: BlockIO | None = None,
        network: NetworkIO | None = None,
        throttled: float = 0.0,
        oom_kills: int = 0,
        pressure: Mapping[str, float] | None = None,
    ) -> None:
        self._set(
            id=id,
            name=name,
            cpu=cpu,
            cpu_share=cpu_share,
            memory=memory,
            memory_limit=memory_limit,
            pids=pids,
            io=io or BlockIO(),
            network=network or NetworkIO(),
            throttled=throttled,
            oom_kills=oom_kills,
            pressure=pressure or {},
        )

    def __hash__(self) -> int:
        return hash((self.id, self.cpu))

    @property
    def memory_share(self) -> float:
        """Of its limit."""
        return self.memory / self.memory_limit if self.memory_limit else 0.0


def stats(containers: Sequence[Kept]) -> tuple[Stats, ...]:
    """Of all of them at about the same moment; zeros for those that do not run."""
    groups = list(_groups(containers))
    began = time.monotonic()
    before = [(0.0, 0.0) if group is None else (group.cpu(), time.monotonic()) for group in groups]
    total = _total_memory()
    read = [
        None if group is None else (group.rest(total), _network(one.state.pid))
        for one, group in zip(containers, groups, strict=True)
    ]
    if any(groups):
        time.sleep(max(0.0, began + _INTERVAL - time.monotonic()))
    return tuple(_stats(*each) for each in zip(containers, groups, before, read, strict=True))


def _groups(containers: Sequence[Kept]) -> Iterator[_Group | _Processes | None]:
    """Of each container: most are beside the one before, which takes a tenth of a look into /proc."""
    by_namespace = functools.cache(processes.by_namespace)
    last = None
    for one in containers:
        name = one.state.cgroup
        if not one.state.is_alive:
            yield None
            continue
        if not name:
            yield _Processes(processes.below(one.state.pid, by_namespace()))
            continue
        group = (last and last.beside(name)) or _Group.of(one.state.pid, name)
        last = group or last
        yield group


def _stats(
    one: Kept,
    group: _Group | _Processes | None,
    before: tuple[float, float],
    read: tuple[dict[str, object], NetworkIO] | None,
) -> Stats:
    if group is None or read is None:
        return Stats(one.id, one.record.name)
    fields, network = read
    cpu, then = before
    now = group.cpu()
    share = max(0.0, now - cpu) / max(time.monotonic() - then, 1e-6)
    return Stats(
        one.id,
        one.record.name,
        cpu=now,
        cpu_share=share,
        network=network,
        **fields,  # type: ignore[arg-type]
    )


class _Group:
    """A container's control group: where each controller's files are."""

    def __init__(self, name: str, directories: Mapping[str, str], *, unified: bool) -> None:
        self._name = name
        self._directories = directories
        self._unified = unified

    def beside(self, name: str) -> _Group | None:
        """The group `name`, if it is where this one is; names begin with a token that nobody else has."""
        length = len(self._name)
        directories = {key: path[:-length] + name for key, path in self._directories.items()}
        if not os.access(next(iter(directories.values()), ""), os.F_OK):
            return None
        return _Group(name, directories, unified=self._unified)

    @staticmethod
    def of(pid: int, name: str) -> _Group | None:
        """None: the process has ended, or has no group of its own, whose path ends with `name`."""
        try:
            with open(f"/proc/{pid}/cgroup") as file:
                lines = [line.rstrip("\n").split(":", 2) for line in file]
        except OSError:
            return None
        paths = {
            controller: path
            for _, controllers, path in lines
            for controller in controllers.split(",")
            if path.endswith(f"/{name}")
        }
        if not paths:
            return None
        if not any(number != "0" for number, *_ in lines):
            return _Group(name, dict.fromkeys(_CONTROLLERS, _ROOT + paths[""]), unified=True)
        directories = {key: f"{_ROOT}/{key}{paths[key]}" for key in _CONTROLLERS_1 if key in paths}
        return _Group(name, directories, unified=False)

    def cpu(self) -> float:
        """Seconds of processor time."""
        if self._unified:
            return _field(self._text("cpu", "cpu.stat"), "usage_usec") / 1e6
        return _number(self._text("cpuacct", "cpuacct.usage")) / 1e9

    def rest(self, total: int) -> dict[str, object]:
        """All other figures, by the names in `Stats`; `total`: the machine's memory."""
        return self._version_2(total) if self._unified else self._version_1(total)

    def _version_1(self, total: int) -> dict[str, object]:
        inactive = _field(self._text("memory", "memory.stat"), "total_inactive_file")
        used = _number(self._text("memory", "memory.usage_in_bytes"))
        limit = _number(self._text("memory", "memory.limit_in_bytes"))
        transfers = self._text("blkio", "blkio.throttle.io_service_bytes_recursive")
        return {
            "memory": max(0, used - inactive),
            "memory_limit": min(limit, total),
            "pids": _number(self._text("pids", "pids.current")),
            "io": BlockIO(_sum(transfers, "Read"), _sum(transfers, "Write")),
            "throttled": _field(self._text("cpu", "cpu.stat"), "throttled_time") / 1e9,
            "oom_kills": _field(self._text("memory", "memory.oom_control"), "oom_kill"),
        }

    def _version_2(self, total: int) -> dict[str, object]:
        inactive = _field(self._text("memory", "memory.stat"), "inactive_file")
        used = _number(self._text("memory", "memory.current"))
        limit = _number(self._text("memory", "memory.max"), _NO_LIMIT)
        transfers = [
            dict(field.split("=") for field in line.split()[1:])
            for line in self._text("io", "io.stat").splitlines()
        ]
        return {
            "memory": max(0, used - inactive),
            "memory_limit": min(limit, total),
            "pids": _number(self._text("pids", "pids.current")),
            "io": BlockIO(
                sum(int(device.get("rbytes", 0)) for device in transfers),
                sum(int(device.get("wbytes", 0)) for device in transfers),
            ),
            "throttled": _field(self._text("cpu", "cpu.stat"), "throttled_usec") / 1e6,
            "oom_kills": _field(self._text("memory", "memory.events"), "oom_kill"),
            "pressure": dict(self._pressure()),
        }

    def _pressure(self) -> Iterator[tuple[str, float]]:
        for name in ("cpu", "memory", "io"):
            for line in self._text(name, f"{name}.pressure").splitlines():
                kind, average, *_ = line.split()
                if kind == "some":
                    yield name, float(average.partition("=")[2]) / 100

    def _text(self, controller: str, file: str) -> str:
        """Empty where there is no such controller or file, or no such container any more."""
        directory = self._directories.get(controller)
        return "" if directory is None else _read(f"{directory}/{file}")


class _Processes:
    """What a container without a control group has."""

    def __init__(self, pids: set[int]) -> None:
        self._pids = pids

    def cpu(self) -> float:
        """Seconds of processor time: of those that have ended, what whoever waited for them was told."""
        own_and_children = slice(11, 15)
        ticks = sum(int(ticks) for fields in self._fields() for ticks in fields[own_and_children])
        return ticks / os.sysconf("SC_CLK_TCK")

    def rest(self, total: int) -> dict[str, object]:
        """All other figures, by the names in `Stats`; `total`: the machine's memory."""
        found = list(self._fields())
        pages = sum(int(fields[21]) for fields in found)
        return {
            "memory": pages * os.sysconf("SC_PAGE_SIZE"),
            "memory_limit": total,
            "pids": sum(int(fields[17]) for fields in found),
        }

    def _fields(self) -> Iterator[list[str]]:
        """Of each process: what proc_pid_stat(5) has after the name."""
        for pid in self._pids:
            fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
            if fields:
                yield fields


_CONTROLLERS = ("cpu", "memory", "io", "pids")
_CONTROLLERS_1 = ("cpu", "cpuacct", "memory", "blkio", "pids")


def _read(path: str) -> str:
    # a third of the time that an open() and its file object take
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 1 << 14).decode()
    except OSError:  # it has just ended
        return ""
    finally:
        os.close(descriptor)


def _number(text: str, otherwise: int = 0) -> int:
    try:
        return int(text)
    except ValueError:  # `max`, or nothing
        return otherwise


def _field(text: str, name: str) -> int:
    """Of the line of this name among such as `nr_throttled 5`; 0 where there is none."""
    found = re.search(rf"^{name} ([0-9]+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _sum(text: str, operation: str) -> int:
    """Of lines such as `254:0 Read 4096`."""
    lines = [line.split() for line in text.splitlines()]
    return sum(int(line[2]) for line in lines if line[1:2] == [operation])


def _network(pid: int) -> NetworkIO:
    """In the process's network namespace."""
    received = sent = 0
    for line in _read(f"/proc/{pid}/net/dev").splitlines()[2:]:
        name, _, figures = line.partition(":")
        if name.strip() != "lo":
            fields = figures.split()
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return NetworkIO(received, sent)


def _total_memory() -> int:
    with open("/proc/meminfo") as file:
        return int(file.readline().split()[1]) * 1024
