"""Go's `fmt.Sprintf`, for the values that a template has."""

from __future__ import annotations

import re

from pycontain.cli.template.errors import TemplateError
from pycontain.cli.template.values import kind, quoted, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["printf"]

_DIRECTIVE = re.compile(
    r"%(?P<flags>[-+# 0]*)(?P<width>\d+|\*)?(?:\.(?P<precision>\d+|\*)?)?(?P<verb>.)?", re.DOTALL
)
_WIDEST = 10_000  # Go takes a million


def printf(template: object, *values: object) -> str:
    """The template with each `%` directive replaced by the next value, mistakes too as Go shows them."""
    if not isinstance(template, str):
        raise TemplateError(f"wrong type for value; expected string; got {kind(template)}")
    rest = list(values)

    def directive(match: re.Match[str]) -> str:
        verb = match["verb"]
        if verb is None:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        width = _number(match["width"], rest)
        precision = _number(match["precision"], rest) if "." in match[0] else None
        if "." in match[0] and precision is None:
            precision = 0
        if not rest:
            return f"%!{verb}(MISSING)"
        return _padded(_shown(verb, match["flags"], precision, rest.pop(0)), match["flags"], width)

    result = _DIRECTIVE.sub(directive, template)
    if rest:
        extra = ", ".join(f"{_type(value)}={text(value, nested=True)}" for value in rest)
        result += f"%!(EXTRA {extra})"
    return result


def _number(digits: str | None, rest: list[object]) -> int | None:
    if digits is None:
        return None
    value = rest.pop(0) if digits == "*" and rest else digits
    if digits == "*" and not isinstance(value, int):
        return None
    if len(str(value)) > 5 or abs(int(str(value))) > _WIDEST:
        raise TemplateError(f"width or precision {str(value)[:20]} is too large")
    return int(str(value))


def _padded(shown: str, flags: str, width: int | None) -> str:
    if width is None:
        return shown
    if "-" in flags or width < 0:
        return shown.ljust(abs(width))
    if "0" in flags:
        sign = shown[:1] if shown[:1] in {"-", "+"} else ""
        return sign + shown[len(sign) :].rjust(width - len(sign), "0")
    return shown.rjust(width)


def _shown(verb: str, flags: str, precision: int | None, value: object) -> str:
    if verb == "v":
        return text(value, nested=True)
    if verb == "T":
        return _type(value)
    if verb in "sqxX" and isinstance(value, list | tuple):
        return "[" + " ".join(_shown(verb, flags, precision, member) for member in value) + "]"
    if kind(value) == "nil":
        return f"%!{verb}(<nil>)"
    show = _VERBS.get((kind(value), verb))
    if show is None:
        return f"%!{verb}({_type(value)}={text(value, nested=True)})"
    shown = show(value, precision)
    if isinstance(value, int | float) and "+" in flags and not shown.startswith("-"):
        return "+" + shown
    if isinstance(value, int | float) and " " in flags and not shown.startswith("-"):
        return " " + shown
    return shown


def _type(value: object) -> str:
    name = kind(value)
    return {"nil": "<nil>", "map": "map[string]interface {}", "slice": "[]interface {}"}.get(name, name)


def _character(value: int) -> str:
    return chr(value) if 0 <= value < 0x110000 and not 0xD800 <= value < 0xE000 else "\ufffd"


def _hexadecimal(value: str, precision: int | None) -> str:
    data = value.encode(errors="surrogateescape")
    return data[:precision].hex()


_VERBS: dict[tuple[str, str], Callable[..., str]] = {
    ("string", "s"): lambda value, precision: value[:precision],
    ("string", "q"): lambda value, precision: quoted(value[:precision]),
    ("string", "x"): _hexadecimal,
    ("string", "X"): lambda value, precision: _hexadecimal(value, precision).upper(),
    ("bool", "t"): lambda value, _: text(value),
    ("int", "d"): lambda value, precision: f"{'-' * (value < 0)}{abs(value):0{precision or 1}d}",
    ("int", "x"): lambda value, _: f"{value:x}",
    ("int", "X"): lambda value, _: f"{value:X}",
    ("int", "o"): lambda value, _: f"{value:o}",
    ("int", "b"): lambda value, _: f"{value:b}",
    ("int", "c"): lambda value, _: _character(value),
    ("int", "q"): lambda value, _: "'" + _character(value) + "'",
    ("int", "U"): lambda value, _: f"U+{value:04X}",
    ("float64", "f"): lambda value, precision: f"{value:.{6 if precision is None else precision}f}",
    ("float64", "e"): lambda value, precision: f"{value:.{6 if precision is None else precision}e}",
    ("float64", "g"): lambda value, precision: (
        text(value) if precision is None else f"{value:.{precision or 1}g}"
    ),
}
