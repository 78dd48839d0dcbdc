"""Values of options: texts, paths, and numbers as docker writes them, from sizes to signals."""

from __future__ import annotations

import math
import os

from pycontain.errors import InvalidOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta

_UNITS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIMES = "must be seconds, or numbers with units: ns, us, ms, s, m or h"
_LONGEST = 1 << 63  # what OCI's int64 fields hold
FOR_EVER = 1e9  # seconds: thirty years


def invalid(option: str, value: object, allowed: str, *, hint: str | None = None) -> InvalidOption:
    """The error for a value that an option does not take."""
    told = str(value).encode(errors="backslashreplace").decode().replace("\0", "\\0")
    return InvalidOption(f"invalid value `{told}` for `{option}`: {allowed}", hint=hint)


def string(option: str, value: object) -> str:
    """The value, if it is a str."""
    if not isinstance(value, str):
        raise invalid(option, value, "must be a string")
    return value


def path(option: str, value: object) -> str:
    """A path that the system can be asked for, given as str or os.PathLike."""
    allowed = "must be a path"
    try:
        result: object = os.fspath(value)  # type: ignore[call-overload]
    except TypeError:
        raise invalid(option, value, allowed) from None
    if not isinstance(result, str):
        raise invalid(option, value, allowed)
    if "\0" in result:
        raise invalid(option, value, "must not contain a NUL byte")
    if not result.isascii():
        try:
            os.fsencode(result)
        except UnicodeEncodeError:
            raise invalid(option, value, "is not text that a path can be made of") from None
    return result


def check_file(option: str, value: object, method: str) -> None:
    """That it is a path, not an empty one, or something open, to `read` or `write`."""
    if isinstance(value, str | os.PathLike):
        if path(option, value):
            return
    elif hasattr(value, method):
        return
    raise invalid(option, value, f"must be a path, or something open to {method}")


def exclude(one: str, other: str, why: str = "") -> InvalidOption:
    """The error for two options that cannot be given together; each may be with its value: `pid=host`."""
    told = f"`{one}` and `{other}` exclude each other"
    return InvalidOption(f"{told}: {why}" if why else told, hint="leave one of them out")


def whole(option: str, value: object, low: int, high: int, allowed: str | None = None) -> int:
    """An int between `low` and `high`, given as int or in decimal digits."""
    number = value
    if isinstance(value, str):
        digits = value.removeprefix("-")
        number = int(value) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else None
    if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
        raise invalid(option, value, allowed or f"must be a whole number from {low} to {high}")
    return number


def size(option: str, value: int | str) -> int:
    """Bytes: an int, or `512m`, `1.5g`, `10kb`, `1 GiB`: powers of 1024 in every spelling, as in docker."""
    allowed = "must be bytes, or a number with a unit: b, k, m, g, t or p"
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < _LONGEST:
            raise invalid(option, value, allowed)
        return value
    if not isinstance(value, str):
        raise invalid(option, value, allowed)
    end = max(value.rfind(digit) for digit in "0123456789.") + 1
    number, unit = value[:end], value[end:].removeprefix(" ").lower()
    if unit[:1] in _UNITS and unit[1:] in {"b", "ib"} and unit[0] != "b":
        unit = unit[0]
    whole_part, _, fraction = number.partition(".")
    if unit not in _UNITS or not _is_digits(whole_part + fraction):
        raise invalid(option, value, allowed)
    scale: int = 1024 ** _UNITS[unit]
    result: int = int(whole_part or "0") * scale
    if fraction:
        result += int(fraction) * scale // 10 ** len(fraction)
    if result >= _LONGEST:
        raise invalid(option, value, "must be below 8 EiB")
    return result


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 40


def seconds(option: str, value: float | str | timedelta) -> float:
    """Seconds: a number, a timedelta, or a string such as `10`, `10s`, `1m30s`, `1.5h`, `300ms`."""
    result = _any_seconds(option, value)
    if not 0 <= result < 1e12:
        raise invalid(option, value, _TIMES)
    return result


