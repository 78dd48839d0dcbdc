"""The processes of a container, as docker's `top` shows them: by the host's ids, and the columns of ps(1)."""

from __future__ import annotations

import contextlib
import os
import time

from pycontain.errors import Conflict, InvalidOption, Unsupported
from pycontain.runtime import kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pycontain.runtime.kept import Kept

__all__ = ["below", "by_namespace", "top"]

_ROOT = "/sys/fs/cgroup"
_TITLES = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
_DAY = 86400
_DOOR = "pycontain-door"  # rust/runtime/src/monitor/exec.rs


def top(container: Kept, options: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The titles, and a row for each process; see `Container.top`."""
    if not container.state.is_alive:
        raise Conflict(f'container "{container.record.name}" is not running', hint="start it first")
    pids = _inside(container)
    if options:
        return _by_ps(pids, options)
    return _TITLES, tuple(row for pid in sorted(pids) if (row := _row(pid)) is not None)


def _inside(container: Kept) -> set[int]:
    """Of its control group; where it has none, of its first process's pid namespace."""
    group = kept.cgroup(container)
    if group is not None:
        for directory in (_ROOT, f"{_ROOT}/freezer", f"{_ROOT}/pids"):
            with contextlib.suppress(OSError), open(f"{directory}{group}/cgroup.procs") as file:
                return {pid for pid in map(int, file) if not _is_door(pid)}
    return below(container.state.pid, by_namespace())


def _is_door(pid: int) -> bool:
    """Whether it is of the engine: it makes the further processes, and is in none of the container's pids."""
    try:
        with open(f"/proc/{pid}/comm") as file:
            name = file.read().rstrip("\n")
    except OSError:
        return False
    return name == _DOOR and _namespace(pid) == _namespace(os.getpid())


def by_namespace() -> dict[str, set[int]]:
    """The processes of each pid namespace, as far as this process may look."""
    found: dict[str, set[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        found.setdefault(_namespace(int(name)), set()).add(int(name))
    found.pop("", None)
    return found


def below(pid: int, namespaces: Mapping[str, set[int]]) -> set[int]:
    """Those of a container: of its first one's pid namespace; where that is this process's, by descent."""
    own = _namespace(pid)
    found = namespaces.get(own, set())
    if own != _namespace(os.getpid()):
        return found
    children: dict[int, list[int]] = {}
    for one in found:
        children.setdefault(_parent(one), []).append(one)
    family, more = set[int](), [pid]
    while more:
        family.add(one := more.pop())
        more += children.get(one, ())
    return found & family


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _namespace(pid: int) -> str:
    """Its pid namespace; empty: it has ended, or is another user's."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _row(pid: int) -> tuple[str, ...] | None:
    """As `ps -ef` has it; None: it has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            before, _, after = file.read().rpartition(")")
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None
    fields = after.split()
    ticks = os.sysconf("SC_CLK_TCK")
    busy, age = (int(fields[11]) + int(fields[12])) / ticks, _uptime() - int(fields[19]) / ticks
    name = before.partition("(")[2]
    return (
        _user(uid),
        str(pid),
        fields[1],
        f"{min(99, int(100 * busy / age)) if age > 0 else 0}",
        _started(time.time() - age, age),
        _terminal(int(fields[4])),
        time.strftime("%H:%M:%S", time.gmtime(busy)),
        words or f"[{name}]",
    )


def _uptime() -> float:
    with open("/proc/uptime") as file:
        return float(file.read().split()[0])


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _started(moment: float, age: float) -> str:
    return time.strftime("%H:%M" if age < _DAY else "%b%d", time.localtime(moment))


def _terminal(device: int) -> str:
    """Of the container's own devpts, or none."""
    return "?" if device == 0 else f"pts/{device & 0xFF | device >> 12 & 0xFFF00}"


def _by_ps(pids: set[int], options: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    import subprocess

    these = ["-q", ",".join(map(str, sorted(pids)))]
    try:
        done = subprocess.run(["ps", *options, *these], capture_output=True, text=True, check=False)
        if done.returncode != 0:  # some options exclude that one
            done = subprocess.run(["ps", *options], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unsupported("`ps` is not installed", hint="without options it is not needed") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or "nothing").splitlines()[0]
        raise InvalidOption(f"ps does not take `{' '.join(options)}`: {said}")
    head, *lines = done.stdout.splitlines() or [""]
    titles = tuple(head.split())
    if "PID" not in titles:
        raise InvalidOption(f"ps shows no column PID with `{' '.join(options)}`")
    column = titles.index("PID")
    return titles, tuple(_of_these(lines, pids, column, len(titles)))


def _of_these(lines: Sequence[str], pids: set[int], column: int, count: int) -> Iterator[tuple[str, ...]]:
    for line in lines:
        cells = line.split(None, count - 1)
        if len(cells) > column and cells[column].isdigit() and int(cells[column]) in pids:
            yield tuple(cells)
