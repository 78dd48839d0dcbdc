"""Measures contestants in turn and tells the result: a table, its JSON, a plot.

Contestants are interleaved, A B C A B C, so that what else the machine does falls on all of them alike.
The first one is ours; every other's ratio is to it, with the interval in which 95% of resamplings have it.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

RESAMPLINGS = 1000


class SampleError(Exception):
    """A contestant failed; the text says how. It takes no further part in the measurement."""


@dataclass(frozen=True)
class Contestant:
    """Who takes part in a measurement.

    Attributes:
        name: as it is shown.
        sample: does it once; milliseconds, or whatever the measurement's unit is.
        every: it takes part in each `every`th round only: for the slow.
        rest: seconds to wait after it, for what it leaves running.
    """

    name: str
    sample: Callable[[], float]
    every: int = 1
    rest: float = 0.0


@dataclass(frozen=True)
class Row:
    """A contestant's samples, and what they come to."""

    name: str
    samples: list[float]
    median: float
    p90: float
    p99: float
    min: float
    max: float
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class Table:
    """One measurement of all its contestants."""

    title: str
    unit: str
    rows: list[Row]
    load_before: float
    load_after: float
    seconds: float


@dataclass
class Report:
    """What a bench found.

    Attributes:
        name: of its files.
        title: its heading.
        notes: what a reader has to know of the contestants.
        missing: who did not take part, and why.
        versions: of those who did.
    """

    name: str
    title: str
    notes: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)

    def miss(self, name: str, reason: str) -> None:
        """Tell that `name` does not take part."""
        self.missing[name] = reason
        say(f"without {name}: {reason}")

    def measure(
        self,
        title: str,
        contestants: Sequence[Contestant],
        *,
        rounds: int,
        pause: float = 0.01,
        warm_up: int = 3,
        unit: str = "ms",
    ) -> None:
        """Measure `contestants` in turn, `rounds` times, and keep the table."""
        say(f"{title}: {rounds} rounds of {', '.join(contestant.name for contestant in contestants)}")
        began, load_before = time.monotonic(), os.getloadavg()[0]
        samples = self._samples(contestants, rounds=rounds, warm_up=warm_up, pause=pause)
        self.add(title, samples, unit=unit, load_before=load_before, seconds=time.monotonic() - began)

    def add(
        self, title: str, samples: dict[str, list[float]], *, unit: str, load_before: float, seconds: float
    ) -> None:
        """Keep a table of what was measured in another way; ratios are to the first of `samples`."""
        ours = next(iter(samples.values()))
        rows = [_row(name, taken, ours, rates=unit.endswith("/s")) for name, taken in samples.items()]
        self.tables.append(Table(title, unit, rows, load_before, os.getloadavg()[0], seconds))
        say(markdown_table(self.tables[-1]))

    def write(self, directory: str) -> None:
        """Print the tables, and write NAME.json, NAME.md and, where there is matplotlib, NAME.png."""
        os.makedirs(directory, exist_ok=True)
        base = f"{directory}/{self.name}"
        document = {"machine": machine(), **asdict(self)}
        with open(f"{base}.json", "w") as file:
            json.dump(_rounded(document), file, indent=1)
            file.write("\n")
        text = self._markdown()
        with open(f"{base}.md", "w") as file:
            file.write(text)
        print(text)
        try:
            _draw(self, f"{base}.png")
        except ImportError:
            say("without a plot: matplotlib is not installed")
        say(f"written: {base}.json, {base}.md")

    def _samples(
        self, contestants: Sequence[Contestant], *, rounds: int, warm_up: int, pause: float
    ) -> dict[str, list[float]]:
        samples: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
        for number in range(-warm_up, rounds):
            for contestant in contestants:
                # the slow warm up once
                takes_part = number % contestant.every == 0 or (number == -1 and contestant.every > warm_up)
                if contestant.name not in samples or not takes_part:
                    continue
                try:
                    sample = contestant.sample()
                except SampleError as error:
                    if contestant is contestants[0]:
                        raise
                    self.miss(contestant.name, str(error))
                    del samples[contestant.name]
                    continue
                if number >= 0:
                    samples[contestant.name].append(sample)
                time.sleep(pause + contestant.rest)
        return samples

    def _markdown(self) -> str:
        facts = ", ".join(f"{key} {value}" for key, value in machine().items())
        parts = [f"# {self.title}", facts]
        if self.versions:
            parts.append(", ".join(f"{name} {version}" for name, version in self.versions.items()))
        parts += [f"* {note}" for note in self.notes]
        parts += [f"* without {name}: {reason}" for name, reason in self.missing.items()]
        for table in self.tables:
            load = f"Load average {table.load_before:.1f} before, {table.load_after:.1f} after."
            parts += [f"## {table.title}", markdown_table(table), load]
        # notes are one list: no empty line between its points
        return "\n\n".join(parts).replace("\n\n* ", "\n* ").replace("\n* ", "\n\n* ", 1) + "\n"


