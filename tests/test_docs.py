"""The documentation: complete, up to date, and true.

Every fenced `console` and `python` example in the root files and in docs/ is run. In a `console` block, a
line that begins with `$ ` is a command and the lines after it are what it prints, stderr included; `…`
stands for anything. A `python` block with `>>>` is a doctest, any other is run as it stands. A block that
begins with `# not run by the tests: REASON` is left alone; the line is there for the reader to see.
"""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from pycontain.cli import grammar
from pycontain.cli.commands import COMMANDS, GROUPS
from pycontain.options import ContainerOptions

TOP = Path(__file__).resolve().parent.parent
PAGES = sorted([*TOP.glob("*.md"), *TOP.glob("docs/**/*.md")])
NOT_RUN = "# not run by the tests: "
_FENCE = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LIMIT = re.compile(r"--(memory|cpus)\b|\b(memory|pids_limit)=")
_ROOT = re.compile(r"\bnetwork create\b|\bnetworks\.create\(")
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]+)[^)]*\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


class Example(NamedTuple):
    """A fenced block: the file it is in, the line it begins at, its language, its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(TOP)}:{self.line}"


def examples() -> list[Example]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Example(page, line, match[1], match[2]))
    return found


@pytest.fixture(scope="module")
def core() -> None:
    """The core is built."""
    pytest.importorskip("pycontain._core", reason="the Rust core is not built")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A store of the examples' own, and `pycontain` in the PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "pycontain"
    start = "import sys; from pycontain.cli import main; sys.exit(main())"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{start}" "$@"\n')
    command.chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    modules = os.pathsep.join(entry for entry in sys.path if entry)
    return {
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "PATH": path,
        "PYTHONPATH": modules,
        "PYCONTAIN_NETWORK": "none",  # nothing of this machine's network is changed
        "PYCONTAIN_ROOT": str(tmp_path / "root"),
    }


@pytest.mark.parametrize("example", [e for e in examples() if not e.text.startswith(NOT_RUN)], ids=str)
@pytest.mark.usefixtures("core")
def test_example_does_what_it_says(example: Example, environment: dict[str, str], tmp_path: Path) -> None:
    if os.geteuid() != 0 and _LIMIT.search(example.text):
        _need_limits()
    if os.geteuid() != 0 and _ROOT.search(example.text):
        pytest.skip("needs root")
    work = tmp_path / "work"
    work.mkdir()
    if example.language == "console":
        _run_console(example, environment, work)
    elif ">>>" in example.text:
        # in a process of its own, whose default engine has the example's store
        source = work / "example.txt"
        source.write_text(example.text, encoding="utf-8")
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        check = f"doctest.testfile({str(source)!r}, False, optionflags={flags})"
        _run_python(f"import doctest, sys; sys.exit({check}.failed > 0)", environment, work)
    else:
        _run_python(example.text, environment, work)


def _need_limits() -> None:
    """An ordinary user may set limits only in a cgroup of version 2 that was delegated."""
    from pycontain import PycontainError, run

    try:
        run("host", ["true"], memory="64m")
    except PycontainError as error:
        pytest.skip(str(error))


def _run_python(code: str, environment: dict[str, str], work: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _run_console(example: Example, environment: dict[str, str], work: Path) -> None:
    for command, expected in _commands(example.text):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        pattern = ".*".join(re.escape(part) for part in expected.rstrip("\n").split("…"))
        assert re.fullmatch(pattern, done.stdout.rstrip("\n"), re.DOTALL), f"$ {command}\n{done.stdout}"


def _commands(text: str) -> list[tuple[str, str]]:
    """Commands and what each is to print."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            assert found, f"`{line}` comes before any command"
            command, printed = found[-1]
            if command.endswith("\\"):
                found[-1] = (f"{command}\n{line}", printed)
            else:
                found[-1] = (command, f"{printed}{line}\n")
    return found


def test_every_example_left_out_says_why() -> None:
    for example in examples():
        if example.text.startswith(NOT_RUN):
            assert example.text.removeprefix(NOT_RUN).splitlines()[0].strip(), str(example)


def test_what_follows_from_the_command_line_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate_cli", TOP / "docs/generate_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (TOP / "docs/cli.md").read_text(encoding="utf-8")
    assert written == module.page(), "run `python docs/generate_cli.py`"
    assert module.grammar() == (grammar.COMMANDS, grammar.GRAMMARS), "run `python docs/generate_cli.py`"


@pytest.mark.parametrize("command", [*COMMANDS, *GROUPS])
def test_every_command_has_an_entry_in_the_reference(command: str) -> None:
    text = (TOP / "docs/cli.md").read_text(encoding="utf-8")
    assert f"\n## pycontain {command}\n" in text


def test_every_option_is_in_the_reference_of_the_api() -> None:
    text = (TOP / "docs/python.md").read_text(encoding="utf-8")
    missing = [name for name in ContainerOptions.__annotations__ if f"`{name}`" not in text]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_links_lead_somewhere(page: Path) -> None:
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    broken = [link for link in _LINK.findall(text) if not (page.parent / link).exists()]
    assert not broken


def test_promises_name_tests_that_exist() -> None:
    text = (TOP / "SPECIFICATION.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|rust|benches)/[\w./*-]+?)(?:::(\w+))?`", text)
    assert named
    missing = sorted({path for path, _ in named if not list(TOP.glob(path))})
    for path, test in named:
        if test and path not in missing:
            source = (TOP / path).read_text(encoding="utf-8")
            assert re.search(rf"\b(def|fn) {test}\b", source), f"no `{test}` in {path}"
    assert not missing
