"""Volumes: what containers share, who owns it, and when it goes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import containers
import pytest
from detached import wait_for
from pycontain import image_mount, volume_mount
from pycontain.errors import (
    Conflict,
    ImageInvalid,
    InvalidOption,
    StartError,
    StillInUse,
    Unsupported,
    VolumeNotFound,
)
from pycontain.images import staging

if TYPE_CHECKING:
    from leftovers import Watch
    from pycontain import Engine

pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)

IDLE = ["sleep", "1000"]


def out(engine: Engine, script: str, **options: object) -> str:
    return str(engine.run("busybox", ["sh", "-ec", script], text=True, **options).stdout)  # type: ignore[call-overload]


def names(engine: Engine) -> list[str]:
    return [volume.name for volume in engine.volumes.list()]


def test_what_one_container_writes_the_next_one_reads(own: Engine) -> None:
    out(own, "echo one > /d/f", volumes=["data:/d"])
    assert out(own, "cat /e/f", volumes=["data:/e:ro"]) == "one\n"
    (volume,) = own.volumes.list()
    assert (volume.name, volume.labels, volume.options) == ("data", {}, {})
    assert Path(volume.mountpoint, "f").read_text() == "one\n"
    done = own.run("busybox", ["touch", "/d/x"], volumes=["data:/d:ro"], check=False)
    assert (done.returncode, b"Read-only" in done.stderr) == (1, True)


@pytest.mark.root
def test_files_belong_on_disk_to_whom_they_belong_inside(own: Engine) -> None:
    out(own, "touch /d/root; chown 1000:1000 /d; chmod 700 /d", volumes=["data:/d"])
    place = own.volumes.get("data").mountpoint
    script = "touch /d/x && stat -c %u:%g /d/x"
    assert out(own, script, user="1000:1000", volumes=["data:/d"]) == "1000:1000\n"
    owners = {path: os.stat(f"{place}/{path}").st_uid for path in (".", "root", "x")}
    assert owners == {".": 1000, "root": 0, "x": 1000}


def test_empty_volume_gets_what_the_image_has_once(own: Engine) -> None:
    script = "mkdir -p /srv/d; echo a > /srv/d/a; chown 7:8 /srv/d /srv/d/a; chmod 1770 /srv/d"
    made = own.start("busybox", ["sh", "-ec", script])
    assert made.wait() == 0
    made.commit("filled")
    script = "cat /srv/d/a; stat -c '%u:%g %a' /srv/d /srv/d/a"
    options = {"volumes": ["data:/srv/d"]}
    first = own.run("filled", ["sh", "-c", f"{script}; rm /srv/d/a; echo b > /srv/d/b"], text=True, **options)  # type: ignore[call-overload]
    assert first.stdout == "a\n7:8 1770\n7:8 644\n"
    assert own.run("filled", ["ls", "/srv/d"], text=True, **options).stdout == "b\n"  # type: ignore[call-overload]
    assert own.run("filled", ["ls", "/srv/d"], volumes=["empty:/srv/d:nocopy"]).stdout == b""
    assert own.run("filled", ["ls", "/srv/d"], volumes=["empty:/srv/d"]).stdout == b"a\n"
    assert own.run("filled", ["ls", "/srv/d"], volumes=["other:/srv/d:ro"]).stdout == b"a\n"


def test_of_two_first_uses_at_once_neither_sees_half(own: Engine) -> None:
    made = own.start("busybox", ["sh", "-c", "mkdir /big; for i in $(seq 2000); do echo $i > /big/$i; done"])
    assert made.wait() == 0
    made.commit("big")
    for number in range(4):
        counts: list[str] = []

        def use(volume: str = f"v{number}", counts: list[str] = counts) -> None:
            counts.append(
                str(
                    own.run(
                        "big", ["sh", "-c", "ls /big | wc -l"], text=True, volumes=[f"{volume}:/big"]
                    ).stdout
                ).strip()
            )

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counts == ["2000"] * 4


def test_volume_that_is_used_is_not_removed(own: Engine) -> None:
    made = own.create("busybox", IDLE, volumes=["data:/d"])
    for _ in range(2):
        with pytest.raises(StillInUse, match=made.id):
            own.volumes.remove("data")
        assert own.volumes.prune(all=True).names == ()
        assert own.volumes.get("data").containers == (made.id,)
        made.start()
    made.remove(force=True, volumes=True)
    assert own.volumes.get("data").containers == ()
    own.volumes.remove("data")
    with pytest.raises(VolumeNotFound):
        own.volumes.remove("data")
    own.volumes.remove("data", force=True)


def test_volumes_without_a_name_go_as_in_docker(own: Engine, fresh_cli: containers.Cli) -> None:
    out(own, "touch /a/x", volumes=["/a"])
    assert names(own) == []
    assert fresh_cli.run("-v", "/a", "--name", "named", "busybox", "ls", "/a").returncode == 0
    assert names(own) == []
    made = own.start("busybox", ["sh", "-c", "echo x > /a/x"], volumes=["/a"])
    made.wait()
    (name,) = names(own)
    assert len(name) == 64
    assert own.volumes.get(name).labels == {"com.docker.volume.anonymous": ""}
    mount = made.inspect()["Mounts"][0]
    assert (mount["Type"], mount["Name"], mount["Driver"], mount["RW"]) == ("volume", name, "local", True)
    made.remove()
    assert names(own) == [name]
    assert out(own, "cat /b/x", volumes=[f"{name}:/b"]) == "x\n"
    assert names(own) == [name]
    assert own.volumes.prune().names == (name,)
    made = own.create("busybox", volumes=["/a", "data:/d"])
    assert fresh_cli("rm", "-v", made.name).returncode == 0
    assert names(own) == ["data"]
    with own.container("busybox", IDLE, volumes=["/a"]):
        assert len(names(own)) == 2
    assert names(own) == ["data"]
    own.start("busybox", ["true"], volumes=["/a"], remove=True)
    wait_for(lambda: names(own) == ["data"])


def test_volumes_of_another_container(own: Engine, tmp_path: Path) -> None:
    first = own.create("busybox", IDLE, name="first", volumes=["/a", "data:/d", f"{tmp_path}:/b:ro"])
    first.start()
    first.run(["sh", "-c", "echo a > /a/f; echo d > /d/f"])
    (tmp_path / "f").write_text("b\n")
    assert out(own, "cat /a/f /d/f /b/f", volumes_from=["first"]) == "a\nd\nb\n"
    options = {"volumes_from": ["first:ro"], "volumes": ["other:/d"]}
    assert out(own, "touch /a/x 2>/dev/null || echo no; ls /d", **options) == "no\n"
    own.volumes.remove("other")
    second = own.create("busybox", IDLE, name="second", volumes_from=["first"])
    first.remove(force=True, volumes=True)
    assert len(names(own)) == 2
    second.start()
    assert second.run(["cat", "/a/f"]).stdout == b"a\n"
    second.remove(force=True, volumes=True)
    assert names(own) == ["data"]


def test_subpath_stays_beneath_the_volume(own: Engine) -> None:
    out(
        own,
        "mkdir -p /d/a/b; echo x > /d/a/b/f; ln -s /etc /d/etc; ln -s ../.. /d/up; ln -s a /d/in",
        volumes=["data:/d"],
    )
    for subpath, script, expected in (
        ("a/b", "cat /m/f", "x\n"),
        ("in", "cat /m/b/f", "x\n"),
        ("a/b/f", "cat /m", "x\n"),
    ):
        mounts = [volume_mount("data", "/m", subpath=subpath, read_only=True)]
        assert out(own, script, mounts=mounts) == expected
    for subpath, why in (("etc", "leads out"), ("up", "leads out"), ("missing", "no such file")):
        with pytest.raises(StartError, match=why) as failed:
            out(own, "true", mounts=[volume_mount("data", "/m", subpath=subpath)])
        assert f"what is at {subpath} in" in str(failed.value)


def test_files_of_an_image_are_mounted_read_only(own: Engine) -> None:
    script = "ls /i/bin/busybox; touch /i/x 2>/dev/null || echo no; cat /e/passwd | head -c 4"
    mounts = [image_mount("busybox", "/i"), image_mount("busybox", "/e", subpath="etc")]
    assert out(own, script, mounts=mounts) == "/i/bin/busybox\nno\nroot"
    image = own.images.get("busybox")
    made = own.create("busybox", IDLE, mounts=["type=image,source=busybox,target=/i"], name="holder")
    assert made.inspect()["Mounts"][0]["Type"] == "image"
    fork = made.fork(start=True)
    assert fork.run(["ls", "/i/bin/busybox"]).stdout == b"/i/bin/busybox\n"
    with pytest.raises(Unsupported):
        made.save(io.BytesIO())
    assert image.id


def test_image_whose_files_are_mounted_is_not_removed(own: Engine) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
    layer.seek(0)
    own.images.import_(layer, "files")
    made = own.create("busybox", ["cat", "/i/file"], mounts=["type=image,source=files,target=/i"])
    with pytest.raises(StillInUse):
        own.images.get("files").remove()
    assert own.prune(all=True).deleted == ()
    made.remove()
    assert own.images.get("files").remove().deleted


def test_drivers_options(own: Engine, tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    own.volumes.create("bound", options={"type": "none", "o": "bind", "device": str(directory)})
    out(own, "echo x > /d/f", volumes=["bound:/d"])
    assert (directory / "f").read_text() == "x\n"
    own.volumes.create("memory", options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=700"})
    line = out(own, "stat -c %a /d; grep ' /d ' /proc/self/mounts; echo x > /d/f", volumes=["memory:/d"])
    assert line.startswith("700\n")
    assert "tmpfs" in line
    assert "size=1024k" in line
    assert own.volumes.get("bound").inspect()["Options"]["device"] == str(directory)
    mounts = [
        f"type=volume,src=new,dst=/d,volume-opt=type=none,volume-opt=o=bind,volume-opt=device={directory}"
    ]
    assert out(own, "cat /d/f", mounts=mounts) == "x\n"
    own.volumes.remove("bound")
    assert (directory / "f").exists()
    directory.rename(tmp_path / "moved")
    with pytest.raises(InvalidOption, match="there is no"):
        out(own, "true", volumes=["new:/d"])


@pytest.mark.root
def test_file_system_of_a_device(own: Engine, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    loop = subprocess.run(["losetup", "--find", "--show", disk], capture_output=True, text=True, check=False)
    if loop.returncode:
        pytest.skip(f"no loop device: {loop.stderr}")
    device = loop.stdout.strip()
    try:
        own.volumes.create("disk", options={"type": "ext4", "device": device})
        before = Path("/proc/self/mountinfo").read_text()
        script = "touch /d/f; chown 1000 /d/f; stat -f -c %T /d"
        assert "ext" in out(own, script, volumes=["disk:/d"])
        assert out(own, "stat -c %u /d/f", volumes=["disk:/d:ro"]) == "1000\n"
        assert Path("/proc/self/mountinfo").read_text() == before
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def test_export_and_import(own: Engine, fresh_cli: containers.Cli, tmp_path: Path) -> None:
    out(own, "echo x > /d/f; mkdir -m 700 /d/e; chown 5:6 /d/f", volumes=["one:/d"])
    assert fresh_cli("volume", "export", "one", "-o", str(tmp_path / "one.tar")).returncode == 0
    with tarfile.open(tmp_path / "one.tar") as archive:
        found = {member.name.removeprefix("./"): member for member in archive}
        assert (found["f"].uid, found["f"].gid, found["e"].mode) == (5, 6, 0o700)
    assert fresh_cli("volume", "export", "one").stdout == (tmp_path / "one.tar").read_bytes()
    own.volumes.create("two", labels={"a": "b"})
    done = fresh_cli("volume", "import", "two", "-", input=(tmp_path / "one.tar").read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    assert own.volumes.get("two").labels == {"a": "b"}
    assert out(own, "cat /d/f; stat -c %u:%g /d/f", volumes=["two:/d"]) == "x\n5:6\n"
    with pytest.raises(Conflict):
        own.volumes.get("two").import_(tmp_path / "one.tar")
    three = own.volumes.create("three")
    with pytest.raises(ImageInvalid):
        three.import_(io.BytesIO(b"x" * 10_000))
    assert out(own, "ls -A /d", volumes=["three:/d"]) == ""
    assert not [name for name in staging.names(own._paths.ephemeral) if name.startswith("volume-")]


def test_container_takes_its_volumes_along(own: Engine, tmp_path: Path) -> None:
    from pycontain import Engine as Another

    made = own.start("busybox", ["sh", "-c", "echo n >> /d/f; echo a >> /a/f"], volumes=["data:/d", "/a"])
    made.wait()
    archive = io.BytesIO()
    made.save(archive, with_image=True)
    with Another(tmp_path / "other") as other:
        archive.seek(0)
        loaded = other.containers.load(archive)
        assert len(other.volumes.list()) == 2
        loaded.start()
        loaded.wait()
        assert loaded.read_bytes("/d/f") == b"n\nn\n"
        archive.seek(0)
        again = other.containers.load(archive)  # in place of it
        assert again.read_bytes("/d/f") == b"n\n"
        assert again.read_bytes("/a/f") == b"a\n"
        again.remove(volumes=True)
        assert names(other) == ["data"]
        archive.seek(0)
        with pytest.raises(Conflict, match="volume `data`"):
            other.containers.load(archive)
        other.volumes.remove("data")
        archive.seek(0)
        other.containers.load(archive).remove(volumes=True)


def test_fork_copies_what_is_the_containers_alone(own: Engine) -> None:
    first = own.start("busybox", IDLE, volumes=["data:/d", "/a"])
    first.run(["sh", "-c", "echo 1 > /d/f; echo 1 > /a/f"])
    first.stop()
    second = first.fork(start=True)
    second.run(["sh", "-c", "echo 2 > /d/f; echo 2 > /a/f"])
    first.start()
    assert first.run(["cat", "/d/f", "/a/f"]).stdout == b"2\n1\n"
    assert len(names(own)) == 3
    second.remove(force=True, volumes=True)
    assert len(names(own)) == 2


def test_commands(own: Engine, fresh_cli: containers.Cli) -> None:
    assert fresh_cli("volume", "create", "--label", "a=b", "data").stdout == b"data\n"
    assert fresh_cli("volume", "create", "data").stdout == b"data\n"
    anonymous = fresh_cli("volume", "create").stdout.decode().strip()
    assert len(anonymous) == 64
    listed = fresh_cli("volume", "ls").stdout.decode().splitlines()
    assert listed[0].split() == ["DRIVER", "VOLUME", "NAME"]
    assert sorted(line.split()[1] for line in listed[1:]) == sorted(["data", anonymous])
    assert fresh_cli("volume", "ls", "-q", "-f", "label=a=b").stdout == b"data\n"
    assert (
        fresh_cli("volume", "ls", "--format", '{{.Name}} {{.Label "a"}}', "-f", "name=dat").stdout
        == b"data b\n"
    )
    (document,) = json.loads(fresh_cli("volume", "inspect", "data").stdout)
    assert document.keys() == {"CreatedAt", "Driver", "Labels", "Mountpoint", "Name", "Options", "Scope"}
    assert fresh_cli("inspect", "-f", "{{.Name}}", "data").stdout == b"data\n"
    made = own.create("busybox", volumes=["data:/d"], name="user")
    assert fresh_cli("volume", "ls", "-q", "-f", "dangling=true").stdout.decode().strip() == anonymous
    assert fresh_cli("volume", "ls", "-q", "-f", "dangling=false").stdout == b"data\n"
    assert fresh_cli("ps", "-aq", "--no-trunc", "-f", "volume=data").stdout.decode().strip() == made.id
    done = fresh_cli("volume", "rm", "data", "missing")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"volume is in use" in done.stderr
    assert b"no such volume: `missing`" in done.stderr
    assert fresh_cli("volume", "rm", "-f", "missing").stdout == b"missing\n"
    assert b"Local Volumes   2         1" in fresh_cli("system", "df").stdout
    lines = fresh_cli("system", "df", "-v").stdout.decode().splitlines()
    assert [line.split() for line in lines if line.startswith("data ")] == [["data", "1", "0B"]]
    pruned = fresh_cli("volume", "prune", input=b"y\n").stdout.decode()
    assert f"Deleted Volumes:\n{anonymous}\n" in pruned
    made.remove()
    assert b"Total reclaimed space: 0B" in fresh_cli("system", "prune", "--volumes", "-f").stdout
    assert names(own) == ["data"]
    assert b"data" in fresh_cli("volume", "prune", "-af").stdout
    assert names(own) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("volume", "create", "a/b"), b"no name of a volume"),
        (("volume", "create", "-d", "nfs", "data"), b"no volume driver `nfs`"),
        (("volume", "create", "-o", "foo=bar", "data"), b"takes type, device and o"),
        (("volume", "create", "-o", "type=nfs", "-o", "device=:/x", "data"), b"of type `nfs`"),
        (("volume", "inspect", "missing"), b"no such volume: `missing`"),
        (("volume", "export", "missing"), b"no such volume: `missing`"),
        (("volume", "ls", "-f", "foo=bar"), b"invalid filter `foo`"),
    ],
)
def test_mistakes_are_told_in_a_line(fresh_cli: containers.Cli, words: tuple[str, ...], told: bytes) -> None:
    done = fresh_cli(*words)
    assert done.returncode == 1
    assert told in done.stderr
    assert done.stderr.count(b"\n") <= 2


def test_mistakes_of_run_are_told_in_a_line(own: Engine, fresh_cli: containers.Cli) -> None:
    out(own, "touch /d/f", volumes=["data:/d"])
    for flags, told in (
        (["-v", "a b:/d"], b"no name of a volume"),
        (["--volume-driver", "nfs"], b"no volume driver `nfs`"),
        (["--volumes-from", "missing"], b"no such container: `missing`"),
        (["--mount", "type=volume,src=data,dst=/d,volume-subpath=missing"], b"no such file"),
        (["--mount", "type=image,src=host,dst=/d"], b"image `host` cannot be mounted"),
    ):
        done = fresh_cli.run(*flags, "busybox", "true")
        assert done.returncode == 125, done
        assert told in done.stderr
        assert b"Traceback" not in done.stderr


def test_events(own: Engine) -> None:
    made = own.start("busybox", ["true"], volumes=["data:/d"], name="user")
    made.wait()
    wait_for(lambda: made.status == "exited")
    made.remove()
    own.volumes.remove("data")
    found = [event for event in own.events(since=0, until="0s", type=["volume"]) if event.id == "data"]
    assert [event.action for event in found] == ["create", "mount", "unmount", "destroy"]
    assert found[1].attributes["destination"] == "/d"
    assert found[1].attributes["read/write"] == "true"
    assert {event.id for event in own.events(since=0, until="0s", volume=["data"])} == {"data"}


def test_full_disk_in_the_first_copy_leaves_nothing_half(own: Engine, tmp_path: Path) -> None:
    made = own.start(
        "busybox",
        ["sh", "-c", "mkdir /big; for i in 1 2 3 4; do head -c 1000000 /dev/urandom > /big/$i; done"],
    )
    made.wait()
    made.commit("big")
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(3 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", disk], check=True)
    loop = subprocess.run(["losetup", "--find", "--show", disk], capture_output=True, text=True, check=False)
    if loop.returncode or os.geteuid():
        pytest.skip("no loop device")
    device = loop.stdout.strip()
    try:
        own.volumes.create("small", options={"type": "ext4", "device": device})
        assert out(own, "rmdir /d/lost+found; ls -A /d", volumes=["small:/d:nocopy"]) == ""
        with pytest.raises(StartError, match="no space left"):
            own.run("big", ["true"], volumes=["small:/big"])
        assert out(own, "ls -A /d", volumes=["small:/d:nocopy"]) == ""
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def test_nothing_is_left(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    engine.run(busybox, ["sh", "-c", "echo x > /a/x; echo x > /d/x"], volumes=["/a", "left:/d"])
    with engine.container(busybox, IDLE, volumes=["/a", "left:/d"]) as running:
        assert running.run(["ls", "/d"]).stdout == b"x\n"
    with pytest.raises(StartError):
        engine.run(busybox, ["missing"], volumes=["/a", "left:/d"])
    engine.volumes.remove("left")
    assert engine.volumes.list() == ()


@pytest.mark.rootless
def test_volume_of_an_ordinary_user_is_that_users(own: Engine) -> None:
    script = "touch /d/root; touch /d/mine; chown 1000:1000 /d/mine; stat -c %u /d/root /d/mine"
    assert out(own, script, volumes=["data:/d"]) == "0\n1000\n"
    place = own.volumes.get("data").mountpoint
    assert os.stat(f"{place}/root").st_uid == os.geteuid()
    assert os.stat(f"{place}/mine").st_uid not in {0, 1000, os.geteuid()}
    own.volumes.remove("data")
    assert staging.names(own._paths.volumes) == []
