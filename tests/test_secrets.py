"""Secrets and configs: what a container sees of them, when they are read, and that they are nowhere else."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import containers
import pycontain
import pytest
from detached import monitor_of
from pycontain import InvalidOption, StartError, Unsupported, config_file, secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    import leftovers
    from pycontain import Container, Engine

pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)

IDLE = ["sleep", "1000"]
PASSWORD = "correct-horse-battery-staple"  # nowhere else in this repository
MARKER = "a-marker-of-the-test"
ALL_BYTES = bytes(range(256)) * 3
SEES = """\
cat /run/secrets/db
stat -c '%a %u:%g %s' /run/secrets/db /etc/app.conf
(echo x > /run/secrets/db) 2>/dev/null || echo refused
rm -f /run/secrets/db 2>/dev/null || echo refused
grep ' /run/secrets/db ' /proc/self/mountinfo | cut -d ' ' -f 6-
"""


@pytest.fixture
def password(tmp_path: Path) -> Path:
    """A file of the host with a password."""
    made = tmp_path / "password"
    made.write_text(PASSWORD)
    return made


def written(container: Container) -> str:
    return "".join(entry.line for entry in container.logs())


def out(engine: Engine, script: str, image: str = "busybox", **options: object) -> str:
    return str(engine.run(image, ["sh", "-c", script], text=True, **options).stdout)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"read_only": True},
        {"userns": "host"},
        {"privileged": True},
        {"init": True},
        {"tmpfs": ["/run"]},
        {"name": "kept", "memory": "64m"},
        {"user": "1000:1000"},
    ],
    ids=repr,
)
def test_it_is_a_file_in_memory_that_nobody_writes(
    engine: Engine, busybox: str, password: Path, options: dict[str, Any]
) -> None:
    owner = 1000 if "user" in options else 0
    lines = out(
        engine,
        SEES,
        busybox,
        secrets=[secret("db", password, uid=owner)],
        configs=[config_file(password, "/etc/app.conf", uid=7, gid=8, mode=0o640)],
        **options,
    ).splitlines()
    size = len(PASSWORD)
    assert lines[0].removeprefix(PASSWORD) == f"400 {owner}:0 {size}"
    assert lines[1:4] == [f"640 7:8 {size}", "refused", "refused"]
    assert set(lines[4].split(" ")[0].split(",")) >= {"ro", "nosuid", "nodev", "noexec"}
    assert " tmpfs pycontain " in lines[4]


@pytest.mark.guest
def test_every_byte_is_as_it_was(engine: Engine, busybox: str, tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(ALL_BYTES)
    (tmp_path / "empty").touch()
    done = engine.run(
        busybox,
        ["cat", "/run/secrets/bytes", "/c", "/run/secrets/empty"],
        secrets={"bytes": tmp_path / "bytes", "empty": tmp_path / "empty"},
        configs={"/c": tmp_path / "bytes"},
    )
    assert done.stdout == ALL_BYTES * 2


@pytest.mark.root
def test_it_goes_to_no_swap(engine: Engine, busybox: str, password: Path) -> None:
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 4):
        pytest.skip("needs Linux 6.4")
    found = out(engine, "grep /run/secrets/db /proc/self/mountinfo", busybox, secrets={"db": password})
    assert "noswap" in found.split(" - ")[1]


def test_copy_of_the_monitor_goes_to_no_swap(own: Engine, password: Path) -> None:
    for options in ({}, {"secrets": {"db": password}}):
        made = own.start("busybox", IDLE, **options)  # type: ignore[arg-type]
        status = Path(f"/proc/{monitor_of(made)}/status").read_text()
        locked = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmLck:"))
        assert (locked > 0) == bool(options)


def test_only_its_owner_reads_it(engine: Engine, busybox: str, password: Path) -> None:
    script = "cat /run/secrets/db 2>/dev/null || echo no; cat /c"
    options: dict[str, Any] = {"user": "1000", "secrets": {"db": password}, "configs": {"/c": password}}
    assert out(engine, script, busybox, **options) == f"no\n{PASSWORD}"


def test_the_next_container_finds_no_trace(
    engine: Engine, busybox: str, password: Path, nothing_left: leftovers.Watch
) -> None:
    for _ in range(3):  # by then it may have what was made ahead
        assert out(engine, "cat /run/secrets/db", busybox, secrets={"db": password}) == PASSWORD
        assert out(engine, "ls -d /run/secrets 2>/dev/null; mount | grep -c pycontain", busybox) == "3\n"


def test_flags_and_options_agree(both: containers.BothWays, password: Path) -> None:
    flags = [
        "--secret",
        f"id=db,src={password},mode=0440,gid=5",
        "--config",
        f"source={password},target=/etc/app.conf,uid=9",
    ]
    script = "stat -c '%n %a %u:%g' /run/secrets/db /etc/app.conf"
    options: dict[str, Any] = {
        "secrets": [secret("db", password, gid=5, mode=0o440)],
        "configs": [config_file(password, "/etc/app.conf", uid=9)],
    }
    assert both(flags, script, **options) == "/run/secrets/db 440 0:5\n/etc/app.conf 444 9:0\n"


def test_variable_is_that_of_who_starts_it(own: Engine, fresh_cli: containers.Cli) -> None:
    words = ("--secret", "id=db,env=DB_PASSWORD", "busybox", "cat", "/run/secrets/db")
    done = fresh_cli("run", "--name", "box", *words, env={"DB_PASSWORD": PASSWORD})
    assert (done.returncode, done.stdout.decode()) == (0, PASSWORD)
    done = fresh_cli("start", "--attach", "box", env={"DB_PASSWORD": "another"})
    assert (done.returncode, done.stdout) == (0, b"another")
    done = fresh_cli("start", "box")
    assert done.returncode == 1
    first, hint = done.stderr.decode().splitlines()
    assert first == "pycontain: no secret `db`: the variable `DB_PASSWORD` is not set"
    assert hint.startswith("hint: each start reads it")
    assert own.containers.get("box").inspect()["State"]["Status"] == "exited"


def test_each_start_reads_it_again(own: Engine, password: Path) -> None:
    script = "cat /run/secrets/db; echo"
    made = own.create("busybox", ["sh", "-c", script], name="box", secrets={"db": password})
    for text in ("first", "second"):
        password.write_text(text)
        made.start()
        assert made.wait() == 0
    password.unlink()
    with pytest.raises(InvalidOption, match=f"cannot read secret `db` from `{password}`: no such file"):
        made.start()
    assert made.inspect()["State"]["Status"] == "exited"
    password.write_text("third")
    made.start()
    assert made.wait() == 0
    assert written(made) == "first\nsecond\nthird\n"


def test_restart_without_its_source_leaves_it_as_it_is(own: Engine, password: Path) -> None:
    made = own.start("busybox", IDLE, secrets={"db": password})
    pid = made.inspect()["State"]["Pid"]
    password.unlink()
    with pytest.raises(InvalidOption, match="no such file"):
        made.restart()
    assert made.inspect()["State"]["Pid"] == pid
    password.write_text("second")
    made.restart()
    assert made.read_bytes("/run/secrets/db") == b"second"


def test_what_is_started_again_by_itself_has_what_its_start_read(own: Engine, password: Path) -> None:
    script = "cat /run/secrets/db; echo; exit 1"
    made = own.create("busybox", ["sh", "-c", script], restart="on-failure:2", secrets={"db": password})
    made.start()
    password.unlink()
    assert made.wait() == 1
    assert written(made) == f"{PASSWORD}\n" * 3


def test_exec_and_cp_of_one_that_runs_see_it(own: Engine, password: Path, tmp_path: Path) -> None:
    made = own.start("busybox", IDLE, secrets={"db": password})
    assert made.run(["cat", "/run/secrets/db"], text=True).stdout == PASSWORD
    assert made.read_bytes("/run/secrets/db") == PASSWORD.encode()
    made.copy_out("/run/secrets/db", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == PASSWORD
    with pytest.raises(pycontain.PycontainError):
        made.write_bytes("/run/secrets/db", b"x")
    made.stop()
    assert made.read_bytes("/run/secrets/db") == b""


def files_below(top: Path) -> Iterator[bytes]:
    for directory, _, names in os.walk(top):
        for name in names:
            path = Path(directory, name)
            yield os.fsencode(path)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path.read_bytes()
            elif path.is_symlink():
                yield os.fsencode(os.readlink(path))


def processes() -> Iterator[bytes]:
    for number in filter(str.isdecimal, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                yield Path("/proc", number, name).read_bytes()


def unpacked(archive: bytes) -> Iterator[bytes]:
    """All that is in a tar, in tars in it, and in layers that are compressed."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for member in opened:
            file = opened.extractfile(member)
            if file is None:
                continue
            content = file.read()
            for magic, program in ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\x1f\x8b", "gzip")):
                if content.startswith(magic):
                    done = subprocess.run([program, "-dc"], input=content, capture_output=True, check=True)
                    content = done.stdout
            yield content
            with contextlib.suppress(tarfile.TarError):
                yield from unpacked(content)


