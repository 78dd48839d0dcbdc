"""Runs containers for tests: by the installed command line, and by both it and Python, which must agree."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pycontain import Engine
    from pycontain.options import ContainerOptions

SLOWNESS = float(os.environ.get("PYCONTAIN_TEST_SLOWNESS", "1"))
OWN_IDS = range(524288, 1879048192)  # the ids that containers' user namespaces are cut from
DEFAULT_CAPABILITIES = 0x00000000A80425FB  # docker's fourteen
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


def seconds(count: float) -> float:
    """A time to wait at most, on a machine of this speed."""
    return count * SLOWNESS


def moments(seed: object, work: Callable[[], object]) -> Callable[[], None]:
    """Do this work once; return what sleeps until some moment of doing it again, mostly before its end."""
    chance = random.Random(str(seed))
    begun = time.monotonic()
    work()
    whole = time.monotonic() - begun
    return lambda: time.sleep(chance.uniform(0.1, 1.1) * whole)


@dataclass(frozen=True)
class Cli:
    """The installed program, with an engine's root."""

    program: Path
    root: str

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"PYCONTAIN_ROOT": self.root}

    def __call__(
        self, *words: str | os.PathLike[str], input: bytes = b"", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self.program, *words],
            input=input,
            capture_output=True,
            env=self.environment | dict(env or {}),
            check=False,
            timeout=seconds(60),
        )

    def run(self, *words: str | os.PathLike[str], input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """`run --rm`."""
        return self("run", "--rm", *words, input=input)

    def start(self, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """`run --rm`, and go on while it runs."""
        return subprocess.Popen(
            [self.program, "run", "--rm", *words],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )


def installed() -> Path:
    """The command line program of the interpreter that runs the tests."""
    return Path(sys.executable).parent / "pycontain"


@dataclass(frozen=True)
class BothWays:
    """One container, asked for in flags and in keywords."""

    engine: Engine
    cli: Cli
    image: str

    def __call__(
        self,
        flags: str | Sequence[str],
        command: str,
        *,
        status: int | None = 0,
        image: str | None = None,
        **options: Unpack[ContainerOptions],
    ) -> str:
        """What a shell's command writes, which is the same both ways."""
        image = image or self.image
        words = flags.split() if isinstance(flags, str) else list(flags)
        by_cli = self.cli.run(*words, image, "sh", "-c", command)
        by_python = self.engine.run(image, ["sh", "-c", command], check=False, **options)
        assert by_cli.returncode == by_python.returncode, (by_cli, by_python)
        assert status in {None, by_python.returncode}, (by_cli, by_python)
        assert by_cli.stdout == by_python.stdout, (by_cli, by_python)
        return by_python.stdout.decode()


def fields(status: str) -> dict[str, str]:
    """The lines of /proc/PID/status, or of anything else of `name: value`."""
    pairs = (line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}


def mounts(mountinfo: str) -> dict[str, MountLine]:
    """A mountinfo, by mount point; of several on one, the last."""
    return {line.target: line for line in map(MountLine.parse, mountinfo.splitlines())}


@dataclass(frozen=True)
class MountLine:
    """One line of /proc/PID/mountinfo."""

    root: str
    target: str
    options: frozenset[str]
    propagation: tuple[str, ...]
    type: str
    source: str
    super_options: str

    @staticmethod
    def parse(line: str) -> MountLine:
        before, after = line.split(" - ", 1)
        _, _, _, root, target, options, *propagation = before.split()
        type_, source, super_options = after.split(maxsplit=2)
        return MountLine(
            root, target, frozenset(options.split(",")), tuple(propagation), type_, source, super_options
        )
