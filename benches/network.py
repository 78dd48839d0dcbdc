"""Containers on the default bridge: their starts, what passes to them, and a thousand of them at once.

usage: network.py [--quick] [--count COUNT] [--results DIRECTORY] [--without NAME ...]

All is in a network namespace of the bench's own; this machine's network stays as it is. As start.py, which
has what is to be known of who takes part. As root.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pycontain
import rivals
from contest import Bench, Rival, held, import_image, parser
from harness import Contestant, Report, SampleError, say
from rivals import Dockerd, Unavailable
from setting import isolate
from unpack import FreshFileSystem
from workload import IMAGE, MEMORY, PIDS, SLEEP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from subject import Subject

STARTS, THREADS = 64, 8
TENTH, FEW = 10, 20
SIZE = 4 << 30  # of the file system
CONNECTS = 500  # for one sample
SECONDS = 2  # of one transfer
PORT, BULK_PORT = 9000, 5201
SERVER = f"""
import socket
listening = socket.create_server(("", {PORT}), backlog=1024)
while True:
    listening.accept()[0].close()
"""
SERVE = ["sh", "-c", f"iperf3 --server --port {BULK_PORT} >/dev/null & exec python3 -c '{SERVER}'"]

NOTES = [
    f"A start is the life cycle of `true` of busybox with memory={MEMORY}, pids={PIDS}; on the bridge, with"
    " port 80 published on a free port of all addresses.",
    "docker-py: a warm client; dockerd is local, with its default bridge. podman: as root, with netavark.",
    "By hand: a veth into a network namespace, on a bridge, made with ip(8); no rule of any firewall.",
    f"Connections: {CONNECTS} one after the other, to a server that closes each at once, from the host.",
    "Throughput: iperf3 from the host, one stream.",
    "Many: `Engine.start` of `sleep inf`, one after the other, on a fresh ext4; each answers a ping then.",
]


def main() -> int:
    arguments = parser("Measure containers on a bridge.", "few rounds, and no more than 200 containers")
    arguments.add_argument("--count", type=int, default=1000, help="containers at once (1000)")
    given = arguments.parse_args()
    if os.geteuid() != 0:
        say("cannot measure: bridges need root")
        return 0
    isolate(network=True)
    if given.quick:
        given.count = min(given.count, 200)
    report = Report("network", "Containers on the default bridge", list(NOTES))
    measured = functools.partial(measure, quick=given.quick, count=given.count)
    return held(given, report, measured)


def measure(bench: Bench, *, quick: bool, count: int) -> None:
    # where addresses are taken: this machine's own containers have other bridges
    os.makedirs("/run/pycontain", exist_ok=True)
    rivals.run(["mount", "-t", "tmpfs", "-o", "mode=700", "own", "/run/pycontain"])
    measure_starts(bench, rounds=40 if quick else 300)
    measure_burst(bench, rounds=4 if quick else 20)
    measure_traffic(bench, rounds=3 if quick else 15)
    measure_many(bench, count)


def measure_starts(bench: Bench, *, rounds: int) -> None:
    place = bench.place
    ours = [
        Contestant("pycontain, bridge", bench.ours("--bridge").once),
        Contestant("pycontain, none", bench.ours().once),
    ]
    others: list[Contestant] = []
    with contextlib.ExitStack() as resources:
        podman = functools.partial(rivals.podman, place, "crun", bridge=True)
        bridged = [
            Rival("podman run, bridge", podman, every=20, rest=0.4),
            Rival("docker-py, bridge", lambda: bridged_docker(bench, resources), every=20, rest=0.3),
        ]
        others += [
            Contestant(rival.name, subject.once, rival.every, rival.rest)
            for rival in bridged
            if (subject := bench.attempt(rival.name, rival.start)) is not None
        ]
        bench.report.measure("One start, 10 ms after another", [*ours, *others], rounds=rounds)


def bridged_docker(bench: Bench, resources: contextlib.ExitStack) -> Subject:
    """A warm docker-py, whose dockerd has its default bridge."""
    daemon = Dockerd(bench.place, bridge=True)
    resources.callback(daemon.close)
    return daemon.python("run", "--bridge")


def measure_burst(bench: Bench, *, rounds: int) -> None:
    burst = ["--starts", str(STARTS), "--threads", str(THREADS)]
    bridged, alone = bench.ours("--bridge", *burst), bench.ours(*burst)
    contestants = [
        Contestant("pycontain, bridge", lambda: STARTS * 1e3 / bridged.once()),
        Contestant("pycontain, none", lambda: STARTS * 1e3 / alone.once()),
    ]
    title = f"{STARTS} starts, {THREADS} at a time"
    bench.report.measure(title, contestants, rounds=rounds, warm_up=1, pause=0.2, unit="starts/s")


def measure_traffic(bench: Bench, *, rounds: int) -> None:
    """From the host to a container, and to a namespace that was made by hand."""
    try:
        for program in ("iperf3", "ip"):
            rivals.need(program)
    except Unavailable as error:
        bench.report.miss("throughput", str(error))
        return
    with bench.engine() as engine, by_hand() as hand:
        container = engine.start("host", SERVE, network="bridge", ports={PORT: 0})
        try:
            ours = address_of(container)
            for address in (ours, hand):
                wait_for(address, PORT)
                wait_for(address, BULK_PORT)
            contestants = [
                Contestant("pycontain, bridge", lambda: connects(ours)),
                Contestant("by hand", lambda: connects(hand)),
            ]
            bench.report.measure("Connections", contestants, rounds=rounds * 4, unit="connections/s")
            contestants = [
                Contestant("pycontain, bridge", lambda: throughput(ours)),
                Contestant("by hand", lambda: throughput(hand)),
            ]
            bench.report.measure("Throughput", contestants, rounds=rounds, warm_up=1, unit="Gbit/s")
        finally:
            container.remove(force=True)


@contextlib.contextmanager
def by_hand() -> Iterator[str]:
    """A namespace on a bridge with the same servers: its address."""
    words = ["unshare", "--net", "--kill-child", "--fork", "--pid", *SERVE]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as server:
        try:
            time.sleep(0.5)
            inside = ["nsenter", "--net", "--target", str(server.pid)]
            for command in (
                "ip link add hand0 type bridge",
                "ip addr add 10.213.99.1/24 dev hand0",
                "ip link set hand0 up",
                f"ip link add hand1 type veth peer name eth0 netns {server.pid}",
                "ip link set hand1 master hand0 up",
            ):
                rivals.run(command.split())
            for command in (
                "ip link set lo up",
                "ip addr add 10.213.99.2/24 dev eth0",
                "ip link set eth0 up",
            ):
                rivals.run([*inside, *command.split()])
            yield "10.213.99.2"
        finally:
            server.kill()
            subprocess.run(["ip", "link", "del", "hand0"], check=False)


def wait_for(address: str, port: int) -> None:
    """Until it listens there."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            socket.create_connection((address, port), timeout=1).close()
            return
        time.sleep(0.1)
    raise SampleError(f"nobody listens at {address}:{port}")


