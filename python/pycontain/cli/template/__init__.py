"""Go's templates, as `--format` takes them: parsed once, rendered for each row.

The language is that of Go's text/template with docker's functions, without `define`, `block` and `template`.
"""

from __future__ import annotations

from pycontain.cli.template.errors import TemplateError
from pycontain.cli.template.parser import parse
from pycontain.cli.template.values import Fields, Nil, NilMap, NilSlice, as_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycontain.cli.template.functions import Function

__all__ = ["Fields", "Nil", "NilMap", "NilSlice", "Template", "TemplateError", "as_json"]


class Template:
    """A parsed template.

    >>> Template("{{.Name}} has {{len .Tags}}").render(Fields(Name="a", Tags=["x", "y"]))
    'a has 2'

    Args:
        text: the template.
        functions: further functions, or others for the usual names.

    Raises:
        TemplateError: it is none; says where.
    """

    def __init__(self, text: str, functions: Mapping[str, Function] | None = None) -> None:
        self._root = parse(text, functions)

    def render(self, data: object) -> str:
        """The text for `data`, which is the template's dot.

        Raises:
            TemplateError: it asks for what `data` does not have, or a function fails.
        """
        from pycontain.cli.template.nodes import Scope

        written: list[str] = []
        try:
            self._root(data, Scope(data), written)
        except RecursionError as error:
            raise TemplateError("template: exceeded maximum template depth") from error
        return "".join(written)
