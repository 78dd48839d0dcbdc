"""Tables for people, as docker prints them: columns, ages, sizes."""

from __future__ import annotations

from pycontain.escaping import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["age", "binary_size", "duration", "size", "table", "when"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_UNTIL = (
    (46 * _MINUTE, _MINUTE, "minutes"),
    (48 * _HOUR, _HOUR, "hours"),
    (14 * _DAY, _DAY, "days"),
    (60 * _DAY, 7 * _DAY, "weeks"),
    (730 * _DAY, 30 * _DAY, "months"),
)


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines, each column three spaces wider than its widest cell, and at least ten wide.

    Nothing in a cell steers a terminal: much of it is what containers and images say of themselves.
    """
    rows = [tuple(map(escaped, row)) for row in rows]
    widths = [0] * max(map(len, rows), default=0)
    for row in rows:
        for column, cell in enumerate(row[:-1]):
            widths[column] = max(widths[column], len(cell) + 3, 10)
    for row in rows:
        yield "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()


def size(count: int) -> str:
    """Three significant digits in powers of 1000: `7.83MB`."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        del units[0]
    return f"{value:.3g}{units[0]}" if value < 999.5 else f"{value:.0f}{units[0]}"


def binary_size(count: int) -> str:
    """Four significant digits in powers of 1024: `7.832MiB`."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        del units[0]
    return f"{value:.4g}{units[0]}"


def duration(seconds: float) -> str:
    """As people say it: `3 weeks`."""
    if seconds < 1:
        return "Less than a second"
    if seconds < _MINUTE:
        return f"{seconds:.0f} second{'s' * (round(seconds) != 1)}"
    if seconds < 2 * _MINUTE:
        return "About a minute"
    if 46 * _MINUTE <= seconds < 90 * _MINUTE:
        return "About an hour"
    for until, unit, name in _UNTIL:
        if seconds < until:
            return f"{seconds // unit if unit != _HOUR else round(seconds / unit):.0f} {name}"
    return f"{seconds // (365 * _DAY):.0f} years"


def age(seconds: float) -> str:
    """How long ago: `3 weeks ago`."""
    return f"{duration(seconds)} ago"


def when(seconds: float | None) -> tuple[str, str]:
    """How long ago, and when, as Go prints a time; both `N/A` where it is not known."""
    if seconds is None:
        return "N/A", "N/A"
    import time

    local = time.localtime(seconds)
    return age(time.time() - seconds), time.strftime("%Y-%m-%d %H:%M:%S %z %Z", local)
