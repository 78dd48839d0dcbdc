"""`image bootstrap`: a base image from a distribution's mirror, or the reason why not, on one line."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest
from pycontain import Engine, ImageInvalid, InvalidOption, PycontainError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOBODY = "http://127.0.0.1:9/debian"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Engine]:
    """An engine of the test's own, of which nothing is left unfinished."""
    pytest.importorskip("pycontain._core", reason="the Rust core is not built")
    with Engine(tmp_path / "root") as engine:
        yield engine
        staging = tmp_path / "root/staging"
        assert not staging.exists() or os.listdir(staging) == []


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on this machine")


@pytest.mark.parametrize(
    ("wanted", "options", "message"),
    [
        ("fedora:40", {}, "must be one of debian, ubuntu"),
        ("debian:--help", {}, "no name of a suite"),
        ("debian:bookworm", {"include": ["a b"]}, "no name of a suite or package"),
        ("debian:bookworm", {"include": ["-x"]}, "no name of a suite or package"),
        ("debian:bookworm", {"variant": "huge"}, "must be one of minbase"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    own: Engine, wanted: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidOption, match=message):
        own.images.bootstrap(wanted, **options)  # type: ignore[arg-type]


def test_missing_programs_are_told_with_what_to_install(
    own: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not os.path.exists("/usr/share/keyrings/debian-archive-keyring.gpg"):
        pytest.skip("no keys of Debian on this machine")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="neither `mmdebstrap` nor `debootstrap`") as refused:
        own.images.bootstrap("debian:bookworm")
    assert refused.value.hint == "install the package mmdebstrap"


def test_missing_keys_are_told(own: Engine) -> None:
    if os.path.exists("/usr/share/keyrings/ubuntu-archive-keyring.gpg"):
        pytest.skip("this machine has the keys of Ubuntu")
    with pytest.raises(Unsupported, match="keys of ubuntu") as refused:
        own.images.bootstrap("ubuntu:noble")
    assert refused.value.hint == "install the package ubuntu-keyring"


@pytest.mark.root
def test_failure_is_told_on_one_line_and_leaves_nothing(own: Engine) -> None:
    need("mmdebstrap")
    with pytest.raises(Unsupported, match="refused") as failed:
        own.images.bootstrap("debian:bookworm", mirror=NOBODY)
    assert "\n" not in str(failed.value)
    assert own.images.list() == ()


def test_what_is_no_file_system_is_refused_before_it_has_been_made_to_the_end(
    own: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not os.path.exists("/usr/share/keyrings/debian-archive-keyring.gpg"):
        pytest.skip("no keys of Debian on this machine")
    with tarfile.open(tmp_path / "tar", "w") as files:
        files.addfile(tarfile.TarInfo("../outside"))
        large = tarfile.TarInfo("file")
        large.size = 30_000_000
        files.addfile(large, io.BytesIO(bytes(large.size)))
    program = tmp_path / "mmdebstrap"
    program.write_text(f"#!/bin/sh\nexec cat {tmp_path}/tar\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(ImageInvalid):
        own.images.bootstrap("debian:bookworm")


@pytest.mark.root
@pytest.mark.timeout(400)
def test_debian_from_its_mirror_runs(own: Engine) -> None:
    need("mmdebstrap")
    try:
        image = own.images.bootstrap("debian:bookworm", "base:1")
    except PycontainError as error:
        if "Could not" not in str(error) and "resolve" not in str(error):
            raise
        pytest.skip(f"no mirror of Debian can be reached: {error}")
    assert image.tags == ("base:1",)
    assert image.config.cmd == ("bash",)
    assert (
        own.run("base:1", ["sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME"]).stdout == b"bookworm\n"
    )
    with own.container("base:1", ["sleep", "1000"]) as container:
        tar = io.BytesIO()
        container.export(tar)
    tar.seek(0)
    with tarfile.open(fileobj=tar) as files:
        assert not [member.name for member in files if member.isdev() and not member.isfifo()]
