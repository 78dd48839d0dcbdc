"""What mypy says of a program that uses pycontain, and what its types are when it runs."""

from __future__ import annotations

import copy
import errno
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from pycontain import (
    Completed,
    ExitError,
    InvalidOption,
    PycontainError,
    StartError,
    StoreError,
    TimeoutExpired,
)

TESTS = Path(__file__).resolve().parent


def test_typical_program_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    program = TESTS / "data/typical_program.py"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}"]
    done = subprocess.run(
        [*command, str(program)], cwd=TESTS.parent / "python", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_completed_is_the_same_value_whatever_its_parameter() -> None:
    made = Completed[bytes](["true"], 0, b"out", b"")
    assert type(made) is Completed
    assert made == Completed(["true"], 0, b"out", b"")
    assert pickle.loads(pickle.dumps(made)) == made
    assert repr(made).startswith("Completed(args=('true',), returncode=0, stdout=b'out', stderr=b''")
    assert not hasattr(made, "__dict__")


@pytest.mark.parametrize(
    "error",
    [
        ExitError(["a", "b"], 3, b"out", b"err", oom_killed=True),
        TimeoutExpired(["a"], 2.5, "out", "err"),
        StoreError("full", errno=errno.ENOSPC, filename="/f", hint="make room"),
        StartError("no such thing", errno=errno.ENOENT),
        InvalidOption("wrong", hint="right"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_reach_other_processes_as_they_are(error: PycontainError) -> None:
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))
        for name in ("errno", "filename"):
            assert getattr(other, name, None) == getattr(error, name, None)


def test_types_of_values_cost_no_import_of_typing() -> None:
    code = "import sys; import pycontain.types; print('typing' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-Sc", code], cwd=TESTS.parent / "python", capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
