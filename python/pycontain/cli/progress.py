"""How far a pull or push has come: bars on a terminal, a line for each step elsewhere, both as docker's."""

from __future__ import annotations

import contextlib
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TextIO

    from pycontain.types import Progress

__all__ = ["shown"]

# of these there are many for each layer
_MOVING = frozenset({"Downloading", "Pushing", "Compressing"})
_WIDEST_BAR = 50
_BESIDE_BAR = 48  # layer, phase and bytes


@contextlib.contextmanager
def shown(
    stream: TextIO | None = None, *, quiet: bool = False
) -> Iterator[Callable[[Progress], None] | None]:
    """What to call at each step; None when nothing is to be shown."""
    stream = stream or sys.stdout
    if quiet:
        yield None
    elif stream.isatty():
        with _Bars(stream) as bars:
            yield bars.step
    else:
        yield _Lines(stream).step


class _Lines:
    """A line for each new phase of a layer."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._phases: dict[str, str] = {}

    def step(self, progress: Progress) -> None:
        if progress.phase in _MOVING or self._phases.get(progress.layer) == progress.phase:
            return
        if progress.layer:
            self._phases[progress.layer] = progress.phase
        print(_line(progress), file=self._stream, flush=True)


class _Bars:
    """A line for each layer that changes in place; what is about no layer scrolls by above and below."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import Progress as Live
        from rich.progress import TextColumn

        self._live = Live(
            TextColumn("{task.description}: {task.fields[phase]}"),
            TextColumn("{task.fields[bar]}", markup=False),
            console=Console(file=stream, highlight=False, markup=False),
        )
        self._width = max(1, min(_WIDEST_BAR, self._live.console.width - _BESIDE_BAR))
        self._tasks: dict[str, Any] = {}
        self._last: list[str] = []

    def __enter__(self) -> _Bars:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        for line in self._last:
            print(line, file=self._live.console.file, flush=True)

    def step(self, progress: Progress) -> None:
        if not progress.total:
            # what comes after the layers is shown below them
            self._last.append(_line(progress)) if self._tasks else self._live.console.print(_line(progress))
            return
        bar = _bar(progress, self._width) if progress.phase in {*_MOVING, "Retrying"} else ""
        if progress.layer not in self._tasks:
            self._tasks[progress.layer] = self._live.add_task(progress.layer, phase=progress.phase, bar=bar)
        self._live.update(self._tasks[progress.layer], phase=progress.phase, bar=bar)


def _line(progress: Progress) -> str:
    return f"{progress.layer}: {progress.phase}" if progress.layer else progress.phase


def _bar(progress: Progress, width: int) -> str:
    from pycontain.cli.columns import size

    full = width * progress.done // max(progress.total, 1)
    bar = ("=" * full + ">" * (full < width)).ljust(width)
    return f"[{bar}] {size(progress.done):>7}/{size(progress.total)}"
