"""A thousand idle containers on one machine: their starts, their memory, lists of them, and their end.

usage: density.py [--quick] [--count COUNT] [--threads COUNT] [--rounds COUNT] [--results DIRECTORY]
                  [--without NAME ...]

`sleep inf` of busybox without network, all else as it is by default, started by threads of this process. Each
round has a fresh ext4 of its own, as in unpack.py. Rivals have fewer containers, for the memory of a monitor.
As root.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import crowd
import pycontain
import rivals
from contest import PROGRAM, Bench, held, import_image, parser
from harness import Contestant, Report, say
from rivals import Unavailable
from setting import isolate
from subject import Burst
from unpack import FreshFileSystem
from workload import IMAGE, SLEEP

if TYPE_CHECKING:
    from collections.abc import Sequence

HUNDRED = 100
FEW = 50
SIZE = 4 << 30  # of the file system: 5,000 containers have 70,000 files
SETTLE = 2.0  # seconds, until monitors have given back what they needed for the start
KERNEL = {"SUnreclaim": "slab", "KernelStack": "kernel stacks", "PageTables": "page tables"}

NOTES = [
    "pycontain: `Engine.start` of `sleep inf` of busybox by threads of a warm process, no limits, no network,"
    " on a fresh ext4, as the files of those who are gone would slow down the making of others.",
    "floor: benches/floor.c, as many whole lives of `true`, from as many processes; none of them stays.",
    f"docker, podman: {FEW} containers, from as many threads, each by a `run --detach` of its own.",
    "A monitor is pycontain's own process for a container, podman's conmon, or docker's containerd-shim:"
    " its Pss, and what it has alone, of `/proc/PID/smaps_rollup`.",
    "Slab: each memory cgroup has a table of all shrinkers, of the most file systems that were mounted"
    " at once since its last boot.",
    "Programs are timed from their spawn, by a small process that does nothing else, until they are reaped.",
]


class Round:
    """So many containers, from their start to their end."""

    def __init__(self, engine: pycontain.Engine, count: int, threads: int) -> None:
        self._engine = engine
        self._count = count
        self._threads = threads
        self.containers: list[pycontain.Container] = []
        self.began: list[float] = []
        self.ended: list[float] = []

    def start(self) -> None:
        """Start them all."""
        with ThreadPoolExecutor(self._threads) as threads:
            for container, began, ended in threads.map(self._start, range(self._count)):
                self.containers.append(container)
                self.began.append(began)
                self.ended.append(ended)

    def _start(self, _: int) -> tuple[pycontain.Container, float, float]:
        began = time.perf_counter()
        container = self._engine.start(IMAGE, SLEEP, network="none")
        return container, began, time.perf_counter()

    def rate(self, first: int, last: int) -> float:
        """Starts per second of those from `first` to before `last`."""
        return (last - first) / (max(self.ended[first:last]) - self.began[first])

    def times(self, first: int, last: int) -> list[float]:
        """Milliseconds of each start."""
        return [
            (ended - began) * 1e3
            for began, ended in zip(self.began[first:last], self.ended[first:last], strict=True)
        ]

    def end(self) -> float:
        """Stop and remove them all: seconds."""
        began = time.perf_counter()
        with ThreadPoolExecutor(self._threads) as threads:
            list(threads.map(self._end, self._engine.containers.list(all=True)))
        return time.perf_counter() - began

    @staticmethod
    def _end(container: pycontain.Container) -> None:
        container.stop()
        container.remove()


class Found:
    """The samples of all rounds, by their table and row."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._tables: dict[tuple[str, str], dict[str, list[float]]] = {}
        self._load = os.getloadavg()[0]
        self._began = time.monotonic()

    def add(self, title: str, unit: str, row: str, *samples: float) -> None:
        """More samples of a row."""
        self._tables.setdefault((title, unit), {}).setdefault(row, []).extend(samples)

    def add_monitors(self, row: str, pids: Sequence[int]) -> None:
        """The memory of each."""
        shares, alone = crowd.monitor_memory(pids)
        self.add("Memory of a monitor: Pss", "KiB", row, *shares)
        self.add("Memory of a monitor: private", "KiB", row, *alone)

    def write(self) -> None:
        """Give the report its tables."""
        seconds = time.monotonic() - self._began
        for (title, unit), samples in self._tables.items():
            self._report.add(title, samples, unit=unit, load_before=self._load, seconds=seconds)


