"""`container save` and `container load`: a container moves to another machine, here to another root."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any, cast

import containers
import pytest
from pycontain import Engine, Mount
from pycontain.errors import (
    Conflict,
    ImageInvalid,
    ImageNotFound,
    NameInUse,
    PathNotFound,
    PycontainError,
    StillInUse,
    Unsupported,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import IO

    from pycontain import Container

pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)
IDLE = ["sleep", "1000"]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Engine]:
    """An engine that has nothing."""
    with Engine(tmp_path / "other") as engine:
        yield engine
        for container in engine.containers.list(all=True):
            container.remove(force=True)


def saved(container: Container, *, incremental: bool = False, with_image: bool = False) -> bytes:
    archive = io.BytesIO()
    container.save(archive, incremental=incremental, with_image=with_image)
    return archive.getvalue()


def load(engine: Engine, archive: bytes, name: str | None = None) -> Container:
    return engine.containers.load(io.BytesIO(archive), name=name)


def members(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        return [name.partition("/")[0] for name in found.getnames()]


def shell(container: Container, script: str) -> str:
    return str(container.run(["sh", "-ec", script], text=True).stdout)


@pytest.mark.parametrize("running", [True, False])
def test_container_moves_with_all_that_it_is(own: Engine, other: Engine, running: bool) -> None:
    options = {"labels": {"a": "b"}, "env": {"X": "1"}, "memory": "64m", "volumes": ["/data"]}
    first = own.start("busybox", IDLE, name="web", **options)  # type: ignore[arg-type]
    shell(first, "echo text > /root/file; rm /etc/group; mkdir /home/x")
    shell(first, "echo data > /data/file; chmod 1700 /data")
    if not running:
        first.stop()
    second = load(other, saved(first, with_image=True))
    assert (second.id, second.name, second.labels) == (first.id, "web", {"a": "b"})
    assert second.status == ("created" if running else "exited")
    assert second.inspect()["State"]["ExitCode"] == (0 if running else 137)
    second.start()
    look = "cat /root/file /data/file; ls -d /home/x; ls /etc/group 2>/dev/null || echo gone; echo $X"
    assert shell(second, look) == "text\ndata\n/home/x\ngone\n1\n"
    assert shell(second, "stat -c %a /data; hostname").split() == ["1700", first.id[:12]]
    assert second.inspect()["HostConfig"]["Memory"] == 64 << 20
    assert other._paths.root in second.inspect()["Mounts"][0]["Source"]
    assert second.diff() == first.diff()
    second.commit("copy:1")
    assert other.run("copy:1", ["cat", "/root/file"]).stdout == b"text\n"


def test_second_archive_has_only_what_is_new(own: Engine, other: Engine) -> None:
    first = own.start("busybox", IDLE, name="web")
    shell(first, "dd if=/dev/urandom of=/big bs=64k count=32 2>/dev/null; echo one > /file")
    first.stop()
    whole = saved(first, incremental=True, with_image=True)
    assert members(whole) == ["container.json", "image.tar", "layers", "top", "end"]
    second = load(other, whole)
    first.start()
    shell(first, "echo two > /file; rm /etc/passwd")
    first.stop()
    news = saved(first, incremental=True)
    assert members(news) == ["container.json", "layers", "top", "end"]
    assert len(news) < 30_000 < len(whole)
    assert load(other, news) == second
    assert second.read_bytes("/file") == b"two\n"
    assert second.read_bytes("/big") == first.read_bytes("/big")
    with pytest.raises(PathNotFound):
        second.read_bytes("/etc/passwd")
    assert len(os.listdir(other._paths.shared)) == 2
    assert members(saved(first, incremental=True)) == ["container.json", "top", "end"]
    assert members(saved(first)) == ["container.json", "layers", "layers", "top", "end"]
    second.remove()
    assert os.listdir(other._paths.shared) == []
    with pytest.raises(Conflict, match="only what is new"):
        load(other, news)
    assert other.containers.list(all=True) == ()
    assert os.listdir(other._paths.shared) == os.listdir(other._paths.ephemeral) == []


def test_what_is_here_is_replaced_unless_it_runs(own: Engine, other: Engine) -> None:
    first = own.create("busybox", IDLE, name="web")
    first.write_bytes("/file", b"one")
    second = load(other, saved(first, with_image=True))
    second.rename("mine")
    second.write_bytes("/other", b"of this machine")
    second.start()
    first.write_bytes("/file", b"two")
    with pytest.raises(StillInUse):
        load(other, saved(first))
    second.stop()
    assert load(other, saved(first)) == second
    assert (second.name, second.read_bytes("/file")) == ("mine", b"two")
    with pytest.raises(PathNotFound):
        second.read_bytes("/other")
    other.create(other.images.list()[0].id, IDLE, name="web")
    with pytest.raises(NameInUse):
        load(other, saved(first), name="web")
    assert load(other, saved(first), name="again").name == "again"
    assert sorted(one.name for one in other.containers.list(all=True)) == ["again", "web"]
    assert sorted(os.listdir(other._paths.names)) == ["again", "web"]


def forged(archive: bytes, change: Callable[[Any], object]) -> bytes:
    """The archive with another `container.json`."""
    target = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=target, mode="w") as new:
        for member in old:
            data = cast("IO[bytes]", old.extractfile(member)).read()
            if member.name == "container.json":
                document = json.loads(data)
                change(document)
                data = json.dumps(document).encode()
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return target.getvalue()


def test_archive_gives_no_rights_that_are_not_told(own: Engine, other: Engine) -> None:
    made = own.create("busybox", IDLE, name="web", volumes=["/data"], security_opt=["no-new-privileges"])
    archive = saved(made, with_image=True)

    def rights(config: Any) -> None:
        config["linux"]["namespaces"] = [{"type": "mount"}]
        config["linux"]["maskedPaths"] = []
        config["linux"]["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
        config["process"]["capabilities"] = {"effective": ["CAP_SYS_ADMIN"]}
        config["process"]["noNewPrivileges"] = False
        config["annotations"] |= {"io.pycontain.privileged": "true", "io.pycontain.seccomp": "unconfined"}
        config["mounts"].append({"destination": "/h", "type": "bind", "source": "/", "options": ["rbind"]})
        config["mounts"].append({"destination": "/dev/shm", "type": "bind", "source": "/srv"})
        config["mounts"][0]["options"] = ["lowerdir+=/"]
        for mount in config["mounts"][1:]:
            if mount["type"] == "sysfs":
                mount["options"] = ["rw"]

    loaded = load(other, forged(archive, lambda document: rights(document["config"])))
    honest = json.loads(made._kept.own_config)
    config = json.loads(loaded._kept.own_config)
    for part in ("namespaces", "maskedPaths", "resources"):
        assert config["linux"][part] == honest["linux"][part]
    assert config["process"] == honest["process"]
    assert config["annotations"].keys() == honest["annotations"].keys()
    assert config["annotations"]["io.pycontain.seccomp"] == honest["annotations"]["io.pycontain.seccomp"]
    assert "lowerdir+=/" not in config["mounts"][0]["options"]
    known = [mount for mount in honest["mounts"] if mount["type"] not in {"overlay", "volume"}]
    assert all(mount in config["mounts"] for mount in known)
    assert loaded.inspect()["HostConfig"]["Binds"] == ["/:/h", "/srv:/dev/shm"]
    loaded.remove(volumes=True)

    def volume(config: Any) -> None:
        config["mounts"].append({"destination": "/h", "type": "volume", "source": "/"})

    def overlay(config: Any) -> None:
        config["mounts"].append({"destination": "/h", "type": "overlay", "options": ["lowerdir+=/"]})

    for wrong in (volume, overlay, lambda config: config.pop("process")):
        with pytest.raises(ImageInvalid):
            load(other, forged(archive, lambda document: wrong(document["config"])))  # noqa: B023


def test_of_a_state_only_how_it_ended_is_believed(own: Engine, other: Engine, tmp_path: Path) -> None:
    archive = saved(own.create("busybox", IDLE, name="web"), with_image=True)
    victim = tmp_path / "victim/empty"
    victim.mkdir(parents=True)
    end = {"exit_code": 3, "finished": "2026-01-31T12:00:00.5Z", "oom_killed": True, "error": "so"}
    for status in ("running", "paused", "exited", "dead", "\x1b[2J"):
        forgery = {"status": status, "pid": 1, "cgroup": str(victim), "restart_count": 7, **end}
        loaded = load(other, forged(archive, lambda document: document.update(state=forgery)))  # noqa: B023
        state = loaded.inspect()["State"]
        assert state["Status"] == ("exited" if status == "exited" else "created")
        assert (state["Pid"], loaded.inspect()["RestartCount"]) == (0, 0)
        if status == "exited":
            assert [state[name] for name in ("ExitCode", "OOMKilled", "Error")] == [3, True, "so"]
            assert state["FinishedAt"] == end["finished"]
        loaded.start()
        loaded.kill()
        loaded.remove(force=True)
    assert victim.exists()


def test_what_options_asked_for_comes_along(own: Engine, other: Engine, tmp_path: Path) -> None:
    profile, variables = tmp_path / "profile.json", tmp_path / "variables"
    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    variables.write_text("A=1\n")
    options: list[dict[str, Any]] = [
        {"user": "1000:5", "cap_add": ["NET_RAW"], "tty": True, "workdir": "/tmp", "init": True},
        {"network": "host", "ipc": "host", "pid": "host", "uts": "host", "cgroupns": "host"},
        {"mounts": [Mount("tmpfs", "", "/m", ("size=1m",))], "tmpfs": {"/dev/shm": "size=1m"}},
        {"stop_timeout": -1, "memory": "64m", "cpus": 0.5, "ulimits": {"nofile": (99, 199)}, "remove": True},
        {
            "ipc": "none",
            "read_only": True,
            "hostname": "own",
            "log_driver": "none",
            "annotations": {"a": "b"},
        },
        {"security_opt": [f"seccomp={profile}"], "env_file": [variables], "label_file": [variables]},
    ]
    made = [own.create("busybox", IDLE, **one) for one in options]
    archives = [saved(one, with_image=True) for one in made]
    profile.unlink()
    variables.unlink()
    for first, archive in zip(made, archives, strict=True):
        second = load(other, archive)
        for part in ("Config", "HostConfig", "Mounts"):
            assert second.inspect()[part] == first.inspect()[part]
        of_first, of_second = (json.loads(one._kept.own_config) for one in (first, second))
        assert of_first["process"] == of_second["process"]
        assert of_first["linux"] == of_second["linux"]
        assert of_first["mounts"][1:] == of_second["mounts"][1:]
        assert of_first["annotations"].keys() == of_second["annotations"].keys()
        second.start()


OPTIONS = {"labels": {"a": "b"}, "volumes": ["/data"], "health_cmd": "true", "ulimits": {"nofile": (99, 199)}}
# where in the document, and what is there instead
WRONG = [
    ("record.created", 1e300),
    ("record.created", -1),
    ("record.image", "\x1b[2J"),
    ("record.image_id", "busybox"),
    ("record.command", []),
    ("record.labels", {"a": 1}),
    ("record.stop_signal", 0),
    ("record.stop_timeout", 5e9),
    ("record.health", {}),
    ("record.health.test", []),
    ("record.health.test", ["NEVER", "true"]),
    ("record.health.interval", 0),
    ("record.health.more", 1),
    ("record.options.memory", 5),
    ("record.options.memory", {"limit": 5}),
    ("record.options.restart", ["always"]),
    ("record.options.log_driver", "none of ours"),
    ("record.options.no_such", 1),
    ("record.options.annotations", 5),
    ("record.options.security_opt", 5),
    ("record.options.ulimits", {"nofile": [1, 2, 3]}),
    ("config", []),
    ("config", {}),
    ("config.process", {}),
    ("config.process.env", "PATH=/bin"),
    ("config.process.cwd", 5),
    ("config.process.user", {"uid": -1, "gid": 0}),
    ("config.more", json.loads("[" * 900 + "]" * 900)),
    ("config.mounts", []),
    ("config.mounts", [{}, {}]),
    ("config.annotations", {"io.pycontain.files": "[]"}),
    ("config.annotations", {"io.pycontain.user": 5}),
    ("state", {"status": "exited", "finished": "zz"}),
    ("state", {"status": "exited", "started": "2026-13-31T12:00:00Z"}),
    ("state", {"status": "exited", "exit_code": 1 << 40}),
    ("layers", ["a" * 24, "a" * 24]),
    ("volumes", ["0", "0"]),
    ("volumes", [{"name": "..", "own": False, "labels": {}, "options": {}}]),
    ("volumes", [{"name": "aa", "own": False, "labels": {}, "options": {}}] * 2),
    ("volumes", [{"name": "aa", "own": False, "labels": {}, "options": {"type": "nfs", "device": "h:/x"}}]),
    ("volumes", []),
]


def test_what_an_archive_should_not_say_is_refused_and_leaves_nothing(own: Engine, other: Engine) -> None:
    made = own.create("busybox", IDLE, name="web", **OPTIONS)  # type: ignore[arg-type]
    archive = saved(made, with_image=True)
    for place, value in WRONG:

        def change(document: Any) -> None:
            *outer, last = place.split(".")  # noqa: B023
            for name in outer:
                document = document[name]
            document[last] = value  # noqa: B023

        with pytest.raises(PycontainError) as refused:
            load(other, forged(archive, change))
        assert "\n" not in str(refused.value), place
        assert "\x1b" not in str(refused.value), place
        assert other.containers.list(all=True) == other.images.list() == (), place
    assert not os.path.exists(other._paths.ephemeral)
    loaded = load(other, archive)
    assert loaded.inspect()["Config"] == made.inspect()["Config"]
    assert loaded.inspect()["HostConfig"] == made.inspect()["HostConfig"]


def test_bad_archives_are_told_and_leave_nothing(own: Engine, other: Engine) -> None:
    first = own.create("busybox", IDLE, name="web", volumes=["/data"])
    first.write_bytes("/file", os.urandom(100_000))
    with pytest.raises(ImageNotFound, match="the image of container `web` is not here"):
        load(other, saved(first))
    load(other, saved(first, with_image=True)).remove(volumes=True)
    archive = saved(first)
    chance = random.Random(9)
    end = archive.rindex(b"end\0")
    for length in (0, 100, 600, end, *(chance.randrange(end) for _ in range(15))):
        with pytest.raises(ImageInvalid):
            load(other, archive[:length])
    for old, new in (
        (b'"version":1', b'"version":2'),
        (first.id.encode(), b"../" * 21 + b"x"),
        (b'"name":"web"', b'"name":"/.."'),
    ):
        assert len(old) == len(new)
        with pytest.raises(PycontainError):
            load(other, archive.replace(old, new))
    assert other.containers.list(all=True) == ()
    other.prune()
    for path in (other._paths.containers, other._paths.shared, other._paths.ephemeral, other._paths.names):
        assert not os.path.isdir(path) or os.listdir(path) == []
    with pytest.raises(Unsupported):
        own.create("host", IDLE).save(io.BytesIO())


def test_processes_do_not_move_and_that_is_told(
    own: Engine, fresh_cli: containers.Cli, tmp_path: Path
) -> None:
    own.create("busybox", IDLE, name="web")
    criu = tmp_path / "criu"
    for script, reason in (
        (None, b"criu is not installed"),
        ("echo 'no such feature' >&2; exit 1", b"criu does not work on this machine: no such feature"),
        ("exit 0", b"pycontain cannot do that yet, although criu could"),
    ):
        if script is not None:
            criu.write_text(f"#!/bin/sh\n{script}\n")
            criu.chmod(0o755)
        done = fresh_cli("checkpoint", "create", "web", "one", env={"PATH": str(tmp_path)})
        assert done.returncode == 1
        first, hint = done.stderr.splitlines()
        assert first == b'pycontain: cannot make a checkpoint of container "web": ' + reason
        assert hint.startswith(b"hint: `pycontain container save`")


def test_it_goes_through_a_pipe(own: Engine, other: Engine, fresh_cli: containers.Cli) -> None:
    first = own.create("busybox", IDLE, name="web")
    there = os.environ | {"PYCONTAIN_ROOT": other._paths.root}
    program = str(fresh_cli.program)
    send = [program, "container", "save", "--incremental", "--with-image", "web"]
    receive = [program, "container", "load"]
    for content in (b"content", b"other"):
        first.write_bytes("/file", content)
        with subprocess.Popen(send, stdout=subprocess.PIPE, env=fresh_cli.environment) as sender:
            done = subprocess.run(receive, stdin=sender.stdout, env=there, capture_output=True, check=False)
        assert (sender.returncode, done.returncode, done.stderr) == (0, 0, b"")
        assert done.stdout.decode().strip() == first.id
        assert other.containers.get("web").read_bytes("/file") == content


@pytest.mark.root
def test_what_it_asked_of_names_and_ports_moves_along(own: Engine, other: Engine) -> None:
    own.create("busybox", ["true"], name="base").commit("serving", changes=["EXPOSE 80"])
    asked: dict[str, Any] = {"network": "bridge", "expose": ["90"], "publish_all": True, "dns": ["10.9.9.9"]}
    first = own.create("serving", IDLE, name="web", add_host=["db:10.9.9.8"], links=["db"], **asked)
    second = load(other, saved(first, with_image=True))
    before, after = first.inspect(), second.inspect()
    assert after["Config"]["ExposedPorts"] == before["Config"]["ExposedPorts"] == {"80/tcp": {}, "90/tcp": {}}
    for key in ("Dns", "ExtraHosts", "Links", "PublishAllPorts"):
        assert after["HostConfig"][key] == before["HostConfig"][key] is not None
    join = "io.pycontain.join"
    configs = [json.loads(one._now().config)["annotations"][join] for one in (first, second)]
    assert json.loads(configs[0]) == json.loads(configs[1])
