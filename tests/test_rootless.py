"""An ordinary user with subordinate ids: the same containers, and no way to what is not that user's."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from containers import NAMESPACES, seconds
from detached import wait_for

if TYPE_CHECKING:
    from containers import Cli
    from leftovers import Watch
    from pycontain import Engine

pytestmark = [pytest.mark.rootless, pytest.mark.timeout(seconds(60) + 60)]


def test_hosts_programs_run(cli: Cli, engine: Engine, nothing_left: Watch) -> None:
    script = "id -u; hostname > /tmp/name; cat /proc/1/comm; ls -A /root /home; cat /etc/shadow 2>&1 | wc -c"
    run = cli.run("host", "sh", "-c", script)
    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout.split()[:2] == [b"0", b"sh"]
    assert engine.run("host", ["sh", "-c", "echo x > /etc/new && cat /etc/new"]).stdout == b"x\n"


def test_all_namespaces_are_its_own_and_ids_are_the_users(
    engine: Engine, busybox: str, nothing_left: Watch
) -> None:
    links = " ".join(f"/proc/self/ns/{name}" for name in NAMESPACES)
    script = f"for link in {links}; do readlink $link; done; cat /proc/self/uid_map"
    run = engine.run(busybox, ["sh", "-c", script], text=True)
    lines = str(run.stdout).splitlines()
    outside = [os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES]
    assert not set(lines[:8]) & set(outside)
    # its own map is said in the ids of the namespace around it, the launcher's, whose 0 is the user
    mapped = [tuple(map(int, line.split())) for line in lines[8:]]
    assert mapped[0] == (0, 0, 1)
    assert sum(count for _, _, count in mapped) >= 65536


def test_isolation_is_as_for_root(engine: Engine, busybox: str) -> None:
    script = (
        "echo $$; ls /sys/class/net;"
        "grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status | awk '{ print $2 }' | sort;"
        "cat /proc/kcore 2>/dev/null | wc -c; echo x > /dev/null && head -c 2 /dev/zero | wc -c;"
        "stat -c '%u' /home/worker/owned; cut -d: -f3 /proc/self/cgroup | sort -u"
    )
    run = engine.run(busybox, ["sh", "-c", script], text=True)
    assert str(run.stdout).split() == ["1", "lo", "0", "00000000a80425fb", "2", "0", "2", "1000", "/"]


def test_files_made_in_a_bind_are_the_users(engine: Engine, busybox: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    engine.run(busybox, ["sh", "-c", "echo inside > /data/file"], volumes=[f"{tmp_path}:/data"])
    assert (tmp_path / "file").read_text() == "inside\n"
    assert (tmp_path / "file").stat().st_uid == os.getuid()


def test_users_of_the_image_are_there(engine: Engine, busybox: str) -> None:
    script = "id -u; touch /tmp/mine; stat -c %u /tmp/mine; cat /home/worker/owned"
    run = engine.run(busybox, ["sh", "-c", script], user="worker")
    assert run.stdout == b"1000\n1000\nby worker\n"


def test_user_without_subordinate_ids_has_one(cli: Cli, nothing_left: Watch) -> None:
    alone = {"PATH": "/nonexistent"}  # no newuidmap, as where nobody made ranges for users
    words = ["run", "--rm", "host", "sh", "-c", "id; touch /tmp/x; stat -c %U /tmp/x; cat /proc/self/uid_map"]
    run = cli(*words, env=alone)
    assert run.stderr == b""
    user, owner, mapping = run.stdout.decode().splitlines()
    assert user.startswith("uid=0(root) gid=0(root)")
    assert (owner, mapping.split()) == ("root", ["0", "0", "1"])
    for namespace in ("network", "pid", "ipc", "uts", "cgroupns", "userns"):
        run = cli("run", "--rm", f"--{namespace}", "host", "host", "sh", "-c", "ls /sys/class/net", env=alone)
        assert (run.returncode, run.stderr) == (0, b""), namespace
        assert sorted(run.stdout.decode().split()) == (
            sorted(os.listdir("/sys/class/net")) if namespace == "network" else ["lo"]
        )
    run = cli("run", "--rm", "--pid", "host", "host", "cat", f"/proc/{os.getpid()}/comm", env=alone)
    assert run.stdout == Path("/proc/self/comm").read_bytes()
    run = cli("run", "--rm", "-u", "1", "host", "true", env=alone)
    assert (run.returncode, run.stderr.count(b"\n")) == (125, 2)
    assert b"no such id" in run.stderr
    assert b"hint: lines for the user in /etc/subuid" in run.stderr
    run = cli("run", "--rm", "--group-add", "5", "host", "true", env=alone)
    assert run.returncode == 125
    assert b"/etc/subuid" in run.stderr


def test_exit_codes_come_back(engine: Engine, cli: Cli, busybox: str, nothing_left: Watch) -> None:
    codes = [
        engine.run(busybox, ["sh", "-c", f"exit {code}"], check=False).returncode for code in (0, 1, 255)
    ]
    assert codes == [0, 1, 255]
    assert cli.run(busybox, "no-such-command").returncode == 127
    assert cli.run(busybox, "/etc/passwd").returncode == 126
    assert cli.run("--pull", "never", "no-such-image", "true").returncode == 125


def test_streams_are_binary_and_separate(engine: Engine, busybox: str) -> None:
    data = bytes(range(256)) * 1000
    run = engine.run(busybox, ["sh", "-c", "cat; echo err >&2"], input=data)
    assert (run.stdout, run.stderr) == (data, b"err\n")


def test_what_only_root_could_do_is_refused(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    from pycontain import errors

    with pytest.raises(errors.PycontainError):
        engine.run(busybox, ["cat", "/host/etc/shadow"], volumes=["/:/host"])
    made = engine.run(busybox, ["mknod", "/tmp/disk", "b", "254", "0"], check=False)
    assert made.returncode != 0


def test_device_nodes_of_an_image_are_refused(cli: Cli, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "devices.tar", "w") as archive:
        node = tarfile.TarInfo("dev/console")
        node.type, node.devmajor, node.devminor = tarfile.CHRTYPE, 5, 1
        archive.addfile(node)
    refused = cli("import", tmp_path / "devices.tar", "devices")
    assert refused.returncode == 1
    message, hint = refused.stderr.decode().splitlines()
    assert message.endswith("layer entry `dev/console` is a device node, which needs root")
    assert hint.startswith("hint: make the archive without it")


def test_writes_do_not_reach_the_image(engine: Engine, busybox: str) -> None:
    engine.run(busybox, ["sh", "-c", "echo changed > /etc/passwd; rm /bin/ls; rm -r /home"])
    run = engine.run(busybox, ["sh", "-c", "head -n 1 /etc/passwd; ls -d /home/worker"])
    assert run.stdout == b"root:x:0:0:root:/root:/bin/sh\n/home/worker\n"


@pytest.mark.parametrize("pid", ["", "host"])
def test_stats_and_top_tell_of_what_runs(engine: Engine, busybox: str, pid: str) -> None:
    box = engine.start(busybox, ["sh", "-c", "sleep 1000 & while :; do :; done"], pid=pid)
    try:
        wait_for(lambda: box.stats().cpu > 0.1)
        found = box.stats()
        assert (found.pids, found.cpu_share > 0.01) == (2, True)
        assert 0 < found.memory < found.memory_limit
        assert len(box.top()[1]) == 2
    finally:
        box.remove(force=True)


def test_timeout_kills_everything_inside(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    with pytest.raises(TimeoutError):
        engine.run(busybox, ["sh", "-c", "setsid sleep 6000 & sleep 6000"], timeout=seconds(0.5))


def test_killing_the_command_line_kills_what_it_runs(cli: Cli, busybox: str, nothing_left: Watch) -> None:
    with cli.start(busybox, "sh", "-c", "echo ready; exec sleep 6000") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
