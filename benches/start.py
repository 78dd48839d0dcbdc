"""The life cycle of `true` in a busybox image, without network, from a warm Python process, and the rivals'.

usage: start.py [--quick] [--results DIRECTORY] [--without NAME ...]

Ours has everything on: all namespaces, a user namespace of its own, overlay, seccomp, cgroups with limits of
memory and processes. The rivals' differences are noted with the result. As root, so that all can take part.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass

import rivals
from harness import Contestant, Report, say
from rivals import Place, Unavailable
from subject import SPAWN, WARM, Burst, Subject
from workload import IMAGE, MEMORY, PIDS, make_image, make_root_file_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = f"{os.path.dirname(HERE)}/.build/benches"
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


@dataclass(frozen=True)
class Rival:
    """How it is started, how often it takes part, and how long it is left to clean up."""

    name: str
    start: Callable[[], Subject]
    every: int = 1
    rest: float = 0.0


class Bench:
    """Everybody who takes part, started when they are first needed."""

    def __init__(
        self, place: Place, report: Report, without: list[str], resources: contextlib.ExitStack
    ) -> None:
        self._place = place
        self._report = report
        self._without = without
        self._resources = resources
        self.root = f"{place.scratch}/pycontain"
        # as after any installation, Python finds its modules compiled
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self.environment = {**environment, "PYCONTAIN_ROOT": self.root}

    def ours(self, *options: str) -> Subject:
        """A warm Python process that runs containers by us."""
        return self.keep(Subject([*WARM, "pycontain", self.root, *options]))

    def keep(self, subject: Subject) -> Subject:
        """End the subject when the bench ends."""
        self._resources.callback(subject.close)
        return subject

    def rivals(self) -> dict[Rival, Subject]:
        """Those who can; the report has the others and their reasons."""
        place = self._place
        candidates = [
            Rival("floor", lambda: rivals.floor(place)),
            Rival("bwrap", lambda: rivals.bubblewrap(place)),
            Rival("crun run", lambda: rivals.oci_runtime(place, "crun")),
            Rival("runc run", lambda: rivals.oci_runtime(place, "runc"), every=4),
            Rival("podman run, crun", lambda: rivals.podman(place, "crun"), every=20, rest=0.4),
            Rival("podman run, runc", lambda: rivals.podman(place, "runc"), every=20, rest=0.4),
            *self._docker(),
        ]
        found = {}
        for rival in candidates:
            subject = self.attempt(rival.name, rival.start)
            if subject is not None:
                found[rival] = subject
        return found

    def attempt(self, name: str, start: Callable[[], Subject]) -> Subject | None:
        """The subject, or None and a line in the report."""
        if name.split(maxsplit=1)[0] in self._without:
            self._report.miss(name, "left out by --without")
            return None
        try:
            return self.keep(rivals.attempt(start))
        except Unavailable as error:
            self._report.miss(name, str(error))
            return None

    def _docker(self) -> list[Rival]:
        names = ["docker-py", "docker run"]
        if "docker" in self._without:
            for name in names:
                self._report.miss(name, "left out by --without")
            return []
        try:
            daemon = rivals.Dockerd(self._place)
        except Unavailable as error:
            for name in names:
                self._report.miss(name, str(error))
            return []
        self._resources.callback(daemon.close)
        starts = (daemon.python, daemon.client)
        return [Rival(name, start, every=20, rest=0.3) for name, start in zip(names, starts, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure starts, ours beside the rivals'.")
    parser.add_argument("--quick", action="store_true", help="few rounds: half a minute instead of five")
    parser.add_argument("--results", help="where the files go; of --quick, .build/benches/results")
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="NAME", help="leave out docker, podman, ..."
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # cleans up

    report = Report("start", "Life cycle of a container", list(NOTES))
    scratch = tempfile.mkdtemp(prefix="pycontain-bench-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    os.chmod(scratch, 0o755)  # the floor's container has to pass through it
    try:
        with contextlib.ExitStack() as resources:
            place = Place(scratch, f"{scratch}/root", f"{scratch}/root.tar", BUILD)
            if (reason := make_root_file_system(place.root_file_system)) is not None:
                say(f"cannot measure: {reason}")
                return 1
            make_image(place.root_file_system, place.archive)
            bench = Bench(place, report, given.without, resources)
            import_image(bench.root, place.archive)
            measure(bench, report, place, quick=given.quick)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        rivals.remove_leftovers()
    if os.path.exists(scratch):
        say(f"warning: could not remove all of `{scratch}`")
    for program in "crun runc bwrap podman dockerd docker".split():
        if (found := rivals.version(program)) is not None:
            report.versions[program] = found
    report.write(given.results or (f"{BUILD}/results" if given.quick else f"{HERE}/results"))
    return 0


def import_image(root: str, archive: str) -> None:
    import pycontain

    with pycontain.Engine(root) as engine:
        engine.images.import_(archive, IMAGE)


def measure(bench: Bench, report: Report, place: Place, *, quick: bool) -> None:
    ours, others = bench.ours(), bench.rivals()
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
    program = f"{os.path.dirname(sys.executable)}/pycontain"
    if not os.path.exists(program):
        report.miss("pycontain run", f"no `{program}`")
        return
    ours = bench.attempt("pycontain run", lambda: _program(bench, [program, *"run --rm host true".split()]))
    # of the same environment, whose site-packages ours reads as well
    bare = bench.attempt("python3 -c pass", lambda: _program(bench, [sys.executable, "-c", "pass"]))
    if ours is None or bare is None:
        return
    contestants = [
        Contestant("pycontain run --rm host true", ours.once),
        Contestant("python3 -c pass", bare.once),
    ]
    for rival, subject in others.items():
        if rival.name.startswith(("podman", "docker run")):
            contestants.append(Contestant(rival.name, subject.once, every=3, rest=rival.rest))
    report.measure("A whole program", contestants, rounds=rounds)


def _program(bench: Bench, command: list[str]) -> Subject:
    return Subject([*SPAWN, *command], bench.environment)


if __name__ == "__main__":
    sys.exit(main())
