"""A container in the background: exec into it, its start, stop and removal, and its log; ours beside rivals'.

usage: lifecycle.py [--quick] [--results DIRECTORY] [--without NAME ...]

As start.py, which has what is to be known of who takes part. Needs some 4 GB of disk for logs. As root.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from typing import TYPE_CHECKING

import logs
import running
from contest import PROGRAM, Bench, Rival, held, import_image, parser
from harness import Contestant, Report, say
from setting import isolate
from subject import WARM, Subject
from unpack import FreshFileSystem
from workload import IMAGE, MEMORY, PIDS, SLEEP

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pycontain

NOTES = [
    f"Containers run `sleep inf` of busybox in the background; memory={MEMORY}, pids={PIDS}, no network.",
    "exec: `true` in a container that runs. pycontain: `Container.exec` in a warm process, waited for, and"
    " `Container.run`, which has both streams too; docker-py: `exec_run` in a warm client.",
    "nsenter: `nsenter --all` into pycontain's container: namespaces only.",
    "crun, runc: no user namespace, no seccomp profile. podman: as root. dockerd: local, `--bridge=none`.",
    "`sleep` is process 1 and handles no signal: docker and podman wait for 10 s before they kill it.",
    "Fresh ext4: of its own, to which nobody else writes, as a container's end syncs its file system. All"
    " others are in the scratch directory.",
    "Programs are timed from their spawn, by a small process that does nothing else, until they are reaped.",
    *logs.NOTES,
]


def main() -> int:
    given = parser(
        "Measure exec, stops and logs, ours beside the rivals'.", "few rounds: two minutes instead of ten"
    ).parse_args()
    if os.geteuid() != 0:
        say("cannot measure: mounting a fresh ext4 needs root")
        return 0
    isolate()
    report = Report("lifecycle", "A container in the background", list(NOTES))
    return held(given, report, lambda bench: measure(bench, quick=given.quick), logs.make_lines)


def measure(bench: Bench, *, quick: bool) -> None:
    measure_exec(bench, rounds=40 if quick else 400)
    with FreshFileSystem(bench.place.scratch) as directory:
        import_image(directory, bench.place.archive)
        measure_life(bench, directory, quick=quick)
    logs.measure(bench, quick=quick)


def measure_exec(bench: Bench, *, rounds: int) -> None:
    place = bench.place
    with bench.engine() as engine:
        container = engine.start(IMAGE, SLEEP, network="none", memory=MEMORY, pids_limit=PIDS)
        try:
            others = contenders(
                bench,
                Rival("nsenter", lambda: running.namespaces(pid_of(container))),
                Rival("crun exec", lambda: running.oci_exec(place, "crun")),
                Rival("runc exec", lambda: running.oci_exec(place, "runc")),
                Rival("podman exec", lambda: running.podman_exec(place, "crun"), every=10),
                Rival("docker-py", lambda: bench.daemon().python("exec"), every=4),
                Rival("docker exec", lambda: running.docker_exec(bench.daemon()), every=4),
            )
            inside, with_streams = bench.ours("--act", "exec"), bench.ours("--act", "exec-run")
            ours = [
                Contestant("pycontain, Container.exec", inside.once),
                Contestant("pycontain, Container.run", with_streams.once),
            ]
            bench.report.measure("exec, 10 ms after another", [*ours, *others], rounds=rounds)
            in_batches = [
                Contestant("pycontain, Container.exec", lambda: inside.back_to_back(10)),
                Contestant("pycontain, Container.run", lambda: with_streams.back_to_back(10)),
            ]
            bench.report.measure("exec, back to back", in_batches, rounds=rounds // 8)
            program = bench.program(PROGRAM, "exec", container.name, "true")
            bare = bench.program(sys.executable, "-c", "pass")
            programs = [
                Contestant("pycontain exec", program.once),
                Contestant("python3 -c pass", bare.once),
                *(other for other in others if other.name.startswith(("podman", "docker exec"))),
            ]
            bench.report.measure("exec, a whole program", programs, rounds=rounds // 4)
        finally:
            container.remove(force=True)


def measure_life(bench: Bench, fresh: str, *, quick: bool) -> None:
    place, rounds = bench.place, 20 if quick else 100
    rarely = rounds // 2
    slow = [
        Rival("podman", lambda: running.podman_life(place, "crun", kill=False), every=rounds),
        Rival("docker-py", lambda: bench.daemon().python("life"), every=rounds),
    ]
    measure_parts(
        bench,
        "Start, stop and removal of what handles no signal",
        "life",
        fresh,
        ("start", "stop", "removal"),
        *([] if quick else slow),
        rounds=rounds,
    )
    measure_parts(
        bench,
        "Start and forced removal",
        "kill",
        fresh,
        ("start", "removal"),
        Rival("crun", lambda: running.oci_life(place, "crun")),
        Rival("podman", lambda: running.podman_life(place, "crun", kill=True), every=rarely),
        Rival("docker-py", lambda: bench.daemon().python("kill"), every=rarely),
        Rival("docker", lambda: running.docker_life(bench.daemon(), kill=True), every=rarely),
        rounds=rounds,
    )


def measure_parts(
    bench: Bench, title: str, act: str, fresh: str, parts: tuple[str, ...], *rivals: Rival, rounds: int
) -> None:
    with contextlib.closing(Subject([*WARM, "pycontain", fresh, "--act", act])) as on_fresh:
        ours = parted("pycontain", bench.ours("--act", act), parts)
        apart = parted("pycontain, fresh ext4", on_fresh, parts)
        bench.report.measure(title, [*ours, *apart, *contenders(bench, *rivals)], rounds=rounds)


def parted(name: str, subject: Subject, parts: tuple[str, ...]) -> Iterator[Contestant]:
    """A contestant, and one for each of its parts, which tells what that took of the same sample."""
    last = [0.0]

    def whole() -> float:
        last[:] = subject.parts()
        return last[0]

    def part(number: int) -> float:
        return last[number]

    yield Contestant(name, whole)
    for number, of_that in enumerate(parts, 1):
        yield Contestant(f"{name}: {of_that}", functools.partial(part, number))


def contenders(bench: Bench, *rivals: Rival) -> list[Contestant]:
    """Those who can; the report has the others and their reasons."""
    found = []
    for rival in rivals:
        subject = bench.attempt(rival.name, rival.start)
        if subject is not None:
            found.append(Contestant(rival.name, subject.once, rival.every))
    return found


def pid_of(container: pycontain.Container) -> int:
    return int(container.inspect()["State"]["Pid"])


if __name__ == "__main__":
    sys.exit(main())
