"""Many containers at once: the memory of their monitors, and what rivals do with as many."""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import rivals
from rivals import PODMAN_IMAGE, Unavailable
from workload import IMAGE, SLEEP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pycontain
    from contest import Bench


@dataclass(frozen=True)
class Rival:
    """A program that is called as docker is, and what its monitors are called."""

    name: str
    words: list[str]
    environment: dict[str, str] | None
    image: str
    monitor: str
    scratch: str

    def start(self, count: int, threads: int) -> float:
        """Seconds of all starts."""
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(
                pool.map(
                    lambda _: self._call("run", "--detach", "--network=none", self.image, *SLEEP),
                    range(count),
                )
            )
        return time.perf_counter() - began

    def monitors(self) -> list[int]:
        """Those whose files are in the scratch directory."""
        return [pid for pid in processes() if self._is_monitor(pid)]

    def end(self) -> float:
        """Seconds of the forced removal of all; on a busy machine podman needs two attempts at times."""
        at_once = ["--time", "0"] if self.name == "podman" else []
        began = time.perf_counter()
        for last in (False, True):
            containers = self._call("ps", "--all", "--quiet").split()
            try:
                if containers:
                    self._call("rm", "--force", *at_once, *containers)
                break
            except Unavailable:
                if last:
                    raise
        return time.perf_counter() - began

    def _call(self, *arguments: str) -> str:
        return rivals.run([*self.words, *arguments], env=self.environment)

    def _is_monitor(self, pid: int) -> bool:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            arguments = file.read().decode(errors="replace").split("\0")
            return os.path.basename(arguments[0]) == self.monitor and self.scratch in " ".join(arguments)
        return False


def contenders(bench: Bench) -> Iterator[Rival]:
    """Those who can; the report has the others and their reasons."""
    makers: list[Callable[[Bench], Rival]] = [docker, podman]
    for make in makers:
        if not bench.lets(make.__name__):
            continue
        try:
            yield make(bench)
        except Unavailable as error:
            bench.report.miss(make.__name__, str(error))


def docker(bench: Bench) -> Rival:
    monitor = "containerd-shim-runc-v2"
    return Rival("docker", bench.daemon().command, None, IMAGE, monitor, bench.place.scratch)


def podman(bench: Bench) -> Rival:
    words, environment = rivals.podman_client(bench.place, "crun")
    words = bench.place.view(words)
    return Rival("podman", words, environment, PODMAN_IMAGE, "conmon", bench.place.scratch)


def processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def parents(containers: Sequence[pycontain.Container]) -> list[int]:
    """The monitors: the parents of the first processes."""
    found = []
    for container in containers:
        with open(f"/proc/{container.inspect()['State']['Pid']}/stat") as file:
            found.append(int(file.read().rpartition(")")[2].split()[1]))
    return found


def monitor_memory(pids: Sequence[int]) -> tuple[list[float], list[float]]:
    """KiB of each: its share of all that it has mapped, and what nobody else has."""
    shares, alone = [], []
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            file.readline()
            sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in file)}
        shares.append(float(sizes["Pss"]))
        alone.append(float(sizes["Private_Clean"] + sizes["Private_Dirty"]))
    return shares, alone