def main() -> int:
    arguments = parser("Measure many containers at once.", "one round, and no more than 1,000 containers")
    arguments.add_argument("--count", type=int, default=1000, help="containers (1000)")
    arguments.add_argument("--threads", type=int, default=4, help="that start them (4)")
    arguments.add_argument("--rounds", type=int, default=3, help="(3)")
    given = arguments.parse_args()
    if os.geteuid() != 0:
        say("cannot measure: mounting a fresh ext4 needs root")
        return 0
    isolate()
    if given.quick:
        given.rounds, given.count = 1, min(given.count, 1000)
    title = f"{given.count} idle containers"
    name = "density" if given.count == arguments.get_default("count") else f"density-{given.count}"
    return held(
        given,
        Report(name, title, list(NOTES)),
        functools.partial(measure, given.count, given.threads, given.rounds),
    )


def measure(count: int, threads: int, rounds: int, bench: Bench) -> None:
    found, fresh = Found(bench.report), FreshFileSystem(bench.place.scratch, SIZE)
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}: {count} containers")
        with fresh as directory:
            root = f"{directory}/{number}"  # a root that is another's now is not what an engine expects
            import_image(root, bench.place.archive)
            bench.environment["PYCONTAIN_ROOT"] = root
            with pycontain.Engine(root) as engine:
                engine.start(IMAGE, SLEEP, network="none").remove(force=True)
                one = Round(engine, count, threads)
                try:
                    measure_round(bench, one, count, found, last=number == rounds)
                finally:
                    one.end()
        measure_floor(bench, threads, count, found)
    for rival in crowd.contenders(bench):
        try:
            measure_rival(rival, threads, found)
        except Unavailable as error:
            bench.report.miss(rival.name, str(error))
    found.write()


def measure_round(bench: Bench, one: Round, count: int, found: Found, *, last: bool) -> None:
    before = memory()
    one.start()
    time.sleep(SETTLE)
    after = memory()
    size = min(HUNDRED, count)
    for first in range(0, count - size + 1, size):
        found.add("Starts, by the hundred", "starts/s", "pycontain", one.rate(first, first + size))
    found.add("Starts, all", "starts/s", "pycontain", one.rate(0, count))
    found.add("A start", "ms", "pycontain: the first hundred", *one.times(0, size))
    found.add("A start", "ms", "pycontain: the last hundred", *one.times(count - size, count))
    found.add_monitors("pycontain", crowd.parents(one.containers))
    title = "Memory of the machine, for each container"
    for key, name in KERNEL.items():
        found.add(title, "KiB", f"pycontain: {name}", (after[key] - before[key]) / count)
    found.add(
        title,
        "KiB",
        "pycontain: all, as MemAvailable tells it",
        (before["MemAvailable"] - after["MemAvailable"]) / count,
    )
    if last:
        measure_programs(bench, count)
    found.add("Stop and removal of all", "s", "pycontain", one.end())


def measure_floor(bench: Bench, threads: int, count: int, found: Found) -> None:
    """As many starts of the floor's, which also end: none of it stays."""
    if not bench.lets("floor"):
        return
    try:
        burst = Burst([rivals.attempt(lambda: rivals.floor(bench.place)) for _ in range(threads)], count)
    except Unavailable as error:
        bench.report.miss("floor", str(error))
        return
    with contextlib.closing(burst):
        found.add("Starts, all", "starts/s", "floor, whole lives", burst.rate())


def measure_programs(bench: Bench, count: int) -> None:
    """While they all run."""
    commands = {
        "pycontain ps": [PROGRAM, "ps"],
        "pycontain ps -q": [PROGRAM, "ps", "-q"],
        "pycontain stats --no-stream": [PROGRAM, "stats", "--no-stream"],
        "python3 -c pass": [sys.executable, "-c", "pass"],
    }
    contestants = [Contestant(name, bench.program(*words).once) for name, words in commands.items()]
    bench.report.measure(f"Programs, with {count} containers", contestants, rounds=20, warm_up=1)


def measure_rival(rival: crowd.Rival, threads: int, found: Found) -> None:
    say(f"{FEW} containers of {rival.name}")
    try:
        seconds = rival.start(FEW, threads)
        found.add("Starts, all", "starts/s", f"{rival.name}, {FEW}", FEW / seconds)
        time.sleep(SETTLE)
        found.add_monitors(f"{rival.name}: {rival.monitor}", rival.monitors())
    finally:
        seconds = rival.end()
    found.add("Stop and removal of all", "s", f"{rival.name}, {FEW}, forced", seconds)


def memory() -> dict[str, int]:
    """/proc/meminfo, in KiB."""
    with open("/proc/meminfo") as file:
        return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in file)}


if __name__ == "__main__":
    sys.exit(main())
