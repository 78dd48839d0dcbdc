"""Files into and out of containers, running or not, and that no link leads out of one."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING

import containers
import pytest
from pycontain.errors import InvalidOption, PathNotFound, PycontainError

if TYPE_CHECKING:
    from pathlib import Path

    from pycontain import Container, Engine

pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)


@pytest.fixture(params=["running", "stopped", pytest.param("paused", marks=pytest.mark.limits)])
def box(own: Engine, request: pytest.FixtureRequest) -> Container:
    """A container in each of its states."""
    if request.param == "stopped":
        return own.create("busybox", ["sleep", "1000"], name="box")
    box = own.start("busybox", ["sleep", "1000"], name="box")
    if request.param == "paused":
        box.pause()
    return box


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with a file, one below, and links."""
    root = tmp_path / "tree"
    (root / "below").mkdir(parents=True)
    (root / "file").write_text("text")
    (root / "below" / "deep").write_bytes(bytes(range(256)) * 1000)
    (root / "link").symlink_to("/etc/shadow")
    (root / "file").chmod(0o640)
    return root


def names(root: Path) -> list[str]:
    return sorted(os.path.relpath(path, root) for path in root.rglob("*"))


def test_directory_comes_back_as_it_went(box: Container, tree: Path, tmp_path: Path) -> None:
    box.copy_in(tree, "/srv")  # made
    box.copy_in(tree, "/srv")  # into it
    box.copy_in(f"{tree}/.", "/other")
    box.copy_out("/srv", tmp_path / "back")
    box.copy_out("/srv/.", tmp_path / "back")
    box.copy_out("/other", tmp_path / "back")
    inside = names(tree)
    back = tmp_path / "back"
    assert names(back) == sorted(
        [*inside, "tree", "other", *(f"tree/{n}" for n in inside), *(f"other/{n}" for n in inside)]
    )
    for directory in (back, back / "tree", back / "other"):
        assert (directory / "below" / "deep").read_bytes() == (tree / "below" / "deep").read_bytes()
        assert (directory / "file").stat().st_mode == (tree / "file").stat().st_mode
        assert (directory / "file").stat().st_uid == os.getuid()
        assert os.readlink(directory / "link") == "/etc/shadow"


def test_file_is_named_replaced_or_put_into_a_directory(box: Container, tree: Path, tmp_path: Path) -> None:
    box.copy_in(tree / "file", "/named")
    box.copy_in(tree / "file", "/tmp/")
    assert box.read_bytes("/named") == box.read_bytes("/tmp/file") == b"text"
    box.write_bytes("/named", b"other")
    box.copy_out("/named", tmp_path)
    box.copy_out("/named", tree / "file")
    assert (tmp_path / "named").read_bytes() == (tree / "file").read_bytes() == b"other"


def test_tars_go_in_and_out(box: Container, fresh_cli: containers.Cli) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo("made/by")
        member.size, member.uid = 4, 1000
        tar.addfile(member, io.BytesIO(b"tar!"))
    assert fresh_cli("cp", "-", "box:/tmp", input=stream.getvalue()).returncode == 0
    out = fresh_cli("cp", "box:/tmp/made", "-")
    with tarfile.open(fileobj=io.BytesIO(out.stdout)) as tar:
        assert sorted(tar.getnames()) == ["made", "made/by"]
        assert tar.getmember("made/by").uid == 1000
        content = tar.extractfile("made/by")
        assert content is not None
        assert content.read() == b"tar!"


