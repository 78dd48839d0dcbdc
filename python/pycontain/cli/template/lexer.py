"""Cuts a template into text and the words of its actions."""

from __future__ import annotations

import re

from pycontain.cli.template.errors import at
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Token", "tokens"]

_SPACE = " \t\r\n"
_COMMENT = re.compile(r"[ \t\r\n]*/\*")
_END = re.compile(r"(?:[ \t\r\n]+(-)|[ \t\r\n]*)\}\}")
_WORD = re.compile(
    r"""
      (?P<space>   [ \t\r\n]+ )
    | (?P<string>  "(?:[^"\\\n]|\\.)*" | `[^`]*` )
    | (?P<char>    '(?:[^'\\\n]|\\.)+' )
    | (?P<number>  [+-]?(?: 0[xX][0-9a-fA-F_]+ | 0[oO][0-7_]+ | 0[bB][01_]+
                          | (?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)? ) (?![\w.]) )
    | (?P<field>   \.[^\W\d]\w* )
    | (?P<dot>     \.(?![\w]) )
    | (?P<variable>\$\w* )
    | (?P<name>    [^\W\d]\w* )
    | (?P<sign>    := | [=|,()] )
    """,
    re.VERBOSE,
)


class Token(Value):
    """A piece of a template.

    Attributes:
        kind: `text`, `open`, `close`, or what the word of an action is.
        text: as it stands in the template.
        line: the line it begins in, from 1.
        column: where it begins in that line, from 0.
        joined: whether no space is before it.
    """

    __slots__ = ("kind", "text", "line", "column", "joined")  # noqa: RUF023 - the constructor's order
    kind: str
    text: str
    line: int
    column: int
    joined: bool

    def __init__(self, kind: str, text: str, line: int, column: int = 0, joined: bool = False) -> None:
        self._set(kind=kind, text=text, line=line, column=column, joined=joined)

    @property
    def place(self) -> str:
        """As errors tell it."""
        return f"{self.line}:{self.column}"


def tokens(template: str) -> Iterator[Token]:
    """All pieces, in turn.

    Raises:
        TemplateError: an action or a string is not closed, or has a character that means nothing there.
    """
    position, line, trim = 0, 1, False
    while position < len(template):
        start = template.find("{{", position)
        text = template[position : start if start >= 0 else None]
        if trim:
            text = text.lstrip(_SPACE)
        if start < 0:
            if text:
                yield Token("text", text, line)
            return
        line += template.count("\n", position, start)
        position = start + 2
        if template.startswith("-", position) and template[position + 1 : position + 2] in {*_SPACE}:
            text, position = text.rstrip(_SPACE), position + 1
        if text:
            yield Token("text", text, line)
        position, trim, inside = _action(template, position, line)
        yield Token("open", "{{", line)
        yield from inside
        line = inside[-1].line if inside else line
        yield Token("close", "}}", line)


def _action(template: str, position: int, line: int) -> tuple[int, bool, list[Token]]:
    """The words up to `}}`; where that ends, and whether it trims the text after it."""
    comment = _COMMENT.match(template, position)
    if comment:
        return _comment(template, comment.end(), line)
    found: list[Token] = []
    joined = False
    while True:
        end = _END.match(template, position)
        if end:
            return end.end(), end[1] is not None, found
        match = _WORD.match(template, position)
        if match is None:
            raise _bad_word(template, position, line)
        joined = match.lastgroup != "space" and joined
        if match.lastgroup != "space":
            column = position - (template.rfind("\n", 0, position) + 1)
            found.append(Token(str(match.lastgroup), match[0], line, column, joined))
            joined = True
        line += match[0].count("\n")
        position = match.end()


def _comment(template: str, position: int, line: int) -> tuple[int, bool, list[Token]]:
    end = template.find("*/", position)
    if end < 0:
        raise at(line, "unclosed comment")
    close = _END.match(template, end + 2)
    if close is None:
        raise at(line, "comment ends before closing delimiter")
    lines = line + template.count("\n", position, end)
    return close.end(), close[1] is not None, [Token("comment", "", lines)]


def _bad_word(template: str, position: int, line: int) -> Exception:
    rest = template[position:]
    if not rest or ("}}" not in rest and rest[0] not in "\"'`"):
        return at(line, "unclosed action")
    quotes = {'"': "unterminated quoted string", "`": "unterminated raw quoted string"}
    if rest[0] in quotes:
        return at(line, quotes[rest[0]])
    if rest[0] == "'":
        return at(line, "unterminated character constant")
    if rest[0].isdigit():
        return at(line, f'bad number syntax: "{rest[:20].split()[0].removesuffix("}}")}"')
    if rest[0] == ".":
        return at(line, f"bad character U+{ord(rest[1:2] or '.'):04X}")
    return at(line, f"unrecognized character in action: U+{ord(rest[0]):04X} '{rest[0]}'")