@pytest.mark.root
def test_it_is_nowhere_else(
    own: Engine, fresh_cli: containers.Cli, password: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_TEST", f"{PASSWORD}-2")  # which the kernel does not show
    options: dict[str, Any] = {
        "secrets": [f"id=db,src={password}", "id=other,env=OF_THE_TEST"],
        "configs": [f"src={password},target=/etc/deep/app.conf"],
    }
    made = own.start("busybox", IDLE, name="box", init=True, health_cmd="true", restart="always", **options)
    made.run(["sh", "-c", f"echo {MARKER} > /run/own"])
    image = made.commit("committed")
    image.tag("committed:2")
    exported, saved, images = io.BytesIO(), io.BytesIO(), tmp_path / "images.tar"
    made.export(exported)
    made.save(saved)
    own.images.save(["committed"], images)
    fork = made.fork(start=True)
    explained = own.explain("busybox", IDLE, **options)
    assert "write /run/secrets/db /run/secrets/other /etc/deep/app.conf, read-only in memory" in explained
    told = [
        explained,
        json.dumps(made.inspect()),
        json.dumps(image.inspect()),
        written(made),
        str([event.attributes for event in own.events(since="1h", until="0s")]),
        repr(made.diff()),
        repr(made.top()),
    ]
    seen = [text.encode() for text in told]
    archives = [exported.getvalue(), saved.getvalue(), images.read_bytes()]
    assert not any(b"run/secrets/db" in place for place in unpacked(archives[2]))  # the mount point
    for found in ([*files_below(tmp_path / "root")], *([*unpacked(archive)] for archive in archives)):
        assert any(MARKER.encode() in place for place in found)  # it is all looked through
        seen += found
    seen += processes()
    assert [place for place in seen if PASSWORD.encode() in place] == []
    assert all("/run/secrets/" not in change.path and "deep" not in change.path for change in made.diff())
    assert fork.run(["cat", "/run/secrets/db"], text=True).stdout == PASSWORD
    members = made.inspect()["Config"]
    assert members["Secrets"][0] == {
        "Name": "db",
        "Source": str(password),
        "Target": "/run/secrets/db",
        "UID": 0,
        "GID": 0,
        "Mode": 0o400,
    }
    assert members["Secrets"][1]["Env"] == "OF_THE_TEST"
    assert members["Configs"][0]["Target"] == "/etc/deep/app.conf"


def test_archive_has_where_it_comes_from(own: Engine, password: Path) -> None:
    made = own.create(
        "busybox",
        ["cat", "/run/secrets/db", "/c"],
        name="box",
        secrets={"db": password},
        configs={"/c": password},
    )
    archive = io.BytesIO()
    made.save(archive)
    made.remove()
    password.write_text("of this machine")
    archive.seek(0)
    again = own.containers.load(archive)
    assert again.inspect()["Config"]["Secrets"][0]["Source"] == str(password)
    again.start()
    assert again.wait() == 0
    assert written(again) == "of this machine" * 2


def changed_archive(archive: bytes, change: Any) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=made, mode="w") as new:
        for member in old:
            file = old.extractfile(member)
            content = file.read() if file else b""
            if member.name == "container.json":
                document = json.loads(content)
                annotations = document["config"]["annotations"]
                files = json.loads(annotations["io.pycontain.secrets"])
                change(files, annotations)
                annotations["io.pycontain.secrets"] = json.dumps(files)
                content = json.dumps(document).encode()
                member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    made.seek(0)
    return made


