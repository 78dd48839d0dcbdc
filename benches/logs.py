"""The log of a container in the background: how fast it takes lines, whether all are there, and its reading.

The image has a file of numbered lines, which the container writes to its standard output again and again.
pycontain, docker and podman are all called by their programs, which have the same words.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import rivals
from contest import PROGRAM, Bench
from harness import Contestant, SampleError
from rivals import PODMAN_IMAGE, Unavailable
from workload import IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE, LINES = 100, 335_544
BYTES = LINE * LINES  # 32 MiB
MANY, FEW = 32, 2  # so often ours, and all others, write it
SPACE = 4 << 30
LIMITS = ["--log-opt", "max-size=256m", "--log-opt", "max-file=16"]
MEGA = 1e6

NOTES = [
    f"Log: lines of {LINE} bytes from `cat` in the container, {MANY * BYTES >> 20} MiB to pycontain and"
    f" {FEW * BYTES >> 20} MiB to the others, by the time between start and end that `inspect` tells.",
    "After each run all of the log was compared with what had been written. Files were not synced.",
    f"pycontain's and docker's are json-file, {LIMITS[1]}, {LIMITS[3]}; podman's k8s-file, without limits.",
    "cat: `cat` of the same file, through a pipe, by another `cat` into a file: no container, no records.",
]


@dataclass(frozen=True)
class Client:
    """A program that is called as docker is."""

    name: str
    words: list[str]
    environment: dict[str, str] | None
    image: str
    log_options: list[str]

    def call(self, *arguments: str) -> str:
        """What it says; raises SampleError when it fails."""
        try:
            return rivals.run([*self.words, *arguments], env=self.environment)
        except Unavailable as error:
            raise SampleError(str(error)) from error

    def run(self, copies: int) -> str:
        """The id of a container that has written so many copies, and ended."""
        script = f"for n in $(seq {copies}); do cat /lines; done"
        options = ["--detach", "--network", "none", *self.log_options]
        container = self.call("run", *options, self.image, "sh", "-c", script).splitlines()[-1]
        self.call("wait", container)
        return container

    def rate(self, copies: int, lines: str) -> float:
        """Megabytes per second."""
        container = self.run(copies)
        try:
            found = json.loads(self.call("inspect", container))[0]
            self.check(container, found.get("LogPath", ""), copies, lines)
        finally:
            self.call("rm", container)
        started, finished = (moment(found["State"][key]) for key in ("StartedAt", "FinishedAt"))
        return copies * BYTES / MEGA / (finished - started)

    def check(self, container: str, path: str, copies: int, lines: str) -> None:
        """Raises SampleError unless all was kept, in order."""
        if self.name == "podman":
            command = shlex.join([*self.words, "logs", container])
        else:
            number, files = 1, [path]
            while os.path.exists(f"{path}.{number}"):
                files.insert(0, f"{path}.{number}")
                number += 1
            # from `{"log":"` to `\n"`: no byte of a line is escaped
            command = f"cat {shlex.join(files)} | LC_ALL=C cut -b 9-{LINE + 7}"
        expected = f"for n in $(seq {copies}); do cat {shlex.quote(lines)}; done"
        script = f"cmp <({command}) <({expected})"
        done = subprocess.run(
            ["bash", "-c", script], check=False, env=self.environment, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise SampleError(f"the log is not what was written: {done.stdout}{done.stderr.strip()}")

    def read(self, container: str, *options: str) -> float:
        """Milliseconds."""
        command = [*self.words, "logs", *options, container]
        began = time.perf_counter()
        done = subprocess.run(command, check=False, env=self.environment, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - began
        if done.returncode != 0:
            raise SampleError(f"`{self.name} logs` failed")
        return took * 1e3


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def make_lines(root_file_system: str) -> None:
    """The file of lines, in the image to be."""
    filling = "x" * (LINE - 10) + "\n"
    with open(f"{root_file_system}/lines", "w") as file:
        file.writelines(f"{number:09}{filling}" for number in range(LINES))


def clients(bench: Bench) -> Iterator[Client]:
    """Those who can; the report has the others and their reasons."""
    yield Client("pycontain", [PROGRAM], bench.environment, IMAGE, LIMITS)
    makers: list[Callable[[Bench], Client]] = [docker, podman]
    for make in makers:
        if not bench.lets(f"{make.__name__} logs"):
            continue
        try:
            yield make(bench)
        except Unavailable as error:
            bench.report.miss(f"{make.__name__} logs", str(error))


def docker(bench: Bench) -> Client:
    return Client("docker", bench.daemon().command, None, IMAGE, ["--log-driver", "json-file", *LIMITS])


def podman(bench: Bench) -> Client:
    words, environment = rivals.podman_client(bench.place, "crun")
    return Client("podman", bench.place.view(words), environment, PODMAN_IMAGE, ["--log-driver", "k8s-file"])


def measure(bench: Bench, *, quick: bool) -> None:
    scratch, lines = bench.place.scratch, f"{bench.place.root_file_system}/lines"
    free = shutil.disk_usage(scratch).free
    if free < SPACE:
        bench.report.miss("logs", f"only {free >> 20} MiB of disk are free")
        return
    found = list(clients(bench))
    ours, others = found[0], found[1:]
    writers = [
        Contestant("pycontain", lambda: ours.rate(MANY, lines)),
        Contestant("cat", lambda: piped(f"{scratch}/piped", lines)),
        *(Contestant(client.name, functools.partial(client.rate, FEW, lines)) for client in others),
    ]
    report, rounds = bench.report, 2 if quick else 7
    report.measure("Lines to the log", writers, rounds=rounds, warm_up=0, pause=0.5, unit="MB/s")

    wholes, tails = [], []
    with contextlib.ExitStack() as resources:
        for client in found:
            try:
                container = client.run(FEW)
            except SampleError as error:
                report.miss(f"{client.name} logs", str(error))
                continue
            resources.callback(client.call, "rm", container)
            wholes.append(Contestant(f"{client.name} logs", functools.partial(read_rate, client, container)))
            last = functools.partial(client.read, container, "--tail", "10")
            tails.append(Contestant(f"{client.name} logs --tail 10", last))
        title = f"A log of {FEW * LINES} lines read"
        report.measure(f"{title}: all", wholes, rounds=rounds, warm_up=1, unit="MB/s")
        report.measure(f"{title}: the last ten", tails, rounds=rounds * 5)


def read_rate(client: Client, container: str) -> float:
    return FEW * BYTES / MEGA / client.read(container) * 1e3


def piped(target: str, lines: str) -> float:
    """What the kernel alone takes to copy lines through a pipe into a file."""
    script = f"for n in $(seq {FEW}); do cat {shlex.quote(lines)}; done | cat > {shlex.quote(target)}"
    began = time.perf_counter()
    subprocess.run(["sh", "-c", script], check=True)
    took = time.perf_counter() - began
    os.unlink(target)
    return FEW * BYTES / MEGA / took
