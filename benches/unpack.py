"""Extraction of a Debian layer: ours, with digest and diff id, beside tar with gzip or zstd, and umoci.

usage: unpack.py [--quick] [--archives DIRECTORY] [--results DIRECTORY]

Every measurement has a fresh ext4 of its own, on a sparse file: ext4 does not reuse a deleted file's inode
for a minute or more, and searches past all of those, so a second extraction would be many times slower than
the first. It is mounted in a private mount namespace. Needs root.

DIRECTORY has debian.tar, debian.tar.gz and debian.tar.zst; what it lacks is made, the first by mmdebstrap.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import setting
from harness import Contestant, Report, SampleError, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from pycontain._core import Launcher

SIZE = 1 << 30

NOTES = [
    "Each extraction goes to a fresh ext4 on a sparse file; the archive is in the page cache.",
    "pycontain: sha256 of the compressed stream and of the tar, and extraction.",
    "All are followed by a syncfs, in their time; rows that say `unsynced` are without it, as docker is.",
    "tar and zstd check no digest. umoci takes digests, and is given a layer compressed by gzip.",
]


@dataclass(frozen=True)
class Archives:
    """The same layer three times; what is missing is made."""

    directory: str

    @staticmethod
    def add_argument(parser: argparse.ArgumentParser) -> None:
        """`--archives`."""
        where = "where debian.tar, .tar.gz and .tar.zst are or go"
        parser.add_argument("--archives", default=setting.BUILD, help=where)

    @classmethod
    def of(cls, given: argparse.Namespace) -> Archives | None:
        """Those that the arguments name, all of them made; or None, and a line that says why."""
        archives = cls(os.path.abspath(given.archives))
        try:
            archives.make()
        except (OSError, subprocess.CalledProcessError) as error:
            say(f"cannot measure: no archive of Debian: {error}")
            return None
        return archives

    @property
    def tar(self) -> str:
        """As it is."""
        return f"{self.directory}/debian.tar"

    @property
    def gzip(self) -> str:
        """At gzip's usual level, 6."""
        return f"{self.tar}.gz"

    @property
    def zstd(self) -> str:
        """At zstd's usual level, 3."""
        return f"{self.tar}.zst"

    def make(self) -> None:
        """Make what is missing.

        Raises:
            OSError, subprocess.CalledProcessError: a program for it is missing, or fails.
        """
        os.makedirs(self.directory, exist_ok=True)
        self._make(self.tar, ["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", f"{self.tar}.part"])
        self._make(self.gzip, ["sh", "-c", 'gzip -nc "$0" >"$1"', self.tar, f"{self.gzip}.part"])
        self._make(self.zstd, ["zstd", "-q", "-o", f"{self.zstd}.part", self.tar])

    @staticmethod
    def _make(path: str, command: list[str]) -> None:
        if not os.path.exists(path):
            say(f"making {path}")
            # the name tells mmdebstrap the format
            if command[0] == "mmdebstrap":
                command = [*command, "--format=tar"]
            subprocess.run(command, check=True)
            os.rename(f"{path}.part", path)


class FreshFileSystem:
    """An ext4 on a sparse file, new each time that it is entered."""

    def __init__(self, scratch: str, size: int = SIZE) -> None:
        self._size = size
        self._image, self._directory = f"{scratch}/ext4", f"{scratch}/mounted"
        os.mkdir(self._directory)

    def __enter__(self) -> str:
        with open(self._image, "wb") as image:
            image.truncate(self._size)
        # nothing lazy: the kernel would go on initializing while the extraction is timed
        lazy = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
        _quiet(["mkfs.ext4", "-q", "-F", "-E", lazy, self._image])
        _quiet(["mount", "-o", "loop", self._image, self._directory])
        os.sync()  # what was written until now is not to be waited for in the measurement
        directory = f"{self._directory}/layer"
        os.mkdir(directory)
        return directory

    def __exit__(self, *_: object) -> None:
        # what is still being written, also by a process that outlives a pull, is not of the next measurement
        _quiet(["sync", "-f", self._directory])
        for pause in [0.02] * 100:
            if subprocess.run(["umount", self._directory], check=False, capture_output=True).returncode == 0:
                break
            time.sleep(pause)
        else:
            _quiet(["umount", self._directory])
        os.unlink(self._image)


