"""Environment variables and labels: lists, mappings and files of `key=value`."""

from __future__ import annotations

from pycontain.runtime.document import not_text
from pycontain.runtime.sizes import invalid, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Pairs = Mapping[str, str | None] | Iterable[str]


def strings(option: str, value: object) -> list[str]:
    """A list of strings; one string alone is a mistake that would otherwise be read letter by letter."""
    if isinstance(value, (str, bytes)):
        raise invalid(option, value, "must be a list of strings")
    try:
        items = list(value)  # type: ignore[call-overload]
    except TypeError:
        raise invalid(option, value, "must be a list of strings") from None
    return [_sayable(option, string(option, item)) for item in items]


def variables(option: str, value: Pairs, environ: Mapping[str, str]) -> dict[str, str | None]:
    """`K=V`, or `K` alone: its value in `environ`, None (to be removed) where it has none."""
    result: dict[str, str | None] = {}
    if hasattr(value, "items"):
        for name, content in value.items():
            _check_name(option, name, name)
            if content is not None and not isinstance(content, str):
                raise invalid(option, f"{name}={content!r}", "must be a string or None")
            result[name] = environ.get(name) if content is None else _without_nul(option, content)
        return result
    for entry in strings(option, value):
        name, equals, text = entry.partition("=")
        _check_name(option, name, entry)
        result[name] = _without_nul(option, text) if equals else environ.get(name)
    return result


def _check_name(option: str, name: object, entry: object) -> None:
    if not isinstance(name, str) or not name or "=" in name or "\0" in name:
        raise invalid(option, entry, "must be NAME=VALUE or NAME")


def _without_nul(option: str, text: str) -> str:
    if "\0" in text:
        raise invalid(option, text, "must not contain a NUL byte")
    return text


def _sayable(option: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise not_text(text) from None
    return _without_nul(option, text)


def file_lines(option: str, path: str, text: str) -> list[str]:
    """The entries of an env file or a label file: without comments and empty lines, values as they stand."""
    lines = []
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.removesuffix("\r").lstrip(" \t")
        if not line or line.startswith("#"):
            continue
        name = line.partition("=")[0]
        if not name or any(character in name for character in " \t"):
            raise invalid(option, f"{path}:{number}", "a name must not be empty or contain spaces")
        lines.append(line)
    return lines


def labels(option: str, value: Pairs) -> dict[str, str]:
    """`k=v`; `k` alone has an empty value."""
    if hasattr(value, "items"):
        result = {}
        for name, content in value.items():
            if not isinstance(name, str) or not name:
                raise invalid(option, name, "a name must not be empty")
            result[name] = "" if content is None else str(content)
        return result
    pairs = (entry.partition("=") for entry in strings(option, value))
    result = {name: text for name, _, text in pairs}
    if "" in result:
        raise invalid(option, f"={result['']}", "a name must not be empty")
    return result
