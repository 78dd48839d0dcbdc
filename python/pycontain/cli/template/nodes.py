"""The tree of a template, and how each part of it is rendered.

What only has a value is an `Operand`; what writes is a `Node`.
"""

from __future__ import annotations

from pycontain.cli.template.errors import TemplateError
from pycontain.cli.template.values import Fields, is_nil, is_true, kind, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from pycontain.cli.template.functions import Function

    class Node(Protocol):
        """A part that writes."""

        def __call__(self, dot: object, scope: Scope, written: list[str], /) -> None:
            """Write it."""

    class Operand(Protocol):
        """A part that has a value; `arguments` are for what can be called."""

        source: str

        def __call__(self, dot: object, scope: Scope, arguments: list[object], /) -> object:
            """Its value."""


_LONGEST_RANGE = 1_000_000  # of a number: a template of ten characters must not run for hours


class Scope:
    """The variables, the innermost last."""

    def __init__(self, root: object) -> None:
        self._variables: list[tuple[str, object]] = [("$", root)]

    def __len__(self) -> int:
        return len(self._variables)

    def declare(self, name: str, value: object) -> None:
        """A new variable, which may hide another."""
        self._variables.append((name, value))

    def assign(self, name: str, value: object) -> None:
        """Another value for a variable."""
        self._variables[self._index(name)] = (name, value)

    def get(self, name: str) -> object:
        """Its value."""
        return self._variables[self._index(name)][1]

    def leave(self, size: int) -> None:
        """Forget what was declared since there were `size` variables."""
        del self._variables[size:]

    def _index(self, name: str) -> int:
        for index in range(len(self._variables) - 1, -1, -1):
            if self._variables[index][0] == name:
                return index
        raise TemplateError(f"template: undefined variable: {name}")


class _Jump(Exception):
    """No error: `break` or `continue`, on its way to the range."""


class Text:
    """What stands outside the actions."""

    def __init__(self, literal: str) -> None:
        self._literal = literal

    def __call__(self, _dot: object, _scope: Scope, written: list[str]) -> None:
        """Write it."""
        written.append(self._literal)


class Sequence:
    """Nodes, one after the other."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes

    def __call__(self, dot: object, scope: Scope, written: list[str]) -> None:
        """Write it."""
        for node in self._nodes:
            node(dot, scope, written)


class Action:
    """`{{ pipeline }}`: its value is written, unless it goes to a variable."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __call__(self, dot: object, scope: Scope, written: list[str]) -> None:
        """Write it."""
        value = self._pipeline.run(dot, scope)
        if not self._pipeline.names:
            written.append(text(value))


class Jump:
    """`{{break}}` and `{{continue}}`."""

    def __init__(self, word: str) -> None:
        self._word = word

    def __call__(self, _dot: object, _scope: Scope, _written: list[str]) -> None:
        """Write it."""
        raise _Jump(self._word)


class _Block:
    def __init__(self, pipeline: Pipeline, body: Sequence, otherwise: Sequence | None) -> None:
        self._pipeline = pipeline
        self._body = body
        self._otherwise = otherwise

    def __call__(self, dot: object, scope: Scope, written: list[str]) -> None:
        """Write it."""
        before = len(scope)
        self._execute(dot, scope, written)
        scope.leave(before)

    def _execute(self, dot: object, scope: Scope, written: list[str]) -> None:
        raise NotImplementedError

    def _else(self, dot: object, scope: Scope, written: list[str]) -> None:
        if self._otherwise is not None:
            self._otherwise(dot, scope, written)


class If(_Block):
    """`{{if}}`."""

    def _execute(self, dot: object, scope: Scope, written: list[str]) -> None:
        if is_true(self._pipeline.run(dot, scope)):
            self._body(dot, scope, written)
        else:
            self._else(dot, scope, written)


class With(_Block):
    """`{{with}}`: what is not empty becomes the dot."""

    def _execute(self, dot: object, scope: Scope, written: list[str]) -> None:
        value = self._pipeline.run(dot, scope)
        if is_true(value):
            self._body(value, scope, written)
        else:
            self._else(dot, scope, written)


class Range(_Block):
    """`{{range}}`: each element becomes the dot; of a map, in the order of its keys."""

    def _execute(self, dot: object, scope: Scope, written: list[str]) -> None:
        value = self._pipeline.run(dot, scope, declare=False)
        before, ran = len(scope), False
        for key, element in _pairs(value):
            ran = True
            self._name(scope, key, element)
            try:
                self._body(element, scope, written)
            except _Jump as jump:
                if jump.args[0] == "break":
                    break
            finally:
                scope.leave(before)
        if not ran:
            self._else(dot, scope, written)

    def _name(self, scope: Scope, key: object, element: object) -> None:
        names = self._pipeline.names
        values = (key, element) if len(names) == 2 else (element,)
        for name, value in zip(names, values, strict=False):
            if self._pipeline.declares:
                scope.declare(name, value)
            else:
                scope.assign(name, value)


BLOCKS: dict[str, type[_Block]] = {"if": If, "with": With, "range": Range}


def _pairs(value: object) -> Iterator[tuple[object, object]]:
    if isinstance(value, Fields) or value is True or value is False or isinstance(value, float):
        raise TemplateError(f"template: range can't iterate over {text(value)}")
    if isinstance(value, dict):
        return iter(sorted(value.items(), key=lambda pair: text(pair[0])))
    if isinstance(value, list | tuple):
        return iter(enumerate(value))
    if isinstance(value, int) and value <= _LONGEST_RANGE:
        return ((number, number) for number in range(value))
    if is_nil(value):
        return iter(())
    raise TemplateError(f"template: range can't iterate over {text(value)}")