def say(text: str) -> None:
    """Tell the user how it goes; not part of the result."""
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """The facts about this machine that the figures depend on."""
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) >> 20
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    pure_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "kernel": platform.release(),
        "processors": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "memory": f"{memory} GiB",
        "cgroups": "v2" if pure_v2 else "v1",
        "Python": platform.python_version(),
    }


def _row(name: str, samples: list[float], ours: list[float], *, rates: bool) -> Row:
    # of rates, the low ones are the bad ones
    ordered = sorted(samples, reverse=rates)
    median, our_median = statistics.median(ordered), statistics.median(ours)
    low, high = (1.0, 1.0) if samples is ours else _interval(samples, ours)
    return Row(
        name,
        samples,
        median,
        _quantile(ordered, 0.90),
        _quantile(ordered, 0.99),
        min(samples),
        max(samples),
        median / our_median,
        low,
        high,
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    # The nearest rank: never less than what was seen.
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _interval(samples: list[float], ours: list[float]) -> tuple[float, float]:
    dice = random.Random(1)

    def median_of_resampling(taken: list[float]) -> float:
        return statistics.median(dice.choices(taken, k=len(taken)))

    ratios = sorted(median_of_resampling(samples) / median_of_resampling(ours) for _ in range(RESAMPLINGS))
    return _quantile(ratios, 0.025), _quantile(ratios, 0.975)


def markdown_table(table: Table) -> str:
    """The table in Markdown; the ratio is to its first row."""
    heads = ["", f"median, {table.unit}", "p90", "p99", "min", "max", "p99 / median", "n", "ratio (95%)"]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for row in table.rows:
        figures = [_figure(value) for value in (row.median, row.p90, row.p99, row.min, row.max)]
        spread = f"{row.p99 / row.median:.1f}"
        ratio = f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})"
        lines.append([row.name.replace("|", r"\|"), *figures, spread, str(len(row.samples)), ratio])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _figure(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return value


def _draw(report: Report, path: str) -> None:
    importlib.import_module("matplotlib").use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    tables = report.tables
    heights = [len(table.rows) + 1.2 for table in tables]
    figure, axes = pyplot.subplots(
        len(tables),
        1,
        figsize=(9, 0.42 * sum(heights) + 0.5),
        gridspec_kw={"height_ratios": heights},
        layout="constrained",
        squeeze=False,
    )
    for axis, table in zip((row[0] for row in axes), tables, strict=True):
        _draw_table(axis, table)
    figure.suptitle(report.title)
    figure.savefig(path, dpi=110)


def _draw_table(axis: Any, table: Table) -> None:
    """Bars to the medians, with lines from the minimum to p99."""
    places: Iterable[int] = range(len(table.rows))
    medians = [row.median for row in table.rows]
    colours = ["#d1495b" if row.name.startswith("pycontain") else "#8d99ae" for row in table.rows]
    ends = [max(row.p99, row.median) for row in table.rows]
    errors = [
        [row.median - min(row.min, row.p99) for row in table.rows],
        [end - row.median for end, row in zip(ends, table.rows, strict=True)],
    ]
    axis.barh(
        list(places), medians, color=colours, xerr=errors, error_kw={"elinewidth": 0.8, "ecolor": "#333"}
    )
    axis.set_yticks(list(places), [row.name for row in table.rows])
    axis.invert_yaxis()
    if max(medians) > 20 * min(medians):
        axis.set_xscale("log")
    for place, row in enumerate(table.rows):
        axis.annotate(f"  {_figure(row.median)}", (ends[place], place), va="center", fontsize=8)
    axis.margins(x=0.1)
    axis.set_title(f"{table.title} ({table.unit}; bar: median, line: to min and p99)", fontsize=9, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
