"""Makes a tree of a template's pieces.

pipeline = [variables (":=" | "=")] command ("|" command)*
command  = operand operand*
operand  = (literal | "." | field | variable | function | "(" pipeline ")") field*
"""

from __future__ import annotations

import ast
import re

from pycontain.cli.template import nodes
from pycontain.cli.template.errors import at
from pycontain.cli.template.functions import FUNCTIONS
from pycontain.cli.template.lexer import Token, tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycontain.cli.template.functions import Function
    from pycontain.cli.template.nodes import Node, Operand

__all__ = ["parse"]

# Go's escapes, which mean the same to Python; Python has more
_ESCAPED = re.compile(
    r"""(["'])(?:[^\\]|\\(?:[abfnrtv\\"']|[0-3][0-7]{2}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}))*\1"""
)
_DEEPEST = 60  # parentheses and blocks in each other: each is several of Python's own calls
_KEYWORDS = {"if", "range", "with", "else", "end", "break", "continue", "define", "block", "template"}
_END = Token("end", "", 0)


def parse(template: str, functions: Mapping[str, Function] | None = None) -> nodes.Sequence:
    """The tree of `template`.

    Raises:
        TemplateError: it is no template.
    """
    return _Parser(list(tokens(template)), {**FUNCTIONS, **(functions or {})}).whole()