class Pipeline:
    """Commands, each of which gets the value of the one before as its last argument."""

    def __init__(self, commands: list[Command], names: list[str], *, declares: bool) -> None:
        self._commands = commands
        self.names = names
        self.declares = declares

    def run(self, dot: object, scope: Scope, *, declare: bool = True) -> object:
        """Its value, which goes to its variable too."""
        value = self._commands[0].run(dot, scope, [])
        for command in self._commands[1:]:
            value = command.run(dot, scope, [value])
        if declare and self.names:
            (scope.declare if self.declares else scope.assign)(self.names[0], value)
        return value


class Command:
    """An operand, and its arguments."""

    def __init__(self, operands: list[Operand]) -> None:
        self._first, *self._arguments = operands

    @property
    def is_literal(self) -> bool:
        """Whether it is nothing that takes an argument."""
        return isinstance(self._first, Literal)

    def run(self, dot: object, scope: Scope, piped: list[object]) -> object:
        """Its value; `piped` comes after its own arguments."""
        if isinstance(self._first, Call) and self._first.short_circuits:
            given = [lambda operand=operand: operand(dot, scope, []) for operand in self._arguments]
            return self._first.short_circuit([*given, *(lambda value=value: value for value in piped)])
        arguments = [operand(dot, scope, []) for operand in self._arguments]
        return self._first(dot, scope, arguments + piped)


class Literal:
    """A string, a number, `true`, `false` or `nil`."""

    def __init__(self, value: object) -> None:
        self._value = value
        self.source = text(value)

    def __call__(self, _dot: object, _scope: Scope, arguments: list[object]) -> object:
        """Its value."""
        _refuse(arguments, self.source)
        return self._value


class Dot:
    """`.`."""

    source = "."

    def __call__(self, dot: object, _scope: Scope, arguments: list[object]) -> object:
        """Its value."""
        _refuse(arguments, self.source)
        return dot


class Variable:
    """`$name`."""

    def __init__(self, name: str) -> None:
        self.source = name

    def __call__(self, _dot: object, scope: Scope, arguments: list[object]) -> object:
        """Its value."""
        _refuse(arguments, self.source)
        return scope.get(self.source)


class Parenthesis:
    """`( pipeline )`."""

    source = "(...)"

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __call__(self, dot: object, scope: Scope, arguments: list[object]) -> object:
        """Its value."""
        _refuse(arguments, self.source)
        return self._pipeline.run(dot, scope)


class Field:
    """`.Name` of whatever is before it; what can be called is called."""

    def __init__(self, owner: Operand, name: str, place: str) -> None:
        self._owner = owner
        self._name = name
        self._place = place
        self.source = f"{owner.source.removesuffix('.')}.{name}"

    def __call__(self, dot: object, scope: Scope, arguments: list[object]) -> object:
        """Its value."""
        owner = self._owner(dot, scope, [])
        found = self._member(owner)
        if callable(found):
            return _called(self._place, self._name, found, arguments)
        if arguments:
            raise self._error(f"{self._name} has arguments but cannot be invoked as function")
        return found

    def _member(self, owner: object) -> object:
        if isinstance(owner, Fields):
            if self._name in owner:
                return owner[self._name]
            if self._name in owner.zero:
                return owner.zero[self._name]
            if owner.name:
                raise self._error(f"can't evaluate field {self._name} in type {owner.name}")
            raise self._error(f'map has no entry for key "{self._name}"')
        if isinstance(owner, dict):
            return owner.get(self._name)
        if is_nil(owner):
            raise self._error(f"nil pointer evaluating interface {{}}.{self._name}")
        raise self._error(f"can't evaluate field {self._name} in type {kind(owner)}")

    def _error(self, message: str) -> TemplateError:
        return _failed(self._place, self.source, message)


class Call:
    """A function."""

    def __init__(self, name: str, function: Function, place: str) -> None:
        self.source = name
        self._place = place
        self._function = function

    @property
    def short_circuits(self) -> bool:
        """Whether it looks at its arguments one after the other, until it knows."""
        return self.source in {"and", "or"}

    def short_circuit(self, given: list[Function]) -> object:
        """The first argument that decides, else the last."""
        if not given:
            raise TemplateError(f"template: wrong number of args for {self.source}: want at least 1 got 0")
        value: object = None
        for argument in given:
            value = argument()
            if is_true(value) == (self.source == "or"):
                break
        return value

    def __call__(self, _dot: object, _scope: Scope, arguments: list[object]) -> object:
        """Its value."""
        if self.short_circuits:
            return self.short_circuit([lambda value=value: value for value in arguments])
        return _called(self._place, self.source, self._function, arguments)


def _called(place: str, name: str, function: Function, arguments: list[object]) -> object:
    try:
        return function(*arguments)
    except TemplateError as error:
        raise _failed(place, name, f"error calling {name}: {error.reason}") from error
    except TypeError as error:
        raise _failed(place, name, f"wrong number or type of arguments for {name}") from error


def _refuse(arguments: list[object], source: str) -> None:
    if arguments:
        raise _failed("1", source, f"can't give argument to non-function {source}")


def _failed(place: str, source: str, message: str) -> TemplateError:
    return TemplateError(f'template: :{place}: executing "" at <{source}>: {message}')