@pytest.mark.parametrize(
    "change",
    [
        {"target": "/proc/sys/x"},
        {"target": "relative"},
        {"source": None},
        {"env": "A"},
        {"mode": 0o4755},
        {"name": "a\x1b[m"},
        {"further": 1},
    ],
    ids=repr,
)
def test_archive_with_a_secret_that_is_none_is_refused(
    own: Engine, password: Path, change: dict[str, Any]
) -> None:
    made = own.create("busybox", IDLE, name="box", secrets={"db": password})
    archive = io.BytesIO()
    made.save(archive)
    made.remove()
    with pytest.raises((pycontain.ImageInvalid, InvalidOption)):
        own.containers.load(changed_archive(archive.getvalue(), lambda files, _: files[0].update(change)))
    assert own.containers.list(all=True) == ()


def test_archive_brings_no_content(own: Engine, password: Path) -> None:
    made = own.create("busybox", ["cat", "/run/secrets/db"], name="box", secrets={"db": password})
    archive = io.BytesIO()
    made.save(archive)
    made.remove()
    smuggled = [{"target": "/bin/sh", "uid": 0, "gid": 0, "mode": 0o777, "content": "x"}]

    def add(_: object, annotations: dict[str, str]) -> None:
        annotations["io.pycontain.contents"] = json.dumps(smuggled)

    again = own.containers.load(changed_archive(archive.getvalue(), add))
    config = (Path(again._kept.path, "config.json")).read_text()
    assert "contents" not in config


