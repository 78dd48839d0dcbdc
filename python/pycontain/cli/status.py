"""What containers do and what they run, in docker's words."""

from __future__ import annotations

import time
from datetime import datetime

from pycontain.cli.columns import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.runtime.records import State

__all__ = ["command_text", "status"]

_SHOWN = 20


def status(state: State) -> str:
    """As `ps` has it: `Up 5 minutes (healthy)`, `Exited (0) 2 days ago`."""
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {_since(state.finished)} ago"
    if state.is_alive:
        up = f"Up {_since(state.started)}"
        if state.status == "paused":
            return f"{up} (Paused)"
        if state.health is not None:
            health = state.health.status
            return f"{up} (health: starting)" if health == "starting" else f"{up} ({health})"
        return up
    if state.status == "exited":
        return f"Exited ({state.exit_code}) {_since(state.finished)} ago"
    return state.status.capitalize()


def _since(moment: str | None) -> str:
    then = datetime.fromisoformat(moment).timestamp() if moment else 0
    return duration(time.time() - then)


def command_text(args: Sequence[str], *, in_full: bool = False) -> str:
    """A command in quotes, cut off after 20 characters."""
    words = [args[0], *(f"'{word}'" if " " in word else word for word in args[1:])] if args else []
    text = " ".join(words)
    if not in_full and len(text) > _SHOWN:
        text = text[: _SHOWN - 1] + "…"
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    from pycontain.cli.template.values import quoted

    return quoted(text)