def connects(address: str) -> float:
    """A second."""
    began = time.perf_counter()
    for _ in range(CONNECTS):
        with socket.create_connection((address, PORT)) as connection:
            connection.recv(1)
    return CONNECTS / (time.perf_counter() - began)


def throughput(address: str) -> float:
    """Gbit/s."""
    client = ["iperf3", "--client", address, "--port", str(BULK_PORT), "--time", str(SECONDS), "--json"]
    said = json.loads(subprocess.run(client, check=True, stdout=subprocess.PIPE).stdout)
    return float(said["end"]["sum_received"]["bits_per_second"]) / 1e9


def measure_many(bench: Bench, count: int) -> None:
    """So many on one bridge."""
    load, began = os.getloadavg()[0], time.monotonic()
    with FreshFileSystem(bench.place.scratch, SIZE) as directory:
        import_image(directory, bench.place.archive)
        with pycontain.Engine(directory) as engine:
            containers: list[pycontain.Container] = []
            times = []
            try:
                say(f"{count} containers, one after the other")
                for _ in range(count):
                    at = time.perf_counter()
                    containers.append(engine.start(IMAGE, SLEEP, network="bridge"))
                    times.append((time.perf_counter() - at) * 1e3)
                with ThreadPoolExecutor(THREADS) as threads:
                    answered = sum(threads.map(answers, map(address_of, containers)))
            finally:
                with ThreadPoolExecutor(THREADS) as threads:
                    list(threads.map(lambda one: one.remove(force=True), containers))
    if answered != count:
        raise SampleError(f"{answered} of {count} answer a ping")
    bench.report.notes.append(f"{answered} of {count} containers answered.")
    samples = {
        f"pycontain: container {TENTH} and the {FEW - 1} after it": times[TENTH - 1 :][:FEW],
        f"pycontain: the {FEW} up to container {count}": times[-FEW:],
    }
    bench.report.add(
        f"A start, with up to {count} others",
        samples,
        unit="ms",
        load_before=load,
        seconds=time.monotonic() - began,
    )
    say(f"median of all: {statistics.median(times):.2f} ms")


def address_of(container: pycontain.Container) -> str:
    return str(container.inspect()["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])


def answers(address: str) -> bool:
    words = ["busybox", "ping", "-c", "1", "-W", "3", address]
    return subprocess.run(words, check=False, stdout=subprocess.DEVNULL).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
