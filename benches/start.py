"""The life cycle of `true` in a busybox image, without network, from a warm Python process, and the rivals'.

usage: start.py [--quick] [--results DIRECTORY] [--without NAME ...]

Ours has everything on: all namespaces, a user namespace of its own, overlay, seccomp, cgroups with limits of
memory and processes. The rivals' differences are noted with the result. As root, so that all can take part.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys

import rivals
from contest import PROGRAM, Bench, Rival, held, parser
from harness import Contestant, Report
from rivals import Place, Unavailable
from subject import Burst, Subject
from workload import MEMORY, PIDS

TYPE_CHECKING = False

STARTS, THREADS = 64, 8

NOTES = [
    f"Everybody runs `true` of busybox with memory={MEMORY}, pids={PIDS} and no network, and cleans up.",
    "pycontain: `Engine.run` in a warm process: all namespaces, overlay, seccomp, cgroups.",
    "floor: benches/floor.c, what the kernel alone takes; by its own clock, without image or state.",
    "crun, runc: `run` of a bundle, read-only: no overlay, no user namespace, no seccomp profile.",
    "bwrap: `--unshare-all`: no overlay, no cgroup, no seccomp profile.",
    "docker-py: a warm client; dockerd is local, with `--bridge=none`. podman: as root, with crun or runc.",
    "Programs are timed from their spawn, by a small process that does nothing else, until they are reaped.",
    "Back to back: batches of 10 without a pause; one sample is a batch's time for each start.",
]


def contenders(bench: Bench) -> dict[Rival, Subject]:
    """Those who can; the report has the others and their reasons."""
    place = bench.place
    candidates = [
        Rival("floor", lambda: rivals.floor(place)),
        Rival("bwrap", lambda: rivals.bubblewrap(place)),
        Rival("crun run", lambda: rivals.oci_runtime(place, "crun")),
        Rival("runc run", lambda: rivals.oci_runtime(place, "runc"), every=4),
        Rival("podman run, crun", lambda: rivals.podman(place, "crun"), every=20, rest=0.4),
        Rival("podman run, runc", lambda: rivals.podman(place, "runc"), every=20, rest=0.4),
        *docker(bench),
    ]
    found = {}
    for rival in candidates:
        subject = bench.attempt(rival.name, rival.start)
        if subject is not None:
            found[rival] = subject
    return found


def docker(bench: Bench) -> list[Rival]:
    names = ["docker-py", "docker run"]
    try:
        daemon = bench.daemon()
    except Unavailable as error:
        for name in names:
            bench.report.miss(name, str(error))
        return []
    starts = (daemon.python, daemon.client)
    return [Rival(name, start, every=20, rest=0.3) for name, start in zip(names, starts, strict=True)]


def main() -> int:
    given = parser(
        "Measure starts, ours beside the rivals'.", "few rounds: half a minute instead of five"
    ).parse_args()
    report = Report("start", "Life cycle of a container", list(NOTES))
    return held(given, report, lambda bench: measure(bench, quick=given.quick))


def measure(bench: Bench, *, quick: bool) -> None:
    report, place = bench.report, bench.place
    ours, others = bench.ours(), contenders(bench)
    in_turn = [Contestant("pycontain", ours.once)]
    in_batches = [Contestant("pycontain", lambda: ours.back_to_back(10))]
    for rival, subject in others.items():
        in_turn.append(Contestant(rival.name, subject.once, rival.every, rival.rest))
        if rival.every == 1:
            in_batches.append(Contestant(rival.name, functools.partial(subject.back_to_back, 10)))
    report.measure("One start, 10 ms after another", in_turn, rounds=40 if quick else 600)
    report.measure("Back to back", in_batches, rounds=6 if quick else 100)
    measure_burst(bench, report, place, rounds=4 if quick else 20)
    measure_held_memory(bench, report, rounds=40 if quick else 400)
    measure_programs(bench, report, others, rounds=10 if quick else 60)


def measure_burst(bench: Bench, report: Report, place: Place, *, rounds: int) -> None:
    """Many starts at once: ours from threads of one process, the others from as many processes."""
    ours = bench.ours("--starts", str(STARTS), "--threads", str(THREADS))
    contestants = [Contestant("pycontain", lambda: STARTS * 1e3 / ours.once())]
    starters = {"crun run": lambda: rivals.oci_runtime(place, "crun"), "floor": lambda: rivals.floor(place)}
    with contextlib.ExitStack() as bursts:
        for name, start in starters.items():
            try:
                burst = Burst([rivals.attempt(start) for _ in range(THREADS)], STARTS)
            except Unavailable:
                continue  # the report has it already
            bursts.callback(burst.close)
            contestants.append(Contestant(name, burst.rate))
        title = f"{STARTS} starts, {THREADS} at a time"
        report.measure(title, contestants, rounds=rounds, warm_up=1, pause=0.2, unit="starts/s")


def measure_held_memory(bench: Bench, report: Report, *, rounds: int) -> None:
    small, large = bench.ours(), bench.ours("--hold", "500")
    contestants = [
        Contestant("pycontain", small.once),
        Contestant("pycontain, in a process that holds 500 MB", large.once),
    ]
    report.measure(
        "From a large process, one start 50 ms after another", contestants, rounds=rounds, pause=0.05
    )


def measure_programs(bench: Bench, report: Report, others: dict[Rival, Subject], *, rounds: int) -> None:
    """Whole programs, as a shell would start them."""
    if not os.path.exists(PROGRAM):
        report.miss("pycontain run", f"no `{PROGRAM}`")
        return
    ours = bench.program(PROGRAM, *"run --rm --network none host true".split())
    # of the same environment, whose site-packages ours reads as well
    bare = bench.program(sys.executable, "-c", "pass")
    contestants = [
        Contestant("pycontain run --rm --network none host true", ours.once),
        Contestant("python3 -c pass", bare.once),
    ]
    for rival, subject in others.items():
        if rival.name.startswith(("podman", "docker run")):
            contestants.append(Contestant(rival.name, subject.once, every=3, rest=rival.rest))
    report.measure("A whole program", contestants, rounds=rounds)


if __name__ == "__main__":
    sys.exit(main())
