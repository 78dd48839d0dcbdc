"""Checkpoints of processes, which only CRIU could make; so far pycontain says why there is none."""

from __future__ import annotations

import shutil
import subprocess

from pycontain.errors import Unsupported

__all__ = ["refuse"]

_HINT = "`pycontain container save` moves all but the processes, `container fork` copies the files"
_PATIENCE = 30  # seconds


def refuse(name: str) -> Unsupported:
    """Why no checkpoint can be made of this container."""
    what = f'cannot make a checkpoint of container "{name}"'
    criu = shutil.which("criu")
    if criu is None:
        return Unsupported(f"{what}: criu is not installed", hint=_HINT)
    try:
        check = subprocess.run(
            [criu, "check"], capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=False
        )
        lines = [line for line in (check.stderr + check.stdout).splitlines() if line.strip()]
        works, reason = check.returncode == 0, lines[0] if lines else f"exit status {check.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        works, reason = False, str(error)
    if not works:
        return Unsupported(f"{what}: criu does not work on this machine: {reason}", hint=_HINT)
    return Unsupported(f"{what}: pycontain cannot do that yet, although criu could", hint=_HINT)