def limit(option: str, value: float | str | timedelta | None) -> float | None:
    """Seconds until something is given up: 0 where there are fewer; None: never, as with what takes ages."""
    if value is None:
        return None
    result = _any_seconds(option, value)
    return None if result >= FOR_EVER else max(result, 0.0)


def patience(option: str, value: float | str | timedelta) -> float:
    """Seconds from a signal to the next, which kills; -1, or what takes ages: `inf`."""
    if value in (-1, "-1") or _any_seconds(option, value) >= FOR_EVER:
        return math.inf
    return seconds(option, value)


def _any_seconds(option: str, value: object) -> float:
    """Those of a time, negative and infinite ones included."""
    result: float | None = None
    if isinstance(value, str):
        result = _duration(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        result = float(min(max(value, -_LONGEST), _LONGEST))
    elif total := getattr(value, "total_seconds", None):
        result = total()
    if result is None or math.isnan(result):
        raise invalid(option, value, _TIMES)
    return result


def _duration(text: str) -> float | None:
    if _is_digits(text):
        return float(text)
    result, position = 0.0, 0
    while position < len(text):
        start = position
        while position < len(text) and text[position] in "0123456789.":
            position += 1
        number = text[start:position]
        start = position
        while position < len(text) and text[position] not in "0123456789.":
            position += 1
        unit = _SECONDS.get(text[start:position])
        if unit is None or number.count(".") > 1 or not number.strip("."):
            return None
        result += float(number) * unit
    return result if text else None


def cpus(value: float | str) -> int:
    """`--cpus` as billionths of a processor: `1.5` is 1,500,000,000; `1/2` is understood as well."""
    allowed = "must be a number of processors, such as 1.5"
    text = f"{value:.9f}" if isinstance(value, float) else str(value)
    number, slash, divisor = text.partition("/")
    whole_part, _, fraction = number.partition(".")
    if not _is_digits(whole_part + fraction) or (slash and not _is_digits(divisor)):
        raise invalid("cpus", value, allowed)
    scaled = int(whole_part + fraction) * 10**9
    parts: int = int(divisor or "1") * 10 ** len(fraction)
    if not parts or scaled % parts:
        raise invalid("cpus", value, f"{allowed}, to nine decimals")
    return scaled // parts


def ranges(option: str, value: str) -> list[tuple[int, int]]:
    """First and last of each range in a list of processors or memory nodes, such as `0-3,5`."""
    result = []
    for part in string(option, value).split(","):
        first, dash, last = part.strip().partition("-")
        if not _is_digits(first) or (dash and (not _is_digits(last) or int(last) < int(first))):
            raise invalid(option, value, "must be a list of numbers and ranges, such as 0-3,5")
        result.append((int(first), int(last or first)))
    return result


# Linux's numbers, which are the same on x86-64 and ARM; `signal.Signals` would cost an import of enum
_SIGNALS = {
    name: number
    for number, name in enumerate(
        "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT "
        "STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS".split(),
        start=1,
    )
} | {"IOT": 6, "CLD": 17, "POLL": 29}


def signal_number(option: str, value: str | int) -> int:
    """A signal by number (`15`), name (`SIGTERM`, `term`), or counted from an end (`RTMIN+3`)."""
    text = str(value).strip()
    if _is_digits(text):
        return whole(option, text, 1, 64, "must be a signal's name or a number from 1 to 64")
    name = text.upper().removeprefix("SIG")
    if name in _SIGNALS:
        return _SIGNALS[name]
    for base, start, sign in (("RTMIN", 34, 1), ("RTMAX", 64, -1)):
        offset = name.removeprefix(base)
        if offset == name:
            continue
        if not offset:
            return start
        if offset[0] == ("+" if sign == 1 else "-") and _is_digits(offset[1:]) and int(offset[1:]) <= 30:
            return start + sign * int(offset[1:])
    raise invalid(option, value, "must be a signal's name, such as SIGTERM, or a number from 1 to 64")
