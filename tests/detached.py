"""Detached containers for tests of the core: started without what a command or an engine adds."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import leftovers
from containers import seconds
from pycontain._core import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain import Container, ContainerOptions, Engine

LOG = {"max_size": None, "max_files": 1}


@dataclass(frozen=True)
class Detached:
    """One that was started, reached as any process reaches it: by its directory."""

    path: Path
    pid: int

    @property
    def monitor(self) -> Monitor:
        return Monitor(str(self.path))

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.path / "state.json").read_text())
        return state

    def wait(self) -> int:
        """Until the end: the exit code, which the monitor told or wrote down."""
        try:
            ended = self.monitor.end().wait(seconds(30))
        except ConnectionError:
            code: int = self.state["exit_code"]
            return code
        assert ended is not None
        return ended.returncode

    def records(self) -> list[dict[str, str]]:
        """Of all files of the log, the oldest first; the first line makes it."""
        files = sorted((self.path / "log").glob("*"), key=lambda file: -int(f"0{file.suffix.lstrip('.log')}"))
        return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]

    def log(self, stream: str = "stdout") -> bytes:
        pieces = [record["log"] for record in self.records() if record["stream"] == stream]
        return b"".join(piece.encode("utf-8", "surrogateescape") for piece in pieces)

    def is_locked(self) -> bool:
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(directory)
        return False


def start(
    engine: Engine,
    image: str,
    args: list[str],
    detached: dict[str, Any] | None = None,
    *,
    prepare: Callable[[Path], None] = lambda _: None,
    streams: tuple[int | None, int | None, int | None] = (None, None, None),
    **options: Unpack[ContainerOptions],
) -> Detached:
    """Start a container with a log; `prepare` may do something to its directory before."""
    with engine._prepare(image, args, options) as container:
        assert container.path is not None
        assert container.lock is not None
        path = Path(container.path)
        prepare(path)
        document = json.dumps({"log": LOG} | (detached or {})).encode()
        launcher = engine._get_launcher()
        pid, _, _ = launcher.start_detached(
            container.prepared.config, document, container.lock, streams=streams
        )
    return Detached(path, pid)


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + seconds(20)
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def monitor_of(container: Container) -> int:
    """The pid of its monitor, which is the parent of its first process."""
    pid: int = container.inspect()["State"]["Pid"]
    return leftovers.processes()[pid].parent
