"""`fork`: a new container from the files of another; neither sees what the other then writes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import containers
import pytest
from pycontain.errors import ContainerNotFound, InvalidOption, NameInUse, Unsupported

if TYPE_CHECKING:
    from pycontain import Container, Engine

pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)

IDLE = ["sleep", "1000"]


def shell(container: Container, script: str) -> str:
    return str(container.run(["sh", "-ec", script], text=True).stdout)


def files(container: Container, names: str) -> dict[str, str | None]:
    """By name in `/srv`: their content."""
    found: dict[str, str | None] = {}
    for name in names.split():
        found[name] = shell(container, f"cat /srv/{name} 2>/dev/null || echo none").strip()
    return found


def shared(engine: Engine) -> list[str]:
    path = engine._paths.shared
    return os.listdir(path) if os.path.isdir(path) else []


WRITE = "mkdir -p /srv; echo old > /srv/kept; echo old > /srv/changed; echo old > /srv/removed; rm -r /home"


@pytest.mark.parametrize("stopped", [True, False])
def test_neither_sees_what_the_other_writes(own: Engine, stopped: bool) -> None:
    first = own.start("busybox", IDLE, name="first")
    shell(first, WRITE)
    if stopped:
        first.stop()
    second = first.fork("second", start=True)
    if stopped:
        first.start()
    shell(first, "echo 1 > /srv/changed; rm /srv/removed; echo 1 > /srv/new; mkdir /home")
    shell(second, "echo 2 > /srv/changed; rm /srv/kept; echo 2 > /srv/own")
    names = "kept changed removed new own"
    assert list(files(first, names).values()) == ["old", "1", "none", "1", "none"]
    assert list(files(second, names).values()) == ["none", "2", "old", "none", "2"]
    assert shell(second, "ls -d /home || true") == ""


def test_what_a_stopped_one_wrote_is_shared_and_not_copied(own: Engine) -> None:
    first = own.start("busybox", IDLE)
    shell(first, "dd if=/dev/zero of=/big bs=1M count=1 2>/dev/null")
    first.stop()
    inode = os.stat(f"{own._paths.containers}/{first.id}/upper/big").st_ino
    second = first.fork()
    (layer,) = shared(own)
    assert os.stat(f"{own._paths.shared}/{layer}/big").st_ino == inode
    for container in (first, second):
        assert os.listdir(f"{own._paths.containers}/{container.id}/upper") == []
    third = second.fork()  # neither wrote anything since
    assert shared(own) == [layer]
    first.remove()
    second.remove()
    assert shared(own) == [layer]
    third.start()
    assert shell(third, "stat -c %s /big").strip() == str(1 << 20)
    third.remove(force=True)
    assert shared(own) == []


def test_what_would_be_too_much_for_one_overlay_is_copied(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = own.start("busybox", IDLE)
    monkeypatch.setattr("pycontain.runtime.shared._MOST_LOWER", len(own.images.get("busybox").layers) + 2)
    for number in (1, 2):
        shell(first, f"echo {number} > /written; touch /{number}")
        first.stop()
        fork = first.fork(start=True)
        assert len(shared(own)) == 1
        assert shell(fork, "cat /written; ls /1") == f"{number}\n/1\n"
        first.start()


def test_it_is_like_the_original_but_for_its_id_and_name(own: Engine) -> None:
    first = own.start(
        "busybox", IDLE, labels={"a": "b"}, env={"X": "1"}, memory="64m", volumes=["/data"], name="first"
    )
    shell(first, "echo text > /data/file; chmod 1700 /data; chown 5:6 /data")
    second = first.fork()
    assert second.status == "running"
    one, other = first.inspect(), second.inspect()
    assert second.id != first.id
    assert second.name not in {"", "first"}
    assert second.labels == {"a": "b"}
    assert other["HostConfig"]["Memory"] == 64 << 20
    assert shell(second, "hostname; echo $HOSTNAME; echo $X").split() == [second.id[:12], second.id[:12], "1"]
    assert shell(second, "grep -c $(hostname) /etc/hosts") == "1\n"
    assert shell(second, "cat /data/file; stat -c '%a %u %g' /data") == "text\n1700 5 6\n"
    shell(second, "echo other > /data/file")
    assert shell(first, "cat /data/file") == "text\n"
    assert one["Mounts"][0]["Source"] != other["Mounts"][0]["Source"]
    assert Path(other["Mounts"][0]["Source"], "file").read_text() == "other\n"


def test_attributes_and_kinds_of_files_come_along(own: Engine) -> None:
    first = own.start("busybox", IDLE)
    shell(
        first,
        "mkdir /srv; cd /srv; echo x > a; ln a b; ln -s a c; mkfifo d; chmod 4711 a;"
        " chown 7:8 a; touch -d '2001-01-01 00:00:00' a; mkdir e; chmod 1777 e; chmod 0711 /srv",
    )
    look = "cd /srv; stat -c '%n %A %u %g %h %Y' a b d e .; readlink c; test a -ef b && echo same"
    expected = shell(first, look)
    assert "same" in expected
    assert shell(first.fork(), look) == expected
    first.stop()
    assert shell(first.fork(start=True), look) == expected


def test_diff_and_commit_know_what_was_written_before(own: Engine) -> None:
    first = own.start("busybox", IDLE)
    shell(first, f"{WRITE}; rm /etc/passwd")
    first.stop()
    second = first.fork(start=True)
    shell(
        second,
        "rm /srv/removed; echo new > /srv/changed; echo new > /srv/new; echo back > /etc/passwd; mkdir /home",
    )
    second.stop()
    wanted = "C /etc,C /etc/passwd,C /home,A /srv,A /srv/changed,A /srv/kept,A /srv/new"
    lines = [f"{one.kind} {one.path}" for one in second.diff()]
    assert [line for line in lines if not line.startswith("D /home")] == wanted.split(",")
    lines = [f"{one.kind} {one.path}" for one in first.diff()]
    assert lines[:3] == ["C /etc", "D /etc/passwd", "D /home"]
    image = second.commit("both:1")
    assert len(image.history) == 3
    out = own.run("both:1", ["sh", "-c", "cat /srv/*; cat /etc/passwd; ls /home"]).stdout
    assert out == b"new\nold\nnew\nback\n"
    names = own._paths.root + "/all.tar"
    second.export(names)
    listed = subprocess.run(["tar", "tf", names], capture_output=True, text=True, check=True).stdout.split()
    assert "srv/kept" in listed
    assert "srv/removed" not in listed


def test_running_one_goes_on(own: Engine) -> None:
    first = own.start("busybox", ["sh", "-c", "n=0; while :; do n=$((n+1)); echo $n > /n; sync; done"])
    shell(first, "until [ -s /n ]; do :; done")

    def number(container: Container) -> int:
        # it may have been about to write: then the file was empty, or became so while it was read
        return int(container.read_bytes("/n").strip(b"\0") or b"0")

    for _ in range(5):
        second = first.fork(start=False)
        assert second.status == "created"
        before = number(second)
        while number(first) <= before:
            pass
    assert first.status == "running"
    first.pause()
    assert first.fork().status == "running"
    assert first.status == "paused"


def test_image_of_this_machine_can_be_forked(own: Engine) -> None:
    first = own.start("host", IDLE)
    shell(first, "echo text > /usr/local/forked; rm /usr/bin/env")
    first.stop()
    second = first.fork(start=True)
    assert shell(second, "cat /usr/local/forked; ls /usr/bin/env 2>/dev/null || echo gone") == "text\ngone\n"
    shell(second, "rm /usr/local/forked")
    first.start()
    assert shell(first, "cat /usr/local/forked") == "text\n"


def test_program_prints_the_id(own: Engine, fresh_cli: containers.Cli) -> None:
    own.start("busybox", IDLE, name="first")
    done = fresh_cli("container", "fork", "--name", "second", "first")
    assert (done.returncode, done.stderr) == (0, b"")
    assert own.containers.get("second").id == done.stdout.decode().strip()
    assert own.containers.get("second").status == "running"
    done = fresh_cli("container", "fork", "--no-start", "--name", "third", "first")
    assert own.containers.get("third").status == "created"


def test_what_cannot_be_forked_is_told_and_leaves_nothing(
    own: Engine, fresh_cli: containers.Cli, tmp_path: Path
) -> None:
    first = own.create("busybox", IDLE, name="first")
    before = sorted(os.listdir(own._paths.containers)), sorted(os.listdir(own._paths.names))
    with pytest.raises(NameInUse):
        first.fork("first")
    with pytest.raises(InvalidOption):
        first.fork("b!")
    done = fresh_cli("container", "fork", "nobody")
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, b"pycontain: no such container: `nobody`")
    assert (sorted(os.listdir(own._paths.containers)), sorted(os.listdir(own._paths.names))) == before
    (tmp_path / "rootfs").mkdir()
    plain = own.create("", IDLE, rootfs=f"{tmp_path}/rootfs:rw")
    with pytest.raises(Unsupported, match="its root is a directory of this machine"):
        plain.fork()
    first.remove()
    with pytest.raises(ContainerNotFound):
        first.fork()


def test_layer_of_a_fork_that_was_not_finished_is_collected(own: Engine) -> None:
    first = own.start("busybox", IDLE)
    shell(first, "echo 1 > /written")
    first.stop()
    fork = first.fork()
    first.remove()
    assert len(shared(own)) == 1
    os.unlink(f"{own._paths.containers}/{fork.id}/container.json")  # as a kill before the last step leaves it
    own.prune()
    assert os.listdir(own._paths.containers) == shared(own) == []


def test_killed_fork_loses_nothing(own: Engine, fresh_cli: containers.Cli) -> None:
    first = own.start("busybox", IDLE, name="first")
    shell(first, "mkdir /srv; for n in $(seq 300); do echo $n > /srv/$n; done")
    expected = shell(first, "cat /srv/*")
    first.stop()

    def fork(number: int) -> list[str | Path]:
        return [fresh_cli.program, "container", "fork", "--name", f"fork{number}", "first"]

    until_some_moment = containers.moments(
        7, lambda: subprocess.run(fork(0), env=fresh_cli.environment, check=True, capture_output=True)
    )
    for number in range(1, 25):
        first.start()
        shell(first, f"echo {number} > /number")
        if number % 2:
            first.stop()
        with subprocess.Popen(fork(number), env=fresh_cli.environment, stdout=subprocess.PIPE) as process:
            until_some_moment()
            process.kill()
        if first.status == "paused" or number % 2 == 0:
            first.stop()
        assert first.read_bytes("/number") == f"{number}\n".encode()
        assert b"".join(first.read_bytes(f"/srv/{n}") for n in (1, 150, 300)) == b"1\n150\n300\n"
    for container in own.containers.list(all=True):
        if container != first:
            container.start()
            assert shell(container, "cat /srv/*") == expected
            container.remove(force=True)
    first.remove()
    own.prune()
    assert os.listdir(own._paths.containers) == shared(own) == os.listdir(own._paths.ephemeral) == []
