"""A warm Python process that runs `true` in a container at every line `go`, and answers the milliseconds.

usage: warm.py pycontain ROOT [--hold MEGABYTES] [--starts COUNT --threads COUNT]
       warm.py docker SOCKET

`pycontain` calls `Engine.run`, `docker` calls docker-py's `containers.run(remove=True)`, limits alike.
With `--hold`, so much memory is allocated and touched first. With `--starts`, every `go` runs so many
containers, from so many threads at once, and the answer is the time of them all.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from workload import COMMAND, IMAGE, MEMORY, PIDS

if TYPE_CHECKING:
    from collections.abc import Callable


def pycontain_start(root: str) -> Callable[[], object]:
    import pycontain

    engine = pycontain.Engine(root)
    return lambda: engine.run(IMAGE, COMMAND, network="none", memory=MEMORY, pids_limit=PIDS)


def docker_start(socket: str) -> Callable[[], object]:
    client = importlib.import_module("docker").DockerClient(base_url=f"unix://{socket}")
    return lambda: client.containers.run(
        IMAGE, COMMAND, remove=True, network_mode="none", mem_limit=MEMORY, pids_limit=PIDS
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=["pycontain", "docker"])
    parser.add_argument("place")
    parser.add_argument("--hold", type=int, default=0)
    parser.add_argument("--starts", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()

    held = bytearray(given.hold << 20)
    held[::4096] = b"\1" * len(held[::4096])
    start = (pycontain_start if given.engine == "pycontain" else docker_start)(given.place)
    with ThreadPoolExecutor(given.threads) as threads:
        for _ in sys.stdin:
            began = time.perf_counter()
            if given.starts == 1:
                start()
            else:
                for started in [threads.submit(start) for _ in range(given.starts)]:
                    started.result()
            print(f"{(time.perf_counter() - began) * 1e3:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
