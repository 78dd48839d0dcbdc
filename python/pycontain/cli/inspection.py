"""What `inspect` prints: JSON of everything that was found, or a template for each; then what was not."""

from __future__ import annotations

import functools
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
# whose members are anybody's names
_MAPS = frozenset(
    (
        *("Labels", "Volumes", "ExposedPorts", "Options", "Networks", "Ports", "PortBindings", "Sysctls"),
        *(
            "Tmpfs",
            "Annotations",
            "Containers",
            "AuxiliaryAddresses",
            "StorageOpt",
            "DriverOpts",
            "LogConfig.Config",
            "GraphDriver.Data",
        ),
    )
)
_POINTERS = frozenset(
    ("Health", "Healthcheck", "IPAMConfig", "MemorySwappiness", "PidsLimit", "SizeRootFs", "SizeRw")
)
# members that docker's clients know, and leave out of the JSON where they are empty
_TEXTS = ("User", "WorkingDir", "StopSignal", "Variant", "OsVersion", "MacAddress", "IPRange")
_SLICES = ("Env", "Cmd", "Entrypoint", "OnBuild", "Shell", "Mounts")
_ZERO_MAPS = ("Labels", "Volumes", "ExposedPorts", "Annotations", "StorageOpt")
_ZERO_POINTERS = ("Health", "Healthcheck", "ImageManifestDescriptor", "SizeRootFs", "SizeRw")


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


def _fields(document: Mapping[str, Any], name: str = "") -> Fields:
    from pycontain.cli.template import Fields

    members = {
        member: _typed(value, member if member in _MAPS else f"{name}.{member}")
        for member, value in document.items()
    }
    return Fields(members, zero=_zero())


@functools.cache
def _zero() -> dict[str, Any]:
    from pycontain.cli.template import Nil, NilMap, NilSlice

    return {
        **dict.fromkeys(_TEXTS, ""),
        **dict.fromkeys(("ArgsEscaped", "NetworkDisabled"), False),
        **dict.fromkeys(("KernelMemory", "KernelMemoryTCP"), 0),
        **dict.fromkeys(_SLICES, NilSlice()),
        **dict.fromkeys(_ZERO_MAPS, NilMap()),
        **dict.fromkeys(_ZERO_POINTERS, Nil()),
    }


def _typed(value: Any, name: str) -> Any:
    """As Go has it: a struct, a map, a slice, or nil of one of these."""
    from pycontain.cli.template import Nil, NilMap, NilSlice

    is_map, last = name in _MAPS, name.rpartition(".")[2]
    if value is None:
        return NilMap() if is_map else Nil() if last in _POINTERS else NilSlice()
    if isinstance(value, dict):
        return {key: _typed(one, "") for key, one in value.items()} if is_map else _fields(value, last)
    return [_typed(member, "") for member in value] if isinstance(value, list) else value


def _indented(found: list[Mapping[str, Any]]) -> str:
    import json

    from pycontain.escaping import escaped_json

    return escaped_json(json.dumps(found, indent=_INDENT, ensure_ascii=False))
