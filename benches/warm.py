"""A warm Python process that does one act with a container at every line `go`, and answers the milliseconds.

usage: warm.py pycontain|docker PLACE [--act ACT] [--bridge] [--hold MEGABYTES]
               [--starts COUNT --threads COUNT]

PLACE is the root of pycontain's engine, or the socket of docker's. The acts:

    run       `true` in a new container: `Engine.run`, docker-py's `containers.run(remove=True)`
    exec      `true` in one that runs, waited for: `Container.exec`, `exec_run`
    exec-run  the same by `Container.run`, with both streams read to their ends; of pycontain only
    life      start, stop and removal of one in the background, which handles no signal
    kill      start and forced removal of one

Of the last two the answer has the parts as well. With `--bridge`, containers are on the default bridge and
have port 80 published on a free port; else they have no network. With `--hold`, so much memory is
allocated and touched first. With `--starts`, every `go` does so many acts, from so many threads at once,
and the answer is the time of them all.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import itertools
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from workload import COMMAND, IMAGE, MEMORY, PIDS, SLEEP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Act = Callable[[], object]


@contextlib.contextmanager
def pycontain_act(root: str, act: str, *, bridge: bool) -> Iterator[Act]:
    import pycontain

    options: dict[str, Any] = {"network": "none", "memory": MEMORY, "pids_limit": PIDS}
    if bridge:
        options |= {"network": "bridge", "ports": {80: 0}}

    def start() -> pycontain.Container:
        return engine.start(IMAGE, SLEEP, **options)

    def execute() -> None:
        with container.exec(COMMAND) as process:
            process.wait()

    with pycontain.Engine(root) as engine:
        if act == "run":
            yield lambda: engine.run(IMAGE, COMMAND, **options)
        elif act.startswith("exec"):
            container = start()
            try:
                yield execute if act == "exec" else lambda: container.run(COMMAND)
            finally:
                container.remove(force=True)
        else:
            yield lambda: in_parts(start, kill=act == "kill")


@contextlib.contextmanager
def docker_act(socket: str, act: str, *, bridge: bool) -> Iterator[Act]:
    client = importlib.import_module("docker").DockerClient(base_url=f"unix://{socket}")
    options: dict[str, Any] = {"network_mode": "none", "mem_limit": MEMORY, "pids_limit": PIDS}
    if bridge:
        options |= {"network_mode": "bridge", "ports": {"80/tcp": None}}

    def start() -> Any:
        return client.containers.run(IMAGE, SLEEP, detach=True, **options)

    if act == "run":
        yield lambda: client.containers.run(IMAGE, COMMAND, remove=True, **options)
    elif act == "exec":
        container = start()
        try:
            yield lambda: container.exec_run(COMMAND)
        finally:
            container.remove(force=True)
    else:
        yield lambda: in_parts(start, kill=act == "kill")


def in_parts(start: Callable[[], Any], *, kill: bool) -> list[float]:
    """Seconds of a life, and of its parts: start, stop and removal."""
    moments = [time.perf_counter()]
    container = start()
    moments.append(time.perf_counter())
    if not kill:
        container.stop()
        moments.append(time.perf_counter())
    container.remove(force=kill)
    moments.append(time.perf_counter())
    return [moments[-1] - moments[0], *(after - before for before, after in itertools.pairwise(moments))]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=["pycontain", "docker"])
    parser.add_argument("place")
    parser.add_argument("--act", choices=["run", "exec", "exec-run", "life", "kill"], default="run")
    parser.add_argument("--bridge", action="store_true")
    parser.add_argument("--hold", type=int, default=0)
    parser.add_argument("--starts", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()

    held = bytearray(given.hold << 20)
    held[::4096] = b"\1" * len(held[::4096])
    acts = pycontain_act if given.engine == "pycontain" else docker_act
    with (
        acts(given.place, given.act, bridge=given.bridge) as act,
        ThreadPoolExecutor(given.threads) as threads,
    ):
        for _ in sys.stdin:
            began, parts = time.perf_counter(), None
            if given.starts == 1:
                parts = act()
            else:
                for started in [threads.submit(act) for _ in range(given.starts)]:
                    started.result()
            took = [time.perf_counter() - began]
            seconds = parts if isinstance(parts, list) else took
            print(*(f"{each * 1e3:.3f}" for each in seconds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
