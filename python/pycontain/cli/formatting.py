"""`--format` of lists: a table, a table of one's own columns, JSON, or a template for each row."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from pycontain.cli.template import Fields

__all__ = ["FORMAT_HELP", "fields", "lines"]

FORMAT_HELP = "table, table TEMPLATE, json, or a Go template for each"
_NO_FORMATS = {"", "table"}


def fields(values: Mapping[str, object], name: str) -> Fields:
    """A row: what a template may ask for; `name` is what docker calls its type."""
    from pycontain.cli.template import Fields

    return Fields(values, name=f"*formatter.{name}")


def lines(
    rows: Iterable[Mapping[str, object]],
    headers: Mapping[str, Any],
    columns: Sequence[str],
    template: str = "",
) -> Iterator[str]:
    """What to print.

    Args:
        rows: values by the names of docker's fields; `Fields` where there is a template.
        headers: what stands over each field in a table.
        columns: the fields of the usual table.
        template: the value of `--format`.

    Raises:
        TemplateError: it is no template, or asks for a field that there is not.
    """
    from pycontain.cli.columns import table

    if template in _NO_FORMATS:
        cells = [tuple(str(row[name]) for name in columns) for row in rows]
        yield from table([tuple(headers[name] for name in columns), *cells])
        return
    if template == "json":
        from pycontain.cli.template import as_json

        yield from map(as_json, rows)
        return
    from pycontain.cli.template import Template
    from pycontain.cli.template.functions import HEADER_FUNCTIONS

    text = template.replace("\\t", "\t").replace("\\n", "\n")
    if not text.startswith("table"):
        parsed = Template(text)
        yield from (parsed.render(row) for row in rows)
        return
    text = text.removeprefix("table").strip()
    parsed = Template(text)
    shown = [Template(text, HEADER_FUNCTIONS).render(dict(headers)), *(parsed.render(row) for row in rows)]
    lines = [line for text in shown for line in text.rstrip("\n").split("\n")]
    yield from table([tuple(line.split("\t")) for line in lines])