class _Parser:
    """One parsing: where it is, which variables are known there."""

    def __init__(self, pieces: list[Token], functions: Mapping[str, Function]) -> None:
        self._pieces = pieces
        self._position = 0
        self._functions = functions
        self._variables = ["$"]
        self._depth = 0
        self._ranges = 0

    def whole(self) -> nodes.Sequence:
        """Everything."""
        body, end = self._list()
        if end:
            raise self._error(f"unexpected {{{{{end}}}}}")
        return body

    def _peek(self) -> Token:
        return self._pieces[self._position] if self._position < len(self._pieces) else _END

    def _next(self) -> Token:
        token = self._peek()
        self._position += 1
        return token

    def _error(self, message: str) -> Exception:
        position = min(self._position, len(self._pieces) - 1)
        return at(self._pieces[position].line if position >= 0 else 1, message)

    def _deeper(self, by: int) -> None:
        self._depth += by
        if self._depth > _DEEPEST:
            raise self._error("nested too deeply")

    def _list(self) -> tuple[nodes.Sequence, str]:
        """Up to the end of the template, or `else` or `end`, which is returned as well."""
        found: list[Node] = []
        while self._peek() is not _END:
            token = self._next()
            if token.kind == "text":
                found.append(nodes.Text(token.text))
                continue
            first = self._peek()
            word = first.text if first.kind == "name" else ""
            if word in {"else", "end"}:
                self._next()
                if word == "end":
                    self._close(word)
                return nodes.Sequence(found), word
            if first.kind == "comment":
                self._next()
            elif word in _KEYWORDS:
                self._next()
                found.append(self._control(word))
                continue
            elif first.kind == "close":
                raise self._error("missing value for command")
            else:
                found.append(nodes.Action(self._pipeline()))
            self._close("command")
        return nodes.Sequence(found), ""

    def _close(self, context: str) -> None:
        token = self._next()
        if token.kind != "close":
            self._position -= 1
            raise self._error(f"unexpected <{token.text}> in {context}")

    def _control(self, word: str) -> Node:
        if word in {"break", "continue"}:
            if not self._ranges:
                raise self._error(f"{{{{{word}}}}} outside {{{{range}}}}")
            self._close(word)
            return nodes.Jump(word)
        if word in {"define", "block", "template"}:
            raise self._error(f"unexpected {{{{{word}}}}}: it is not supported")
        return self._block(word)

    def _block(self, word: str) -> Node:
        self._deeper(1)
        known = len(self._variables)
        pipeline = self._pipeline(context=word)
        self._close(word)
        self._ranges += word == "range"
        body, end = self._list()
        self._ranges -= word == "range"
        otherwise = None
        if end == "else":
            otherwise, end = self._else(word)
        if end != "end":
            raise self._error("unexpected EOF")
        del self._variables[known:]
        self._deeper(-1)
        return nodes.BLOCKS[word](pipeline, body, otherwise)

    def _else(self, word: str) -> tuple[nodes.Sequence, str]:
        """After `else`: the other body, or `else if` and `else with`, which end with the same `end`."""
        again = self._peek()
        if again.kind == "name" and again.text == word and word in {"if", "with"}:
            self._next()
            return nodes.Sequence([self._block(word)]), "end"
        self._close("else")
        body, end = self._list()
        if end == "else":
            raise self._error("expected end; found {{else}}")
        return body, end

    def _pipeline(self, context: str = "command") -> nodes.Pipeline:
        self._deeper(1)
        names, declares = self._declarations(ranges=context == "range")
        commands = [self._command(context)]
        while self._peek().kind == "sign" and self._peek().text == "|":
            self._next()
            commands.append(self._command(context))
        for later in commands[1:]:
            if later.is_literal:
                raise self._error("non executable command in pipeline stage 2")
        if declares:
            self._variables += names
        self._deeper(-1)
        return nodes.Pipeline(commands, names, declares=declares)

    def _declarations(self, *, ranges: bool) -> tuple[list[str], bool]:
        """`$x :=`, `$x =`, and for a range `$i, $x :=`."""
        start, names = self._position, []
        while self._peek().kind == "variable":
            names.append(self._next().text)
            sign = self._peek()
            if sign.kind == "sign" and sign.text in {":=", "="}:
                self._next()
                if len(names) > 1 + ranges:
                    raise self._error("too many declarations in command")
                if sign.text == "=":
                    for name in names:
                        self._check_variable(name)
                return names, sign.text == ":="
            if not (sign.kind == "sign" and sign.text == "," and ranges):
                break
            self._next()
        self._position = start
        return [], False

    def _check_variable(self, name: str) -> None:
        if name not in self._variables:
            raise self._error(f'undefined variable "{name}"')

    def _command(self, context: str) -> nodes.Command:
        operands: list[Operand] = []
        while True:
            token = self._peek()
            if token.kind in {"close", "end"} or (token.kind == "sign" and token.text in {"|", ")"}):
                break
            operands.append(self._operand(context))
        if not operands:
            raise self._error(f"missing value for {context}")
        return nodes.Command(operands)

    def _operand(self, context: str) -> Operand:
        token = self._next()
        operand: Operand
        if token.kind == "sign" and token.text == "(":
            operand = nodes.Parenthesis(self._pipeline("parenthesized pipeline"))
            closing = self._next()
            if closing.text != ")":
                self._position -= 1
                raise self._error("unclosed left paren")
        elif token.kind == "variable":
            self._check_variable(token.text)
            operand = nodes.Variable(token.text)
        elif token.kind == "field":
            operand = nodes.Field(nodes.Dot(), token.text[1:], token.place)
        elif token.kind == "dot":
            operand = nodes.Dot()
        elif token.kind == "name":
            operand = self._named(token.text, token.place)
        elif token.kind in {"string", "char", "number"}:
            operand = nodes.Literal(self._literal(token))
        else:
            self._position -= 1
            raise self._error(f"unexpected <{token.text or token.kind}> in {context}")
        while self._peek().kind == "field" and self._peek().joined:
            if isinstance(operand, nodes.Literal):
                raise self._error(f"unexpected <{self._peek().text}> in operand")
            field = self._next()
            operand = nodes.Field(operand, field.text[1:], field.place)
        return operand

    def _named(self, name: str, place: str) -> Operand:
        if name in {"true", "false", "nil"}:
            return nodes.Literal({"true": True, "false": False, "nil": None}[name])
        function = self._functions.get(name)
        if function is None:
            raise self._error(f'function "{name}" not defined')
        return nodes.Call(name, function, place)

    def _literal(self, token: Token) -> object:
        if token.text.startswith("`"):
            return token.text[1:-1]
        if token.kind == "number":
            return self._number(token.text)
        if _ESCAPED.fullmatch(token.text) is None:
            raise self._error("invalid syntax" if token.kind == "string" else f"malformed {token.text}")
        try:
            value = ast.literal_eval(token.text)
        except (ValueError, SyntaxError) as error:  # `\U` and a number that is no character
            raise self._error("invalid syntax") from error
        if token.kind == "string":
            return value
        if len(value) != 1:
            raise self._error(f"malformed character constant: {token.text}")
        return ord(value)

    def _number(self, text: str) -> int | float:
        digits = text.lstrip("+-")
        prefixed = digits[:2].lower() in {"0x", "0o", "0b"}
        try:
            if not prefixed and any(sign in digits for sign in ".eE"):
                return float(text)
            old_octal = len(digits) > 1 and digits.isdecimal() and digits[0] == "0"
            value = int(text, 8 if old_octal else 0)
        except ValueError as error:
            raise self._error(f'bad number syntax: "{text[:50]}"') from error
        if not -(1 << 63) <= value < 1 << 63:
            raise self._error(f'integer overflow: "{text[:50]}"')
        return value
