"""JSON text, made piece by piece: what is the same in most containers is encoded once per process."""

from __future__ import annotations

from pycontain.errors import InvalidOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_encoder: Callable[[object], str] | None = None
_encoded: dict[str, str] = {}


def encode(value: object) -> str:
    """A value as JSON without spaces."""
    global _encoder  # noqa: PLW0603 - json costs 5 ms, which the first container pays instead of the import
    if _encoder is None:
        import json

        _encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    return _encoder(value)


def once(key: str, make: Callable[[], object]) -> str:
    """The JSON of what `make` returns, which is the same whenever `key` is."""
    if key not in _encoded:
        _encoded[key] = encode(make())
    return _encoded[key]


def utf8(text: str) -> bytes:
    """A finished document; what an option brought in that is not text is named in the error."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        start, end = text.rfind('"', 0, error.start) + 1, text.find('"', error.end)
        raise not_text(text[start:end]) from None


def not_text(word: str) -> InvalidOption:
    """The error for a str that stands for other bytes, as `os.fsdecode` has them, or for none."""
    told = word.encode(errors="backslashreplace").decode()
    return InvalidOption(
        f"`{told}` is not UTF-8 text, which all of a container's configuration has to be",
        hint="other bytes can come in by a file, or by what the command reads",
    )
