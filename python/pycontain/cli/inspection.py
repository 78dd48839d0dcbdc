"""What `inspect` prints: JSON of everything that was found, or a template for each; then what was not."""

from __future__ import annotations

import sys

from pycontain.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from pycontain.cli.template import Fields
    from pycontain.errors import PycontainError

__all__ = ["renderer", "show"]

_INDENT = 4
# members that docker's clients know, and give as empty where an image says nothing of them
_ZERO: dict[str, Any] = {
    **dict.fromkeys(("User", "WorkingDir", "StopSignal"), ""),
    **{name: [] for name in ("Env", "Cmd", "Entrypoint", "OnBuild", "Shell")},
    **{name: {} for name in ("Labels", "Volumes", "ExposedPorts")},
    "Healthcheck": None,
    "Variant": "",
    "OsVersion": "",
}
_MAPS = {"Labels", "Volumes", "ExposedPorts", "Options"}  # whose members are anybody's names


def show(names: Iterable[str], find: Callable[[str], Mapping[str, Any]], template: str = "") -> int:
    """Print what `find` gives for each name; returns 1 when it finds nothing for one of them.

    Raises:
        TemplateError: `template` is none, or asks for what there is not.
    """
    render = renderer(template)
    found: list[Mapping[str, Any]] = []
    missing: list[PycontainError] = []
    for name in names:
        try:
            found.append(find(name))
        except NotFound as error:
            missing.append(error)
    if render is None:
        print(_indented(found))
    else:
        for one in found:
            print(render(one))
    sys.stdout.flush()
    for failed in missing:
        print(f"pycontain: {failed}", file=sys.stderr)
    if missing and missing[-1].hint:
        print(f"hint: {missing[-1].hint}", file=sys.stderr)
    return int(bool(missing))


def renderer(template: str) -> Callable[[Mapping[str, Any]], str] | None:
    """What makes text of a document by `--format`; None: it is to be shown as usual."""
    if not template:
        return None
    from pycontain.cli.template import Template, TemplateError, as_json

    if template == "json":
        return as_json
    try:
        parsed = Template(template)
    except TemplateError as error:
        error.returncode = 64  # docker's, for this command alone
        raise
    return lambda one: parsed.render(_fields(one))


def _fields(document: Mapping[str, Any]) -> Fields:
    from pycontain.cli.template import Fields

    members = {name: value if name in _MAPS else _nested(value) for name, value in document.items()}
    return Fields(members, zero=_ZERO)


def _nested(value: Any) -> Any:
    if isinstance(value, dict):
        return _fields(value)
    return [_nested(member) for member in value] if isinstance(value, list) else value


def _indented(found: list[Mapping[str, Any]]) -> str:
    import json

    from pycontain.escaping import escaped_json

    return escaped_json(json.dumps(found, indent=_INDENT, ensure_ascii=False))
