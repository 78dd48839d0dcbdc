"""The functions of a template: Go's own, and those that docker adds."""

from __future__ import annotations

from pycontain.cli.template.errors import TemplateError
from pycontain.cli.template.printf import printf
from pycontain.cli.template.values import as_json, is_nil, is_true, kind, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Function = Callable[..., Any]

__all__ = ["FUNCTIONS", "HEADER_FUNCTIONS"]

_WIDEST = 10_000


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TemplateError(f"wrong type for value; expected string; got {kind(value)}")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TemplateError(f"wrong type for value; expected int; got {kind(value)}")
    return value


def _join(values: object, separator: object = "") -> str:
    if not isinstance(values, list | tuple):
        raise TemplateError(f"wrong type for value; expected []string; got {kind(values)}")
    return _string(separator).join(text(value) for value in values)


def _split(value: object, separator: object) -> list[str]:
    value, separator = _string(value), _string(separator)
    return value.split(separator) if separator else list(value)


def _title(value: object) -> str:
    words = _string(value)
    starts = (not index or words[index - 1].isspace() for index in range(len(words)))
    return "".join(letter.title() if first else letter for letter, first in zip(words, starts, strict=True))


def _pad(value: object, before: object, after: object) -> str:
    widths = [_whole(before), _whole(after)]
    if not all(0 <= width <= _WIDEST for width in widths):
        raise TemplateError(f"cannot pad by {widths[0]} and {widths[1]}")
    return " " * widths[0] + value + " " * widths[1] if (value := _string(value)) else ""


def _truncate(value: object, length: object) -> str:
    if (length := _whole(length)) < 0:
        raise TemplateError(f"cannot truncate to {length}")
    return _string(value)[:length]


def _length(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode(errors="surrogateescape"))
    if isinstance(value, list | tuple | dict):
        return len(value)
    raise TemplateError(f"len of {'nil pointer' if kind(value) == 'nil' else f'type {kind(value)}'}")


def _index(value: object, *keys: object) -> object:
    for key in keys:
        value = _member(value, key)
    return value


def _member(value: object, key: object) -> object:
    if isinstance(value, dict):
        # of a map of strings: docker's labels, whose missing ones are empty
        return value.get(_string(key), "" if _all_strings(value) else None)
    if isinstance(value, str | list | tuple):
        place = _whole(key)
        if not 0 <= place < len(value):
            raise TemplateError(f"index out of range: {place}")
        return ord(value[place]) if isinstance(value, str) else value[place]
    raise TemplateError(
        f"can't index item of type {kind(value)}" if kind(value) != "nil" else "index of untyped nil"
    )


def _all_strings(values: dict[str, object]) -> bool:
    return bool(values) and all(isinstance(value, str) for value in values.values())


def _slice(value: object, *places: object) -> object:
    if not isinstance(value, str | list | tuple):
        raise TemplateError(f"can't slice item of type {kind(value)}")
    if len(places) > 2 + (not isinstance(value, str)):
        raise TemplateError(f"too many slice indexes: {len(places)}")
    bounds = [_whole(place) for place in places]
    start, end = [*bounds[:2], *(0, len(value))[len(bounds[:2]) :]]
    if not 0 <= start <= end <= len(value):
        raise TemplateError(
            f"invalid slice index: {start} > {end}" if start > end else f"index out of range: {end}"
        )
    return value[start:end]


def _equal(first: object, *others: object) -> bool:
    if not others:
        raise TemplateError("missing argument for comparison")
    return any(_same(first, other) for other in others)


def _same(first: object, second: object) -> bool:
    kinds = {kind(first), kind(second)}
    if "nil" in kinds:
        return is_nil(first) and is_nil(second)
    if kinds & {"map", "slice"}:
        raise TemplateError("non-comparable types")
    if len(kinds) > 1:
        raise TemplateError("incompatible types for comparison")
    return first == second


def _less(first: Any, second: Any) -> bool:
    kinds = {kind(first), kind(second)}
    if not kinds <= {"int", "float64", "string"}:
        raise TemplateError("invalid type for comparison")
    if len(kinds) > 1:
        raise TemplateError("incompatible types for comparison")
    return bool(first < second)


def _less_or_equal(first: object, second: object) -> bool:
    return _less(first, second) or _same(first, second)


def _print(*values: object) -> str:
    """A space between two neither of which is a string, as Go's `fmt.Sprint`."""
    parts: list[str] = []
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            parts.append(" ")
        parts.append(text(value, nested=True))
    return "".join(parts)


def _println(*values: object) -> str:
    return " ".join(text(value, nested=True) for value in values) + "\n"


def _html(*values: object) -> str:
    escapes = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"}
    return "".join(escapes.get(letter, letter) for letter in _print(*values))


def _urlquery(*values: object) -> str:
    from urllib.parse import quote_plus

    return quote_plus(_print(*values), errors="replace")


FUNCTIONS: dict[str, Function] = {
    # those two look at one argument after the other: the tree sees to that
    "and": lambda *values: values[-1],
    "or": lambda *values: values[-1],
    "not": lambda value: not is_true(value),
    "eq": _equal,
    "ne": lambda first, second: not _same(first, second),
    "lt": _less,
    "le": _less_or_equal,
    "gt": lambda first, second: not _less_or_equal(first, second),
    "ge": lambda first, second: not _less(first, second),
    "len": _length,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "printf": printf,
    "println": _println,
    "html": _html,
    "urlquery": _urlquery,
    "json": as_json,
    "split": _split,
    "join": _join,
    "title": _title,
    "lower": lambda value: _string(value).lower(),
    "upper": lambda value: _string(value).upper(),
    "pad": _pad,
    "truncate": _truncate,
}


def _as_it_is(value: object, *_: object) -> object:
    return value


# over a table's columns stand their names, whatever the cells go through
HEADER_FUNCTIONS: dict[str, Function] = {
    **dict.fromkeys(("json", "title", "lower", "upper", "truncate", "split", "pad", "join"), _as_it_is),
    "println": lambda *values: "".join(text(value) for value in values),
}
