"""Command lines that are read without typer mean what typer would make of them."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycontain.cli import plain
from pycontain.cli.commands import group
from pycontain.cli.grammar import COMMANDS, GRAMMARS
from typer import Exit
from typer._click.exceptions import UsageError

_VALUES = (
    "x",
    "",
    "-",
    "--",
    "-x",
    "a=b",
    "=",
    "7",
    "-7",
    "1.5",
    "--rm",
    "--help",
    "name:tag",
    "é",
    "\udc80",
)
_NAMES = {module: words for words, module in COMMANDS.items()}


@functools.cache
def typers(module: str) -> Any:
    """The command as typer has it."""
    command: Any = group()
    context = command.make_context("pycontain", ["ps"], resilient_parsing=True)
    for name in _NAMES[module]:
        command = command.get_command(context, name)
    return command


def by_typer(module: str, words: list[str]) -> dict[str, Any] | None:
    """What the command's function would be given; None after a mistake, or when help is shown."""
    try:
        return dict(typers(module).make_context(module, list(words)).params)
    except (UsageError, Exit):
        return None


def with_defaults(module: str, found: dict[str, Any]) -> dict[str, Any]:
    function = importlib.import_module(f"pycontain.cli.{module}").command
    return {
        name: found.get(name, one.default) for name, one in inspect.signature(function).parameters.items()
    }


def alike(value: Any) -> Any:
    return list(value) or None if isinstance(value, (list, tuple)) else value


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    module = draw(st.sampled_from(sorted(GRAMMARS)))
    options = GRAMMARS[module][1]
    value = st.sampled_from(_VALUES)
    words: list[str] = []
    for _ in range(draw(st.integers(0, 6))):
        if not options or draw(st.booleans()):
            words.append(draw(value))
            continue
        option = draw(st.sampled_from(sorted(options)))
        flag = options[option][1] in {"flag", "no"}
        form = draw(st.sampled_from(("apart", "apart", "glued", "equals")))
        if form == "apart":
            words += [option] if flag else [option, draw(value)]
        elif form == "equals":
            words.append(f"{option}={draw(value)}")
        else:
            words.append(f"{option}{draw(value)}")
    return module, words


@settings(max_examples=500, deadline=None)
@given(command_lines())
def test_reads_what_typer_reads(line: tuple[str, list[str]]) -> None:
    module, words = line
    found, expected = plain.arguments(GRAMMARS[module], words), by_typer(module, words)
    if found is None:
        # left to typer: a flag with a truth, a number that another takes the place of; no more
        options = [word if word.startswith("--") else word[:2] for word in words if word.startswith("-")]
        assert expected is None or any("=" in word for word in words) or len(set(options)) < len(options)
        return
    assert expected is not None
    ours = {name: alike(value) for name, value in with_defaults(module, found).items()}
    assert ours == {name: alike(value) for name, value in expected.items()}


def test_a_value_may_follow_its_letter_with_an_equals_sign() -> None:
    found = plain.arguments(GRAMMARS["run"], ["-im=64m", "-e=A=b", "host"])
    assert found == {"stdin": True, "memory": "64m", "env": ["A=b"], "image": "host", "args": []}


@pytest.mark.parametrize("words", [["ps"], ["run", "--rm", "host", "true"], ["container", "ls", "-a"]])
def test_plain_lines_do_without_typer(words: list[str], engine_root: str) -> None:
    program = (
        "import sys\n"
        "from pycontain.cli import main\n"
        f"assert main({words!r}) == 0\n"
        "assert not {'typer', 'typing_extensions', 'inspect'} & {n for n, m in sys.modules.items() if m}\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={**os.environ, "PYCONTAIN_ROOT": engine_root}
    )


@pytest.mark.parametrize(
    "words",
    [["--version"], ["ps", "--help"], ["run", "--rm=true", "host", "true"], ["psx"], ["container ls"], []],
)
def test_other_lines_are_left_to_typer(words: list[str]) -> None:
    assert plain.read(words) is None


def test_nothing_slow_is_imported_before_ctrl_c_is_silent() -> None:
    script = "import sys; before = set(sys.modules); import pycontain.cli; print(*set(sys.modules) - before)"
    out = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert set(out.split()) <= {"__future__", "errno", "gc", "pycontain", "pycontain.cli"}