@contextlib.contextmanager
def _directory(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _quiet(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SampleError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()}")


def timed(extract: Callable[[str], None], fresh: FreshFileSystem) -> float:
    """Seconds of one extraction; making the file system is not counted."""
    with fresh as directory:
        began = time.perf_counter()
        extract(directory)
        return time.perf_counter() - began


class Ours:
    """The extractor of the launcher, whose digests must be the same each time."""

    def __init__(self, launcher: Launcher, archive: str) -> None:
        self._launcher = launcher
        self._archive = archive
        self._seen: tuple[str, str] | None = None

    def extract(self, directory: str, *, synced: bool) -> None:
        """Extract, with digests and, as for `load`, a syncfs."""
        from pycontain._core import sync_file_system

        with open(self._archive, "rb") as source, _directory(directory) as target:
            unpacked = self._launcher.unpack(source.fileno(), directory, flush=synced)
            if synced:
                sync_file_system(target)
        digests = (unpacked.digest, unpacked.diff_id)
        assert self._seen in {None, digests}, "the digests of one archive differ"
        self._seen = digests


def shell(script: str, archive: str, directory: str, *, synced: bool) -> None:
    """Run `script`, in which $1 is the archive and $2 the directory."""
    script = f'{script} && sync -f "$2"' if synced else script
    _quiet(["sh", "-c", script, "sh", archive, directory])


class Umoci:
    """`umoci raw unpack` of an OCI layout that has the layer, compressed by gzip."""

    def __init__(self, layout: str, tar: str) -> None:
        self._layout = layout
        _quiet(["umoci", "init", "--layout", layout])
        _quiet(["umoci", "new", "--image", f"{layout}:layer"])
        _quiet(["umoci", "raw", "add-layer", "--image", f"{layout}:layer", tar])

    def extract(self, directory: str) -> None:
        """Extract into a directory below, which umoci wants to make itself."""
        _quiet(["umoci", "raw", "unpack", "--image", f"{self._layout}:layer", f"{directory}/root"])
        _quiet(["sync", "-f", directory])


def measure(report: Report, archives: Archives, launcher: Launcher, scratch: str, *, rounds: int) -> None:
    fresh = FreshFileSystem(scratch)

    def contestant(name: str, extract: Callable[[str], None], every: int = 1) -> Contestant:
        return Contestant(name, functools.partial(timed, extract, fresh), every, rest=0.1)

    def rivals(name: str, script: str, archive: str) -> list[Contestant]:
        def extract(directory: str, *, synced: bool) -> None:
            shell(script, archive, directory, synced=synced)

        return [
            contestant(name, functools.partial(extract, synced=True)),
            contestant(f"{name}, unsynced", functools.partial(extract, synced=False)),
        ]

    formats = [
        ("gzip", archives.gzip, "tar -xzf", 'tar -xzf "$1" -C "$2"'),
        ("zstd", archives.zstd, "zstd -dc | tar -x", 'zstd -dc "$1" | tar -x -C "$2"'),
        ("not compressed", archives.tar, "tar -xf", 'tar -xf "$1" -C "$2"'),
    ]
    for name, archive, rival, script in formats:
        ours = Ours(launcher, archive)
        contestants = [
            contestant("pycontain", functools.partial(ours.extract, synced=True)),
            contestant("pycontain, unsynced", functools.partial(ours.extract, synced=False)),
        ]
        if shutil.which("zstd") is None and name == "zstd":
            report.miss(rival, "`zstd` is not installed")
        else:
            contestants += rivals(rival, script, archive)
        if name == "gzip":
            contestants += umoci(report, archives, f"{scratch}/umoci", contestant)
        megabytes = os.path.getsize(archives.tar) / 1e6
        title = f"Layer of {megabytes:.0f} MB, {name}"
        report.measure(title, contestants, rounds=rounds, warm_up=1, pause=0.1, unit="s")


def umoci(
    report: Report,
    archives: Archives,
    layout: str,
    contestant: Callable[[str, Callable[[str], None]], Contestant],
) -> list[Contestant]:
    """The one contestant, or none and a line in the report."""
    if shutil.which("umoci") is None:
        report.miss("umoci raw unpack", "`umoci` is not installed")
        return []
    try:
        return [contestant("umoci raw unpack", Umoci(layout, archives.tar).extract)]
    except SampleError as error:
        report.miss("umoci raw unpack", str(error))
        return []


def main() -> int:
    parser = setting.parser(
        "Measure the extraction of a layer, ours beside the rivals'.", "few rounds: a minute instead of six"
    )
    Archives.add_argument(parser)
    given = parser.parse_args()
    if os.geteuid() != 0:
        say("cannot measure: mounting a fresh ext4 needs root")
        return 0
    setting.isolate()
    archives = Archives.of(given)
    if archives is None:
        return 0
    from pycontain._core import Launcher

    report = Report("unpack", "Extraction of a Debian layer", list(NOTES))
    with setting.scratch_directory() as scratch:
        run_directory = f"{scratch}/run"
        os.mkdir(run_directory, 0o700)
        with contextlib.closing(Launcher(run_directory)) as launcher:
            measure(report, archives, launcher, scratch, rounds=3 if given.quick else 20)
    setting.write(report, given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
