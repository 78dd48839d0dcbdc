"""Which images are meant: the filters of `images.list` and `images.prune`, as docker's mean it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from pycontain.errors import InvalidOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

__all__ = ["ImageFilters", "PruneFilters", "has_label", "moment", "pattern", "several"]

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class PruneFilters(TypedDict, total=False):
    """What narrows a removal down; all of them must hold."""

    until: str | float
    """Made before this: `24h` ago, `2026-01-31`, RFC 3339, or seconds since the epoch."""
    label: str | Iterable[str]
    """With this label, or all of these: `k` or `k=v`."""
    without_label: str | Iterable[str]
    """With none of these."""


class ImageFilters(PruneFilters, total=False):
    """What narrows a list of images down; all of them must hold."""

    dangling: bool
    """Without a tag, or with one."""
    before: str
    """Made before this image."""
    since: str
    """Made after this image."""
    reference: str | Iterable[str]
    """With a name that fits one of these patterns: `alpine:3.*`, `registry.lan/*/app`."""


def several(key: str, value: object) -> list[str]:
    """What a filter has: one text, or several.

    Raises:
        InvalidOption: it is neither.
    """
    if isinstance(value, str | int) and not isinstance(value, bool):
        return [str(value)]
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise InvalidOption(f"filter `{key}` takes a text, or several")
    return [str(one) for one in value]


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Whether `labels` has `wanted`, which is `k` or `k=v`."""
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)


def moment(text: str | float, now: float) -> float:
    """The seconds since the epoch that `text` stands for: of a duration, before `now`.

    Raises:
        InvalidOption: it is none of those.
    """
    if isinstance(text, int | float):
        return float(text)
    if not isinstance(text, str):
        raise _no_moment(text)
    whole, _, fraction = text.partition(".")
    if whole.isascii() and whole.isdecimal() and (fraction or "0").isdecimal() and len(text) < 40:
        return float(text)
    duration = _duration(text)
    if duration is not None:
        return now - duration
    import datetime

    try:
        # without a zone it is this machine's, as in docker
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise _no_moment(text) from error


def _no_moment(value: object) -> InvalidOption:
    return InvalidOption(
        f'failed to parse value as time or duration: "{value}"', hint="give `24h`, or `2026-01-31`"
    )


def _duration(text: str) -> float | None:
    """Seconds of `1h30m`, as Go writes a duration; None where it is none."""
    import re

    parts = re.findall(r"(\d{1,15}(?:\.\d{1,9})?)(h|ms|m|s|us|µs|ns)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def pattern(text: str) -> re.Pattern[str]:
    """What Go's `path.Match` means: `*` and `?` stop at a slash, `[a-z]`, `[^a]`, and a backslash quotes.

    Raises:
        InvalidOption: a bracket is open, or a backslash is last.
    """
    import re

    parts: list[str] = []
    position = 0
    while position < len(text):
        letter = text[position]
        position += 1
        if letter == "[":
            part, position = _bracket(text, position)
            parts.append(part)
        elif letter == "\\":
            parts.append(re.escape(_letter(text, position)))
            position += 1
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(letter) or re.escape(letter))
    return re.compile("".join(parts), re.DOTALL)


def _bracket(text: str, position: int) -> tuple[str, int]:
    import re

    negated = text[position : position + 1] == "^"
    position += negated
    ranges: list[str] = []
    while text[position : position + 1] != "]" or not ranges:
        low, position = _member(text, position)
        high = low
        if text[position : position + 1] == "-":
            high, position = _member(text, position + 1)
        if low > high:
            raise _bad_pattern(text)
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"[{'^' * negated}{''.join(ranges)}]", position + 1


def _member(text: str, position: int) -> tuple[str, int]:
    quoted = text[position : position + 1] == "\\"
    letter = _letter(text, position + quoted)
    if not quoted and letter in "-]":
        raise _bad_pattern(text)
    return letter, position + quoted + 1


def _letter(text: str, position: int) -> str:
    if position >= len(text):
        raise _bad_pattern(text)
    return text[position]


def _bad_pattern(text: str) -> InvalidOption:
    return InvalidOption(f"syntax error in pattern `{text}`")
