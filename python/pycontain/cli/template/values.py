"""Values as Go's templates see them: how they print, what counts as true, what compares with what."""

from __future__ import annotations

from math import isfinite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Fields", "Nil", "NilMap", "NilSlice", "as_json", "is_nil", "is_true", "kind", "quoted", "text"]


class Nil:
    """Go's nil pointer: no value, and null in JSON."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


class NilSlice(tuple[object, ...], Nil):
    """An empty slice that is null in JSON."""

    __slots__ = ()


class NilMap(dict[object, object], Nil):
    """An empty map that is null in JSON."""

    __slots__ = ()


class Fields(dict[str, object]):
    """What Go has as a struct: asking for a field that it does not have is an error; a map gives nothing.

    Args:
        fields: in the order in which they print.
        name: what errors call its type.
        zero: fields that are empty: asked for they give this, in JSON they are left out.
        more: further fields.
    """

    def __init__(
        self,
        fields: Mapping[str, object] | None = None,
        *,
        name: str = "",
        zero: Mapping[str, object] | None = None,
        **more: object,
    ) -> None:
        super().__init__(fields or {}, **more)
        self.name = name
        self.zero = zero or {}


def text(value: object, *, nested: bool = False) -> str:
    """As Go's `%v` prints it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>" if nested else "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Fields):
        return "{" + " ".join(text(member, nested=True) for member in value.values()) + "}"
    if isinstance(value, dict):
        pairs = sorted((text(key), text(member, nested=True)) for key, member in value.items())
        return "map[" + " ".join(f"{key}:{member}" for key, member in pairs) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(text(member, nested=True) for member in value) + "]"
    if isinstance(value, Nil):
        return "<nil>"
    return str(value)


def _float(value: float) -> str:
    """The shortest that reads back the same; an exponent from 1e21 on and below 1e-4, of two digits."""
    if not isfinite(value):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    if value == int(value) and abs(value) < 1e21:
        return f"{value:.0f}"
    return repr(value)


def as_json(value: object) -> str:
    """On one line, with the names in order, as Go writes a map."""
    import json

    from pycontain.escaping import escaped_json

    value = _without_nils(value)
    found = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False, default=text)
    return escaped_json(found)


def _without_nils(value: object) -> object:
    if is_nil(value):
        return None
    if isinstance(value, dict):
        return {name: _without_nils(member) for name, member in value.items()}
    return [_without_nils(member) for member in value] if isinstance(value, list | tuple) else value


def quoted(value: str) -> str:
    """As Go's `%q`."""
    import json

    return json.dumps(value, ensure_ascii=False)


def is_true(value: object) -> bool:
    """Not empty: a struct always is."""
    return True if isinstance(value, Fields) or callable(value) else bool(value)


def is_nil(value: object) -> bool:
    """Whether it is null in JSON."""
    return value is None or isinstance(value, Nil)


def kind(value: object) -> str:
    """The kind that Go compares by."""
    for types, name in (
        (bool, "bool"),
        (int, "int"),
        (float, "float64"),
        (str, "string"),
        (type(None), "nil"),
    ):
        if isinstance(value, types):
            return name
    if isinstance(value, dict):
        return "map"
    return "nil" if type(value) is Nil else "slice"
