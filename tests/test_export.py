"""`export`: all files of a container, as it sees them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import containers
import pytest
from pycontain.containers.target import writing
from pycontain.errors import StoreError, Unsupported
from shops import CHANGES, Shop, contents

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)


@pytest.mark.parametrize("command", ["diff", "commit", "export"])
def test_unknown_container_is_an_error_with_status_1(shop: Shop, command: str) -> None:
    done = shop.cli(command, "missing")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"pycontain: no such container: `missing`\n")


def test_container_of_the_host_is_exported_but_not_committed(shop: Shop) -> None:
    container = shop.run("hosted", "echo 1 > /etc/one; echo 2 > /usr/local/two", "host")
    changed = {change.path for change in container.diff()}
    assert {"/etc/one", "/usr/local/two"} <= changed
    assert not {path for path in changed if path.startswith(("/proc", "/sys", "/dev"))}
    with pytest.raises(Unsupported, match="image `host`") as refused:
        container.commit()
    assert refused.value.hint


def test_exported_files_are_those_seen_inside(shop: Shop) -> None:
    listing = "cd /; find . -xdev ! -type s | grep -v '^./proc\\|^./dev/\\|^./sys' | sort"
    container = shop.run("seen", CHANGES + f"\ntouch /root/listing; {listing} > /root/listing")
    before = host_mounts()
    exported = shop.cli("export", "seen")
    assert exported.returncode == 0, exported.stderr
    assert host_mounts() == before
    with tarfile.open(fileobj=io.BytesIO(exported.stdout)) as archive:
        names = {"./" + name.removeprefix("./").rstrip("/") for name in archive.getnames()}
        listed = set(contents(archive, "root/listing").decode().split())
        assert archive.getmember("root/program").mode == 0o4755
    hidden = {"./dev", "./proc", "./sys"}  # not what is mounted there
    assert names - hidden == (listed - hidden - {"."}) | {"./."}
    other = io.BytesIO()
    container.export(other)
    assert other.getvalue() == exported.stdout


def host_mounts() -> str:
    with open("/proc/self/mountinfo") as file:
        return file.read()


def test_exported_files_make_an_image_that_runs(shop: Shop, tmp_path: Path) -> None:
    shop.run("whole", CHANGES)
    target = tmp_path / "whole.tar"
    done = shop.cli("export", "-o", target, "whole")
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert os.listdir(tmp_path) == ["whole.tar"]
    shop.engine.images.import_(target, "whole:1")
    seen = shop.engine.run(
        "whole:1", ["sh", "-c", "cat /etc/new; ls /home/worker; ls /bin/vi 2>&1"], check=False
    )
    assert seen.stdout == b"new\nother\nls: /bin/vi: No such file or directory\n"


def test_export_that_fails_leaves_no_file(shop: Shop, tmp_path: Path) -> None:
    container = shop.run("unwritten", "true")
    with pytest.raises(StoreError, match="No space left"):
        container.export("/dev/full")
    with pytest.raises(StoreError, match="no such file or directory"):
        container.export(tmp_path / "missing" / "file")
    assert os.listdir(tmp_path) == []


HALF = """
import os, sys, time
from pycontain.containers.target import writing
with writing(sys.argv[1]) as descriptor:
    os.write(descriptor, b"half")
    print("written", flush=True)
    time.sleep(1000)
"""


def test_killed_export_leaves_nothing(tmp_path: Path) -> None:
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_WRONLY))
    except OSError:
        pytest.skip("this file system has no files without a name")
    target = tmp_path / "x.tar"
    for there in ([], ["x.tar"]):
        with subprocess.Popen([sys.executable, "-c", HALF, target], stdout=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == b"written\n"
            process.kill()
        assert os.listdir(tmp_path) == there
        target.write_bytes(b"old")
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("unnamed", [True, False])
def test_file_appears_or_is_replaced_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool
) -> None:
    if not unnamed:
        monkeypatch.setattr("pycontain.containers.target._unnamed", lambda _: None)
    target, link = tmp_path / "x.tar", tmp_path / "link"
    link.symlink_to("nowhere")
    for path, before in ((target, None), (target, b"one"), (link, None)):
        with writing(path) as descriptor:
            os.write(descriptor, b"one")
            assert (path.read_bytes() if path.exists() else None) == before
        assert (path.read_bytes(), path.lstat().st_mode) == (b"one", 0o100600)
    with pytest.raises(KeyError), writing(target) as descriptor:
        raise KeyError
    assert sorted(os.listdir(tmp_path)) == ["link", "x.tar"]
    assert target.read_bytes() == b"one"


def test_root_that_is_a_directory_is_exported_and_has_no_diff(
    shop: Shop, busybox_layer: bytes, tmp_path: Path
) -> None:
    with tarfile.open(fileobj=io.BytesIO(busybox_layer)) as archive:
        archive.extractall(tmp_path, filter="fully_trusted")
    done = shop.cli("run", "--name", "rooted", "--rootfs", f"{tmp_path}:rw", "sh", "-c", "echo 1 > /etc/one")
    assert done.returncode == 0, done.stderr
    container = shop.engine.containers.get("rooted")
    with pytest.raises(Unsupported, match="directory of this machine"):
        container.diff()
    with pytest.raises(Unsupported, match="root file system"):
        container.commit()
    target = io.BytesIO()
    container.export(target)
    target.seek(0)
    with tarfile.open(fileobj=target) as archive:
        assert contents(archive, "etc/one") == b"1\n"