def test_all_files_come_without_those_of_the_kernel(
    box: Container, fresh_cli: containers.Cli, tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    box.copy_out("/", tmp_path / "all")
    assert set(tmp_path.iterdir()) - before == {tmp_path / "all"}
    box.copy_out("/proc", tmp_path)
    assert {"bin", "dev", "etc", "proc", "sys"} <= {path.name for path in (tmp_path / "all").iterdir()}
    for empty in ("all/dev", "all/proc", "all/sys", "proc"):
        assert list((tmp_path / empty).iterdir()) == []
    assert (tmp_path / "all" / "bin" / "busybox").stat().st_size == len(box.read_bytes("/bin/busybox"))
    out = fresh_cli("cp", "box:/.", "-")
    assert out.returncode == 0
    with tarfile.open(fileobj=io.BytesIO(out.stdout)) as tar:
        assert [name for name in tar.getnames() if name.startswith(("proc", "dev"))] == ["dev", "proc"]


def test_events_tell_of_files_and_not_of_how_they_are_copied(
    own: Engine, box: Container, tree: Path, tmp_path: Path
) -> None:
    box.copy_in(tree / "file", "/named")
    box.copy_out("/named", tmp_path)
    box.export(tmp_path / "files.tar")
    box.commit("copied:1", message="why")
    before = {"create", "start", "pause"}
    told = [event for event in own.events(until=time.time()) if event.action not in before]
    assert [event.action for event in told] == ["extract-to-dir", "archive-path", "export", "commit"]
    assert told[-1].attributes["comment"] == "why"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["box:/missing", "/tmp"], "`/missing`: no such file or directory"),
        (["/missing", "box:/"], "cannot copy `/missing`: no such file or directory"),
        (["/etc/hostname", "box:/no/such"], "`/no`: no such file or directory"),
        (["/etc/hostname", "box:/no/"], "cannot copy to `/no/`: there is no such directory"),
        (["/etc", "box:/bin/busybox"], "cannot copy a directory to `/bin/busybox`"),
        (["box:/etc", "/etc/hostname"], "cannot copy a directory to `/etc/hostname`"),
        (["box:/etc/passwd", "/no/such/file"], "cannot copy to `/no/such`"),
        (["box:/etc", ""], "cannot copy to ``: there is no such directory"),
        (["box:", "/tmp/new"], "`box:` has no path"),
        (["/etc/hostname", "/tmp"], "one of the two has to be CONTAINER:PATH"),
        (["nobody:/x", "/tmp"], "no such container: `nobody`"),
    ],
)
def test_what_cannot_be_copied_is_told(
    own: Engine, fresh_cli: containers.Cli, words: list[str], said: str
) -> None:
    own.create("busybox", name="box")
    refused = fresh_cli("cp", *words)
    assert refused.returncode == 1
    assert said.encode() in refused.stderr
    assert refused.stderr.count(b"pycontain: ") == 1


def test_only_files_are_replaced_by_files(box: Container) -> None:
    stopped = box.status == "created"
    if box.status == "paused":
        box.unpause()
    box.start()
    box.run(["sh", "-c", "cd /root; ln -s real link; ln -s nothing dangling; echo old > real; mkfifo pipe"])
    if stopped:
        box.kill()
        box.wait()
    for path in ("/dev/null", "/etc", "/root/pipe"):
        with pytest.raises(InvalidOption, match=f"cannot write `{path}`: it is "):
            box.write_bytes(path, b"x")
    box.write_bytes("/root/link", b"new")
    assert box.read_bytes("/root/real") == b"new"
    box.write_bytes("/root/dangling", b"new")
    assert box.read_bytes("/root/dangling") == b"new"


@pytest.mark.parametrize("end", ["/", "//", "/."])
def test_no_file_is_replaced_where_a_directory_is_meant(
    box: Container, tree: Path, tmp_path: Path, end: str
) -> None:
    keep = tmp_path / "keep"
    keep.write_text("precious")
    box.write_bytes("/keep", b"precious")
    for source in ("/etc", "/etc/.", "/etc/passwd"):
        with pytest.raises(PycontainError, match="keep"):
            box.copy_out(source, f"{keep}{end}")
    for path in (tree, f"{tree}/.", tree / "file"):
        with pytest.raises(PycontainError, match="keep"):
            box.copy_in(path, f"/keep{end}")
    assert keep.read_text() == "precious"
    assert box.read_bytes("/keep") == b"precious"


def test_link_of_the_host_with_a_slash_is_the_directory_it_leads_to(
    box: Container, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tree)
    box.copy_in(f"{tmp_path}/link/", "/made")
    box.copy_in(f"{tmp_path}/link/", "/tmp")
    box.copy_in(tmp_path / "link", "/tmp/as-it-is")
    assert box.read_bytes("/made/file") == box.read_bytes("/tmp/link/file") == b"text"
    box.copy_out("/tmp/as-it-is", tmp_path)
    assert os.readlink(tmp_path / "as-it-is") == str(tree)


