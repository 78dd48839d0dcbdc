"""Where a bench runs, and where its results go: the arguments, namespaces and directories of all of them."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Report

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = f"{os.path.dirname(HERE)}/.build/benches"
_INSIDE = "PYCONTAIN_BENCH_INSIDE"  # set in the private namespaces


def parser(description: str, quick: str) -> argparse.ArgumentParser:
    """Of the arguments that all of them take; `quick`: what `--quick` means."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--results", help="where the files go; of --quick, .build/benches/results")
    return made


def isolate(*, network: bool = False) -> None:
    """Go on in a private mount namespace, in which a bench may mount what it needs.

    Args:
        network: in a private network namespace, too, which has a loopback only.
    """
    if _INSIDE in os.environ:
        return
    os.environ[_INSIDE] = "1"
    command = [sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]]
    if network:
        command = ["--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", *command])


@contextlib.contextmanager
def scratch_directory() -> Iterator[str]:
    """For the block."""
    scratch = tempfile.mkdtemp(prefix="pycontain-bench-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write(report: Report, given: argparse.Namespace) -> None:
    """Write the results where the arguments say."""
    report.write(given.results or (f"{BUILD}/results" if given.quick else f"{HERE}/results"))
