"""Command lines read without typer, which takes longer to import than most commands take to run.

`grammar` has what typer knows of each command's words. A line that is not plain (help, a mistake, an option
before the command, a flag with a truth) is left to typer, which then also says what is wrong with it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from pycontain.cli.grammar import Grammar

__all__ = ["arguments", "read"]

# of a kind of option: what it makes of the word after it
_VALUES: dict[str, Callable[[str], Any]] = {"text": str, "number": int, "decimal": float, "list": str}
_TRUTHS = {"flag": True, "no": False}


def read(words: Sequence[str]) -> Callable[[], object] | None:
    """The command that a line asks for, with its arguments; None: typer has to look at it."""
    from pycontain.cli.grammar import COMMANDS, GRAMMARS

    name = next((name for name in (tuple(words[:1]), tuple(words[:2])) if name in COMMANDS), None)
    if name is None:
        return None
    module = COMMANDS[name]
    found = arguments(GRAMMARS[module], words[len(name) :])
    if found is None:
        return None

    from functools import partial
    from importlib import import_module

    return partial(import_module(f"pycontain.cli.{module}").command, **found)


def arguments(grammar: Grammar, words: Sequence[str]) -> dict[str, Any] | None:
    """What stands in the words after a command's name, by its parameters; None: they are not plain."""
    positions, options, anywhere = grammar
    found: dict[str, Any] = {}
    plain: list[str] = []
    rest = iter(words)
    try:
        for word in rest:
            if word == "--":
                plain += rest
            elif word.startswith("--"):
                name, equals, value = word.partition("=")
                _add(found, *options[name], [value] if equals else rest)
            elif word.startswith("-") and word != "-":
                _letters(found, options, word, rest)
            else:
                plain.append(word)
                if not anywhere:
                    plain += rest
    except (KeyError, ValueError, StopIteration):  # no such flag, no number, no value
        return None
    return found if _place(found, positions, plain) else None


def _letters(found: dict[str, Any], options: Mapping[str, tuple[str, str]], word: str, rest: Any) -> None:
    """`-it`, `-w/tmp`, `-w /tmp`: flags, and at the end one that has a value."""
    for position, letter in enumerate(word[1:], 2):
        parameter, kind = options[f"-{letter}"]
        if kind in _TRUTHS:
            found[parameter] = _TRUTHS[kind]
            continue
        value = word[position:]
        _add(found, parameter, kind, [value[1:] if value[0] == "=" != value else value] if value else rest)
        return


def _add(found: dict[str, Any], parameter: str, kind: str, values: Any) -> None:
    if kind in _TRUTHS:
        if isinstance(values, list):
            raise ValueError("a truth")
        found[parameter] = _TRUTHS[kind]
    elif kind == "list":
        found.setdefault(parameter, []).append(next(iter(values)))
    else:
        found[parameter] = _VALUES[kind](next(iter(values)))


def _place(found: dict[str, Any], positions: Sequence[tuple[str, str]], words: list[str]) -> bool:
    """Give the words that are no options to the parameters they stand for; false: too few or too many."""
    left = iter(words)
    for parameter, kind in positions:
        if kind in {"many", "any"}:
            found[parameter] = list(left)
            if kind == "many" and not found[parameter]:
                return False
            continue
        word = next(left, None)
        if word is not None:
            found[parameter] = word
        elif kind == "one":
            return False
    return next(left, None) is None