def test_link_that_leads_nowhere_stays_and_what_it_leads_to_is_made(
    box: Container, tree: Path, tmp_path: Path
) -> None:
    links = tmp_path / "links"
    links.mkdir()
    for name, target in {"far": "/no/such", "near": "hop", "hop": "made", "round": "round"}.items():
        (links / name).symlink_to(target)
    box.copy_in(links, "/links")
    with pytest.raises(PathNotFound):
        box.copy_in(tree / "file", "/links/far")
    with pytest.raises(PathNotFound):
        box.copy_out("/etc/passwd", links / "far")
    with pytest.raises(InvalidOption, match="links"):
        box.copy_in(tree / "file", "/links/round")
    with pytest.raises(InvalidOption, match="links"):
        box.copy_out("/bin", links / "round")
    box.copy_in(tree / "file", "/links/near")
    box.copy_out("/links/made", links / "near")
    assert box.read_bytes("/links/made") == (links / "made").read_bytes() == b"text"
    box.copy_out("/links", tmp_path / "back")
    for directory in (links, tmp_path / "back"):
        assert os.readlink(directory / "far") == "/no/such"
        assert os.readlink(directory / "near") == "hop"


def test_links_lead_nowhere_but_inside(box: Container, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("of the host")
    box.write_bytes("/tmp/inside", b"inside")
    links = tmp_path / "links"
    links.mkdir()
    (links / "out").symlink_to(secret)
    box.copy_in(links, "/links")
    with pytest.raises(PathNotFound):
        box.read_bytes("/links/out/key")
    with pytest.raises(PathNotFound):
        box.write_bytes("/links/out/new", b"x")
    box.copy_out("/links", tmp_path / "back")
    assert os.readlink(tmp_path / "back" / "out") == str(secret)
    assert names(secret) == ["key"]
    with pytest.raises(InvalidOption):
        box.read_bytes("/links")


def test_directory_that_becomes_a_link_meanwhile_leads_nowhere(own: Engine, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    swap = f"mkdir -p /a /real; while :; do rmdir /a; ln -s {tmp_path}/secret /a; rm /a; mkdir /a; done"
    box = own.start("busybox", ["sh", "-c", swap], name="racer")
    source = tmp_path / "file"
    source.write_text("x")
    for _ in range(20):
        with contextlib.suppress(PycontainError):  # now there is no such directory, now it is a link
            box.copy_in(source, "/a/file")
            box.copy_out("/a", tmp_path / "back")
    assert names(secret) == []


@pytest.mark.parametrize("userns", ["auto", "host"])
def test_container_cannot_put_a_program_of_its_own_in_the_place_of_the_one_that_copies(
    own: Engine, rootfs: Path, tmp_path: Path, userns: str
) -> None:
    (rootfs / "proc").rename(rootfs / "real")
    (rootfs / "proc").symlink_to("/real")
    script = (
        "rm /proc; mkdir -p /evil/self; echo '#!/bin/sh\necho > /ran' > /evil/self/exe;"
        "chmod 755 /evil/self/exe; touch /ready; ln -s /evil /proc; exec /bin/sleep 1000"
    )
    box = own.start("", ["/bin/sh", "-c", script], rootfs=rootfs, userns=userns)
    box.wait_until(lambda box: "/evil" in str(box.run(["/bin/ls", "-l", "/"], text=True).stdout))
    assert box.read_bytes("/ready") == b""
    box.write_bytes("/written", b"x")
    box.copy_out("/written", tmp_path)
    assert "ran" not in str(box.run(["/bin/ls", "/"], text=True).stdout).split()


@pytest.mark.root
def test_nothing_of_a_container_has_privileges_on_the_host(own: Engine, tmp_path: Path) -> None:
    script = (
        "mkdir /dir /plain; cp /bin/busybox /plain/program; chmod 6755 /plain/program; chmod 2755 /plain;"
        "mknod /dir/device c 1 3; sleep 1000"
    )
    box = own.start("busybox", ["sh", "-c", script], userns="host")
    box.wait_until(lambda box: "device" in str(box.run(["ls", "/dir"], text=True, check=False).stdout))
    box.copy_out("/plain", tmp_path / "out")
    assert (tmp_path / "out" / "program").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out").stat().st_mode & 0o7777 == 0o2755
    with pytest.raises(PycontainError, match="device"):
        box.copy_out("/dir", tmp_path / "devices")
    assert not (tmp_path / "devices" / "device").exists()


def test_program_says_nothing_when_all_is_well(own: Engine, fresh_cli: containers.Cli, tree: Path) -> None:
    own.create("busybox", name="box")
    done = subprocess.run(
        [fresh_cli.program, "cp", f"{tree}/file", "box:/"],
        env=fresh_cli.environment,
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
