"""The commands about images print what docker's do, and exit as they do."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

import pytest
from image_archives import configuration, digest, docker_files, layer, tar
from pycontain.cli import columns

if TYPE_CHECKING:
    from pathlib import Path

    class Pycontain(Protocol):
        """Runs one command line."""

        def __call__(self, *arguments: str, input: bytes = b"", status: int = 0) -> tuple[list[str], str]: ...


ID = digest(configuration([layer()]))


@pytest.fixture
def pycontain(tmp_path: Path) -> Pycontain:
    pytest.importorskip("pycontain._core", reason="the Rust core is not built")
    pytest.importorskip("pycontain.engine", reason="there is no engine yet")
    environment = {
        **os.environ,
        "PYCONTAIN_ROOT": str(tmp_path / "root"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    def run(*arguments: str, input: bytes = b"", status: int = 0) -> tuple[list[str], str]:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from pycontain.cli import main; sys.exit(main())",
                *arguments,
            ],
            input=input,
            capture_output=True,
            env=environment,
            check=False,
        )
        assert done.returncode == status, done.stderr.decode()
        return done.stdout.decode().splitlines(), done.stderr.decode()

    return run


def test_load_list_tag_and_remove(pycontain: Pycontain, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(tar(docker_files([layer()], "hello:1", "registry.example/a/b:c")))
    assert pycontain("load", "-i", str(archive))[0] == [
        "Loaded image: hello:1",
        "Loaded image: registry.example/a/b:c",
    ]
    header, *rows = pycontain("images")[0]
    assert header.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert [row.split()[:3] for row in rows] == [
        ["hello", "1", ID[7:19]],
        ["registry.example/a/b", "c", ID[7:19]],
    ]
    assert rows[0].endswith(" 6B")
    assert pycontain("images", "-q")[0] == [ID[7:19]] * 2
    assert pycontain("images", "-q", "--no-trunc", "hello")[0] == [ID]
    assert pycontain("images", "-q", "missing")[0] == []
    assert "<none>" in pycontain("images", "--digests", "-a")[0][1]
    assert pycontain("tag", "hello:1", "again")[0] == []
    assert pycontain("rmi", "hello:1", "registry.example/a/b:c")[0] == [
        "Untagged: hello:1",
        "Untagged: registry.example/a/b:c",
    ]
    assert pycontain("rmi", ID[7:19])[0] == [
        "Untagged: again:latest",
        f"Deleted: {ID}",
        f"Deleted: {digest(layer())}",
    ]
    assert len(pycontain("images")[0]) == 1


def test_load_reads_stdin_and_says_the_id_of_what_has_no_name(pycontain: Pycontain) -> None:
    assert pycontain("load", input=tar(docker_files([layer()])))[0] == [f"Loaded image ID: {ID}"]
    assert pycontain("images")[0][1].split()[:3] == ["<none>", "<none>", ID[7:19]]


def test_load_tells_the_names_of_the_archive_and_no_others(pycontain: Pycontain) -> None:
    pycontain("load", input=tar(docker_files([layer()], "before:1")))
    again = tar(docker_files([layer()], "b:2", "a:1"))
    assert pycontain("load", input=again)[0] == ["Loaded image: b:2", "Loaded image: a:1"]
    assert pycontain("load", input=tar(docker_files([layer()])))[0] == [f"Loaded image ID: {ID}"]
    assert [row.split()[0] for row in pycontain("images")[0][1:]] == ["a", "b", "before"]


def test_import_takes_changes_and_prints_the_id(pycontain: Pycontain) -> None:
    (id,), _ = pycontain("import", "-c", 'CMD ["sh"]', "-m", "why", "-", "hello", input=layer())
    assert pycontain("images", "-q", "--no-trunc")[0] == [id]
    assert pycontain("import", "-", input=layer())[0] != [id]


def test_failures_are_told_on_stderr_and_by_the_status(pycontain: Pycontain, tmp_path: Path) -> None:
    output, errors = pycontain("rmi", "missing", "Bad", status=1)
    assert output == []
    assert "no such image: `missing`" in errors
    assert "must be lowercase" in errors
    assert "no such image" in pycontain("rmi", "-f", "missing")[1]
    assert "not a tar" in pycontain("load", input=b"x" * 2000, status=1)[1]
    assert "no such file" in pycontain("load", "-i", str(tmp_path / "missing"), status=1)[1]
    assert "`FROM` is not one of" in pycontain("import", "-c", "FROM x", "-", input=layer(), status=1)[1]
    assert "no such image" in pycontain("tag", "missing", "x", status=1)[1]
    assert "this machine's own" in pycontain("rmi", "host", status=1)[1]


def test_what_a_stranger_wrote_stays_on_its_line(pycontain: Pycontain) -> None:
    layers = [layer()]
    steps = [{"created_by": "RUN\techo \x1b[2J\x9b", "comment": "one\ntwo\x7f"}, {"created_by": "é\n" * 50}]
    pycontain("load", input=tar(docker_files(layers, "hello", history=steps)))
    _, last, first = pycontain("history", "hello")[0]
    assert "é é …" in last
    assert last.count("é") == 22
    assert "RUN echo \\x1b[2J\\x9b" in first
    assert first.endswith("one\\ntwo\\x7f")
    told = pycontain("load", input=tar(docker_files(layers, "x\x1b[2J\nhint: y")), status=1)[1].splitlines()
    assert len(told) == 2
    assert "named `x\\x1b[2J\\nhint: y`" in told[0]
    told = pycontain("load", input=tar(docker_files(layers, "A" * 4000)), status=1)[1].splitlines()
    assert len(told[0]) == len("pycontain: ") + 2000 + len("...")
    assert told[0].endswith("...")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "Less than a second ago"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (60, "About a minute ago"),
        (125, "2 minutes ago"),
        (50 * 60, "About an hour ago"),
        (3 * 3600, "3 hours ago"),
        (47 * 3600, "47 hours ago"),
        (3 * 86400, "3 days ago"),
        (21 * 86400, "3 weeks ago"),
        (90 * 86400, "3 months ago"),
        (3 * 365 * 86400, "3 years ago"),
    ],
)
def test_ages_are_told_as_docker_tells_them(seconds: float, text: str) -> None:
    assert columns.age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (7_834_000, "7.83MB"),
        (2_000_000_000, "2GB"),
        (999_900, "1000kB"),
    ],
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert columns.size(count) == text


def test_columns_are_as_wide_as_dockers() -> None:
    rows = [("A", "B", "C"), ("long", "longer and longer", "x")]
    assert list(columns.table(rows)) == [
        "A         B                   C",
        "long      longer and longer   x",
    ]