@pytest.mark.parametrize(
    ("flags", "message", "hint"),
    [
        ("--secret id=a,src={}/none", "cannot read secret `a` from `{}/none`: no such file or", "host"),
        ("--config src={}", "cannot read config `{name}` from `{}`: it is a directory", "--volume"),
        ("--secret id=a,src={}/fifo", "cannot read secret `a` from `{}/fifo`: it is no regular file", ""),
        ("--secret id=a,src=/dev/zero", "cannot read secret `a` from `/dev/zero`: it is no regular file", ""),
        ("--secret id=a,env=NO_SUCH", "no secret `a`: the variable `NO_SUCH` is not set", "environment"),
        ("--secret id=a,src={}/large", "secret `a` has more than 500 KB", "--volume"),
        ("--config src={}/huge,target=/a", "config `huge` has more than 1000 KB", "--volume"),
        ("--secret id=a,src={}/ok,mode=9", "invalid value `id=a,src={}/ok,mode=9` for `--secret`", ""),
        ("--secret id=a,src={}/ok --config src={}/ok,dst=/run/secrets/a", "duplicate mount point", "target="),
        ("--config src={}/ok,target=/proc/x", "cannot put a file at `/proc/x` for `--config`", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_told_and_leaves_nothing(
    fresh: Engine,
    fresh_cli: containers.Cli,
    own: Engine,
    tmp_path: Path,
    flags: str,
    message: str,
    hint: str,
) -> None:
    place = tmp_path / "sources"
    place.mkdir()
    os.mkfifo(place / "fifo")
    (place / "large").write_bytes(bytes((500 << 10) + 1))
    (place / "huge").write_bytes(bytes((1000 << 10) + 1))
    (place / "ok").write_bytes(bytes(500 << 10))
    words = [word.replace("{}", str(place)) for word in flags.split()]
    for command, status in ("run", 125), ("create", 1):
        done = fresh_cli(command, *words, "busybox", "true")
        lines = done.stderr.decode().splitlines()
        assert (done.returncode, done.stdout) == (status, b"")
        assert lines[0].startswith(
            "pycontain: " + message.replace("{name}", place.name).replace("{}", str(place))
        )
        assert [line.startswith("hint: ") and hint in line for line in lines[1:]] == [True] * bool(hint)
    assert own.containers.list(all=True) == ()
    assert list((tmp_path / "root").glob("containers/*")) == []


def test_the_largest_are_had(engine: Engine, busybox: str, tmp_path: Path) -> None:
    for name, size in (("a", 500 << 10), ("b", 500 << 10), ("c", 1000 << 10)):
        (tmp_path / name).write_bytes(os.urandom(size))
    done = engine.run(
        busybox,
        ["cat", "/run/secrets/a", "/run/secrets/b", "/c"],
        secrets={"a": tmp_path / "a", "b": tmp_path / "b"},
        configs={"/c": tmp_path / "c"},
    )
    assert done.stdout == b"".join((tmp_path / name).read_bytes() for name in "abc")


@pytest.mark.root
def test_ids_that_the_container_has_not_are_told(
    engine: Engine, busybox: str, password: Path, nothing_left: leftovers.Watch
) -> None:
    with pytest.raises(Unsupported, match="cannot give /run/secrets/db to 65536:0") as caught:
        engine.run(busybox, "true", secrets=[secret("db", password, uid=65536)])
    assert "userns" in str(caught.value.hint)
    script = "stat -c %u:%g /run/secrets/db"
    options: dict[str, Any] = {"secrets": [secret("db", password, uid=65535, gid=65535)]}
    assert out(engine, script, busybox, **options) == "65535:65535\n"
    options = {"secrets": [secret("db", password, uid=70000)], "userns": "host"}
    assert out(engine, script, busybox, **options) == "70000:0\n"


def test_what_is_in_the_way_is_told(
    engine: Engine, busybox: str, password: Path, nothing_left: leftovers.Watch
) -> None:
    with pytest.raises(StartError, match="put a file in memory at /bin: is a directory"):
        engine.run(busybox, "true", configs={"/bin": password})


@pytest.mark.rootless
def test_an_ordinary_users_container_has_it(engine: Engine, busybox: str, password: Path) -> None:
    options: dict[str, Any] = {"secrets": [secret("db", password, uid=1, gid=1)]}
    script = "stat -c %u:%g /run/secrets/db; cat /run/secrets/db"
    assert out(engine, script, busybox, **options) == f"1:1\n{PASSWORD}"
