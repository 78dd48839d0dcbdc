"""The processes that the benches talk to: they work once at every line `go`, and answer with milliseconds."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING

from harness import SampleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SPAWN = [sys.executable, __file__.replace("subject.py", "spawn.py")]
WARM = [sys.executable, __file__.replace("subject.py", "warm.py")]


class Subject:
    """One such process: floor, spawn.py or warm.py."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, bufsize=1
        )

    def once(self) -> float:
        """Milliseconds of one, by the process's own clock: our talk with it is not counted."""
        return self.parts()[0]

    def parts(self) -> list[float]:
        """The same, and then of what its subject tells apart."""
        return self._ask(1)[0]

    def back_to_back(self, count: int) -> float:
        """Milliseconds of each of `count`, done without a pause: what the whole took, by our clock."""
        began = time.perf_counter()
        self._ask(count)
        return (time.perf_counter() - began) * 1e3 / count

    def close(self) -> None:
        """End it, by the end of its input; whatever it holds goes with it."""
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()

    @property
    def _input(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _ask(self, count: int) -> list[list[float]]:
        try:
            self._input.write("go\n" * count)
            answers = [[float(word) for word in self._output.readline().split()] for _ in range(count)]
        except (OSError, ValueError):
            answers = [[]]
        if not all(answers):
            raise SampleError(f"`... {' '.join(self._command[-3:])}` gave no answer")
        return answers


class Burst:
    """Several subjects at once, each in its own process, as many starts at a time as there are subjects."""

    def __init__(self, subjects: Sequence[Subject], starts: int) -> None:
        self._subjects = subjects
        self._threads = ThreadPoolExecutor(len(subjects))
        self._share = starts // len(subjects)

    def rate(self) -> float:
        """Starts per second."""
        began = time.perf_counter()
        for done in [self._threads.submit(subject.back_to_back, self._share) for subject in self._subjects]:
            done.result()
        return self._share * len(self._subjects) / (time.perf_counter() - began)

    def close(self) -> None:
        """End them all."""
        self._threads.shutdown()
        for subject in self._subjects:
            subject.close()
