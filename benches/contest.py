"""What the benches of containers have in common: the place, the image, who takes part, the result's files."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import rivals
import setting
from harness import say
from rivals import Dockerd, Place, Unavailable
from subject import SPAWN, WARM, Subject
from workload import IMAGE, make_image, make_root_file_system

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    import pycontain
    from harness import Report

PROGRAM = f"{os.path.dirname(sys.executable)}/pycontain"
RIVALS = "crun runc bwrap podman dockerd docker"


class Bench:
    """Everybody who takes part, started when they are first needed."""

    def __init__(
        self, place: Place, report: Report, without: Sequence[str], resources: contextlib.ExitStack
    ) -> None:
        self.place = place
        self.report = report
        self._without = without
        self._resources = resources
        self._daemon: Dockerd | None = None
        self._no_daemon: str | None = "left out by --without" if "docker" in without else None
        self.root = f"{place.scratch}/pycontain"
        # as after any installation, Python finds its modules compiled
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self.environment = {**environment, "PYCONTAIN_ROOT": self.root}

    def ours(self, *options: str) -> Subject:
        """A warm Python process that runs containers by us."""
        return self.keep(Subject([*WARM, "pycontain", self.root, *options]))

    def program(self, *command: str) -> Subject:
        """A program, started by a small process."""
        return self.keep(Subject([*SPAWN, *command], self.environment))

    def engine(self) -> pycontain.Engine:
        """One in this process, to be closed."""
        import pycontain

        return pycontain.Engine(self.root)

    def keep(self, subject: Subject) -> Subject:
        """End the subject when the bench ends."""
        self._resources.callback(subject.close)
        return subject

    def lets(self, name: str) -> bool:
        """Whether it may take part; else there is a line in the report."""
        left_out = name.split(maxsplit=1)[0] in self._without
        if left_out:
            self.report.miss(name, "left out by --without")
        return not left_out

    def attempt(self, name: str, start: Callable[[], Subject]) -> Subject | None:
        """The subject, after its first go; or None and a line in the report."""
        if not self.lets(name):
            return None
        try:
            return self.keep(rivals.attempt(start))
        except Unavailable as error:
            self.report.miss(name, str(error))
            return None

    def daemon(self) -> Dockerd:
        """A dockerd of this bench's own.

        Raises:
            Unavailable: there can be none.
        """
        if self._no_daemon is not None:
            raise Unavailable(self._no_daemon)
        if self._daemon is None:
            try:
                self._daemon = Dockerd(self.place)
            except Unavailable as error:
                self._no_daemon = str(error)
                raise
            self._resources.callback(self._daemon.close)
        return self._daemon


@dataclass(frozen=True)
class Rival:
    """How it is started, how often it takes part, and how long it is left to clean up."""

    name: str
    start: Callable[[], Subject]
    every: int = 1
    rest: float = 0.0


def parser(description: str, quick: str) -> argparse.ArgumentParser:
    """Of the arguments that benches of containers take; `quick`: what `--quick` means."""
    made = setting.parser(description, quick)
    made.add_argument(
        "--without", nargs="+", default=[], metavar="NAME", help="leave out docker, podman, ..."
    )
    return made


def held(
    given: argparse.Namespace,
    report: Report,
    measure: Callable[[Bench], None],
    fill: Callable[[str], None] = lambda _: None,
) -> int:
    """Measure in a scratch directory, and write the report: the exit status.

    Args:
        given: the arguments.
        report: what is to be written.
        measure: what is to be done.
        fill: puts more into the root file system that becomes the image.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # cleans up
    try:
        with setting.scratch_directory() as scratch:
            os.chmod(scratch, 0o755)  # the floor's container has to pass through it
            place = Place(scratch, f"{scratch}/root", f"{scratch}/root.tar", setting.BUILD)
            if (reason := make_root_file_system(place.root_file_system)) is not None:
                say(f"cannot measure: {reason}")
                return 1
            fill(place.root_file_system)
            make_image(place.root_file_system, place.archive)
            with contextlib.ExitStack() as resources:
                bench = Bench(place, report, given.without, resources)
                import_image(bench.root, place.archive)
                measure(bench)
    finally:
        rivals.remove_leftovers()
    if os.path.exists(scratch):
        say(f"warning: could not remove all of `{scratch}`")
    for program in RIVALS.split():
        if (found := rivals.version(program)) is not None:
            report.versions[program] = found
    setting.write(report, given)
    return 0


def import_image(root: str, archive: str) -> None:
    import pycontain

    with pycontain.Engine(root) as engine:
        engine.images.import_(archive, IMAGE)
