"""Options of the file system: read-only root, binds, tmpfs, shared memory, a directory as the root."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pycontain
import pytest
from containers import mounts
from pycontain import errors

if TYPE_CHECKING:
    from containers import BothWays, Cli
    from pycontain import Engine


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "shared"
    made.mkdir(mode=0o755)
    (made / "file").write_text("on the host\n")
    return made


def content(directory: Path) -> dict[str, tuple[int, int, int, int]]:
    """Everything below a directory with what can be seen to change."""
    found = {}
    for path in (directory, *directory.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_mode, status.st_uid, status.st_size, status.st_ctime_ns)
    return found


def test_read_only_root_refuses_writes_but_not_in_tmpfs(both: BothWays) -> None:
    script = "touch /file 2>&1; touch /dev/shm/file && touch /run/file && echo other places work"
    flags = "--read-only --tmpfs /run"
    out = both(flags, script, read_only=True, tmpfs=["/run"])
    assert out == "touch: /file: Read-only file system\nother places work\n"


def test_read_only_is_every_part_of_the_root_of_the_image_host(engine: Engine) -> None:
    script = "touch /f /usr/f /usr/lib/f /etc/f /bin/f 2>&1 | grep -c Read-only"
    assert engine.run("host", ["sh", "-c", script], text=True, read_only=True).stdout == "5\n"


def test_root_is_writable_unless_asked(both: BothWays) -> None:
    assert both("", "echo x > /file && cat /file") == "x\n"


def test_bind_shows_the_directory_and_takes_writes(both: BothWays, directory: Path) -> None:
    script = "cat /data/file; echo more >> /data/log; stat -c '%u %g' /data/log"
    assert both(f"-v {directory}:/data", script, volumes=[f"{directory}:/data"]) == "on the host\n0 0\n"
    assert (directory / "log").read_text() == "more\nmore\n"


def test_files_made_in_a_bind_belong_to_the_caller(both: BothWays, directory: Path) -> None:
    # it does have a user namespace of its own
    script = "grep -cv ' 0 *0 ' /proc/self/uid_map; mktemp /data/new.XXXXXX > /dev/null"
    assert both(f"-v {directory}:/data", script, volumes=[f"{directory}:/data"]) == "1\n"
    made = list(directory.glob("new.*"))
    assert len(made) == 2
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(os.geteuid(), os.getegid())}


@pytest.mark.root
def test_files_of_other_users_keep_their_numbers_in_a_bind(both: BothWays, directory: Path) -> None:
    os.chown(directory, 1000, 1000)
    os.chown(directory / "file", 1000, 50)
    script = "stat -c '%u %g' /data/file; touch /data/mine; stat -c '%u' /data/mine"
    flags = f"-u worker -v {directory}:/data"
    assert both(flags, script, user="worker", volumes=[f"{directory}:/data"]) == "1000 50\n1000\n"
    assert (directory / "mine").stat().st_uid == 1000


def test_read_only_bind_refuses_writes(both: BothWays, directory: Path) -> None:
    script = "cat /data/file; touch /data/new 2>&1"
    out = both(f"-v {directory}:/data:ro", script, status=1, volumes=[f"{directory}:/data:ro"])
    assert out == "on the host\ntouch: /data/new: Read-only file system\n"
    flags = ["--mount", f"type=bind,source={directory},target=/data,readonly"]
    bind = pycontain.bind(directory, "/data", read_only=True)
    assert both(flags, script, status=1, mounts=[bind]) == out
    assert not (directory / "new").exists()


def test_read_only_bind_cannot_be_made_writable(engine: Engine, busybox: str, directory: Path) -> None:
    script = "mount -o remount,bind,rw /data; umount /data; touch /data/new"
    run = engine.run(busybox, ["sh", "-c", script], volumes=[f"{directory}:/data:ro"], check=False)
    assert run.returncode != 0
    assert not (directory / "new").exists()


def test_single_file_can_be_bound(both: BothWays, directory: Path) -> None:
    file = directory / "file"
    script = "cat /etc/motd; echo on the host > /etc/motd; touch /etc/changed"
    assert both(f"-v {file}:/etc/motd", script, volumes={str(file): "/etc/motd"}) == "on the host\n"
    both(f"-v {file}:/etc/motd", "echo inside > /etc/motd", volumes={str(file): "/etc/motd"})
    assert file.read_text() == "inside\n"
    assert list(directory.iterdir()) == [file]


def test_missing_source_is_made_by_volume_and_refused_by_mount(
    both: BothWays, cli: Cli, engine: Engine, busybox: str, tmp_path: Path
) -> None:
    missing = tmp_path / "a" / "b"
    assert both(f"-v {missing}:/data", "ls -A /data; test -d /data", volumes=[f"{missing}:/data"]) == ""
    assert missing.is_dir()
    absent = tmp_path / "absent"
    run = cli.run("--mount", f"type=bind,source={absent},target=/data", busybox, "true")
    assert run.returncode == 125
    assert str(absent).encode() in run.stderr
    with pytest.raises(errors.PycontainError, match="absent"):
        engine.run(busybox, "true", mounts=[pycontain.bind(absent, "/data")])
    assert not absent.exists()


def test_what_is_mounted_below_a_bind_is_seen(engine: Engine, busybox: str) -> None:
    inside = engine.run(busybox, ["ls", "/host/dev/pts"], volumes=["/:/host:ro"]).stdout
    outside = os.listdir("/dev/pts")
    assert isinstance(inside, bytes)
    assert "ptmx" in inside.decode().split() or not outside


def test_bind_mount_in_the_container_does_not_show_the_hosts_later_mounts(
    engine: Engine, busybox: str, directory: Path
) -> None:
    run = engine.run(busybox, ["cat", "/proc/self/mountinfo"], volumes=[f"{directory}:/data"], text=True)
    assert mounts(str(run.stdout))["/data"].propagation == ()


def test_tmpfs_has_its_size_and_mode(both: BothWays) -> None:
    script = (
        "stat -c %a /scratch; df -k /scratch | tail -n 1 | awk '{ print $2 }'; ls -A /scratch;"
        "grep -c ' /scratch .*noexec' /proc/self/mountinfo"
    )
    flags = "--tmpfs /scratch:size=2m,mode=1750"
    assert both(flags, script, tmpfs={"/scratch": "size=2m,mode=1750"}).split() == ["1750", "2048", "1"]
    flags = "--mount type=tmpfs,target=/scratch,tmpfs-size=2m,tmpfs-mode=1750"
    out = both(flags, script, mounts=[pycontain.tmpfs_mount("/scratch", size="2m", mode=0o1750)], status=None)
    assert out.split()[:2] == ["1750", "2048"]


def test_tmpfs_is_full_at_its_size(both: BothWays) -> None:
    script = "head -c 3000000 /dev/zero > /scratch/file"
    both("--tmpfs /scratch:size=1m", script, status=1, tmpfs=["/scratch:size=1m"])


def test_shared_memory_has_its_size(both: BothWays) -> None:
    script = "df -k /dev/shm | tail -n 1 | awk '{ print $2 }'"
    assert both("", script) == "65536\n"
    assert both("--shm-size 8m", script, shm_size="8m") == "8192\n"


def test_directory_in_place_of_an_image_stays_as_it_is(cli: Cli, engine: Engine, rootfs: Path) -> None:
    before = content(rootfs)
    script = "echo changed > /etc/passwd; rm /bin/ls; touch /new; cat /etc/passwd"
    run = cli.run("--rootfs", rootfs, "/bin/sh", "-c", script)
    assert (run.returncode, run.stdout) == (0, b"changed\n"), run
    again = engine.run("", ["/bin/sh", "-c", "stat -c '%u %n' /home/worker/owned"], rootfs=rootfs)
    assert again.stdout == b"1000 /home/worker/owned\n"
    assert content(rootfs) == before


def test_directory_itself_is_the_root_when_asked(cli: Cli, engine: Engine, rootfs: Path) -> None:
    run = cli.run("--rootfs", f"{rootfs}:rw", "/bin/sh", "-c", "echo kept > /kept; cat /proc/self/uid_map")
    assert run.returncode == 0, run.stderr
    assert (rootfs / "kept").read_text() == "kept\n"
    assert (rootfs / "kept").stat().st_uid == os.geteuid()
    engine.run("", ["/bin/rm", "/kept"], rootfs=f"{rootfs}:rw")
    assert not (rootfs / "kept").exists()


def test_files_of_names_are_the_containers_own(both: BothWays) -> None:
    script = "grep localhost /etc/hosts | head -n 1; echo '10.0.0.1 own' >> /etc/hosts && grep own /etc/hosts"
    out = both("--network none", script, network="none")
    assert out.splitlines()[0].startswith("127.0.0.1")
    assert "own" not in Path("/etc/hosts").read_text()


@pytest.mark.parametrize("volume", ["/no/colon:relative", "/etc:/", "a:b:c:d"])
def test_volume_that_is_none_is_refused(cli: Cli, busybox: str, volume: str) -> None:
    run = cli.run("-v", volume, busybox, "true")
    assert run.returncode == 125
    assert len(run.stderr.splitlines()) <= 2


def test_target_cannot_lead_out_of_the_container(
    engine: Engine, tmp_path: Path, rootfs: Path, directory: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (rootfs / "escape").symlink_to(outside)
    run = engine.run(
        "", ["/bin/ls", "/escape/there"], rootfs=rootfs, volumes=[f"{directory}:/escape/there"], check=False
    )
    assert list(outside.iterdir()) == []
    assert run.stdout in {b"file\n", b""}


def test_set_user_id_programs_of_the_image_work(engine: Engine, busybox: str) -> None:
    script = (
        "cp /bin/busybox /tmp/id && chmod 4755 /tmp/id && exec setpriv --reuid 1000 --clear-groups /tmp/id -u"
    )
    mode = engine.run(
        busybox, ["sh", "-c", "cp /bin/busybox /tmp/id; chmod 4755 /tmp/id; stat -c %a /tmp/id"]
    ).stdout
    assert isinstance(mode, bytes)
    assert int(mode, 8) & stat.S_ISUID
    run = engine.run(busybox, ["sh", "-c", script], check=False)
    assert run.stdout in {b"0\n", b""}  # busybox may be built without setpriv's options


@pytest.mark.root
@pytest.mark.parametrize("recursive", ["enabled", "readonly", "writable"])
def test_read_only_bind_is_so_with_what_is_mounted_below(
    engine: Engine, busybox: str, recursive: str
) -> None:
    text = f"type=bind,source=/,target=/host,readonly,bind-recursive={recursive}"
    run = engine.run(busybox, ["cat", "/proc/self/mountinfo"], mounts=[text], text=True)
    lines = mounts(str(run.stdout))
    assert "ro" in lines["/host"].options
    assert ("rw" in lines["/host/dev"].options) == (recursive == "writable")
