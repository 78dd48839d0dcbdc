"""What a container cannot see and cannot do, looked at from inside."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from containers import DEFAULT_CAPABILITIES, NAMESPACES, OWN_IDS, fields, mounts, seconds

if TYPE_CHECKING:
    from containers import BothWays, Cli
    from pycontain import Engine

OF_THE_C_LIBRARY = 1 << 31 | 1 << 32  # two signals whose state a program cannot set, and inherits
DEVICES = {"full", "null", "random", "tty", "urandom", "zero"}
LINKS = {"core", "fd", "ptmx", "stderr", "stdin", "stdout"}
DIRECTORIES = {"mqueue", "pts", "shm"}


def look(engine: Engine, image: str, command: str) -> str:
    return engine.run(image, ["sh", "-c", command], text=True).stdout


def test_all_eight_namespaces_are_its_own(both: BothWays, engine: Engine, busybox: str) -> None:
    script = "for name in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$name; done"
    inside = look(engine, busybox, script).split()
    assert [link.partition(":")[0] for link in inside] == list(NAMESPACES)
    outside = [os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES]
    assert not set(inside) & set(outside)


def test_two_containers_share_no_namespace_and_no_id(engine: Engine, busybox: str, tmp_path: Path) -> None:
    found: list[str] = []
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    # each waits for the other, so both are there at once
    script = (
        "for name in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$name; done;"
        "cat /proc/self/uid_map;"
        "touch /meeting/$0; while [ $(ls /meeting | wc -l) -lt 2 ]; do sleep 0.05; done"
    )

    def one(name: str) -> None:
        run = engine.run(
            busybox,
            ["sh", "-c", script, name],
            text=True,
            volumes=[f"{meeting}:/meeting"],
            timeout=seconds(30),
        )
        found.append(run.stdout)

    threads = [threading.Thread(target=one, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = (set(text.splitlines()) for text in found)
    assert not first & second
    ranges = []
    for text in found:
        inside, outside, count = map(int, text.splitlines()[-1].split())
        assert (inside, count) == (0, 65536)
        ranges.append(range(outside, outside + count))
    assert max(ranges[0][0], ranges[1][0]) > min(ranges[0][-1], ranges[1][-1])


def test_ids_are_a_range_of_65536_far_from_the_hosts(engine: Engine, busybox: str) -> None:
    for kind in ("uid", "gid"):
        inside, outside, count = map(int, look(engine, busybox, f"cat /proc/self/{kind}_map").split())
        assert (inside, count) == (0, 65536)
        if os.geteuid() == 0:  # a user's are those of /etc/subuid
            assert outside in OWN_IDS
            assert outside + count - 1 in OWN_IDS


def test_command_is_process_1_and_sees_no_other(engine: Engine, busybox: str) -> None:
    assert look(engine, busybox, "echo $$; echo /proc/[0-9]*").split() == ["1", "/proc/1"]


def test_hostname_is_its_own(both: BothWays) -> None:
    names = {both.engine.run(both.image, "hostname").stdout for _ in range(2)}
    assert len(names) == 2
    assert all(re.fullmatch(rb"[0-9a-f]{12}\n", name) for name in names if isinstance(name, bytes))


def test_setting_the_hostname_does_not_reach_the_host(engine: Engine, busybox: str) -> None:
    before = os.uname().nodename
    engine.run(busybox, ["hostname", "elsewhere"], check=False, cap_add=["SYS_ADMIN"])
    assert os.uname().nodename == before


def test_only_the_loopback_interface_is_there_and_up(engine: Engine, busybox: str) -> None:
    assert look(engine, busybox, "ls /sys/class/net").split() == ["lo"]
    assert "1 packets received" in look(engine, busybox, "ping -c 1 -w 5 127.0.0.1")


def test_cgroup_namespace_hides_where_it_is(engine: Engine, busybox: str) -> None:
    lines = look(engine, busybox, "cat /proc/self/cgroup").splitlines()
    assert lines
    assert {line.split(":", 2)[2] for line in lines} == {"/"}


def test_mounts_show_no_path_of_the_host(engine: Engine, engine_root: str, busybox: str) -> None:
    mountinfo = look(engine, busybox, "cat /proc/self/mountinfo")
    assert engine_root not in mountinfo
    assert str(Path(engine_root).parent) not in mountinfo
    by_target = mounts(mountinfo)
    assert by_target["/"].type == "overlay"
    assert "/work" not in by_target
    expected = {"/proc": "proc", "/sys": "sysfs", "/dev": "tmpfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs"}
    assert {target: by_target[target].type for target in expected} == expected
    assert by_target["/dev/mqueue"].type == "mqueue"


def test_mounts_are_private(engine: Engine, busybox: str) -> None:
    for line in mounts(look(engine, busybox, "cat /proc/self/mountinfo")).values():
        assert not [tag for tag in line.propagation if tag.startswith("shared:")], line


def test_host_mount_table_shows_nothing_while_a_container_runs(cli: Cli, busybox: str) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    with cli.start(busybox, "sh", "-c", "echo started; sleep 600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        during = Path("/proc/self/mountinfo").read_text()
        process.terminate()
    assert during == before


def test_files_of_the_host_kernel_are_masked(engine: Engine, busybox: str) -> None:
    script = (
        "cd /proc; for f in kcore keys timer_list interrupts; do wc -c < $f; done; ls /sys/firmware | wc -l"
    )
    assert set(look(engine, busybox, script).split()) == {"0"}


@pytest.mark.parametrize(
    "path", ["/proc/sys/kernel/domainname", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity"]
)
def test_kernel_settings_refuse_writes(engine: Engine, busybox: str, path: str) -> None:
    if not os.path.exists(path):
        pytest.skip(f"this kernel has no {path}")
    run = engine.run(busybox, ["sh", "-c", f"echo 1 > {path}"], check=False, text=True)
    assert run.returncode != 0
    assert "Read-only file system" in str(run.stderr)


@pytest.mark.parametrize("directory", ["/sys", "/sys/fs/cgroup", "/proc/sys", "/proc/bus"])
def test_kernel_file_systems_are_read_only(engine: Engine, busybox: str, directory: str) -> None:
    by_target = mounts(look(engine, busybox, "cat /proc/self/mountinfo"))
    assert "ro" in by_target[directory].options


def test_cgroup_mounts_are_read_only_and_show_only_its_own(engine: Engine, busybox: str) -> None:
    by_target = mounts(look(engine, busybox, "cat /proc/self/mountinfo"))
    found = [line for line in by_target.values() if line.type in {"cgroup", "cgroup2"}]
    assert found
    for line in found:
        assert "ro" in line.options
        assert line.root == "/"


def test_dev_has_dockers_devices_and_no_other(engine: Engine, busybox: str) -> None:
    listed = look(engine, busybox, "cd /dev; for f in *; do stat -c '%n %F' $f; done").splitlines()
    kinds = dict(line.split(" ", 1) for line in listed)
    assert {name for name, kind in kinds.items() if kind == "character special file"} == DEVICES
    assert {name for name, kind in kinds.items() if kind == "symbolic link"} == LINKS
    assert {name for name, kind in kinds.items() if kind == "directory"} == DIRECTORIES
    assert set(kinds) == DEVICES | LINKS | DIRECTORIES


def test_standard_devices_work(engine: Engine, busybox: str) -> None:
    script = (
        "echo x > /dev/null && head -c 3 /dev/zero | xxd -p && head -c 8 /dev/urandom | wc -c"
        " && head -c 8 /dev/random | wc -c && ! echo x 2>/dev/null > /dev/full"
    )
    assert look(engine, busybox, script).split() == ["000000", "8", "8"]


def test_device_nodes_cannot_be_made_nor_used(engine: Engine, busybox: str) -> None:
    run = engine.run(
        busybox, ["sh", "-c", "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk"], check=False, text=True
    )
    assert run.returncode != 0
    assert "Operation not permitted" in str(run.stderr)


def test_default_capabilities_are_dockers_fourteen(engine: Engine, busybox: str) -> None:
    status = fields(look(engine, busybox, "cat /proc/self/status"))
    assert int(status["CapEff"], 16) == DEFAULT_CAPABILITIES
    assert int(status["CapPrm"], 16) == DEFAULT_CAPABILITIES
    assert int(status["CapBnd"], 16) == DEFAULT_CAPABILITIES
    assert int(status["CapInh"], 16) == 0
    assert int(status["CapAmb"], 16) == 0


def test_ordinary_user_has_no_capability(engine: Engine, busybox: str) -> None:
    run = engine.run(busybox, ["cat", "/proc/self/status"], user="worker", text=True)
    status = fields(str(run.stdout))
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapAmb"], 16) == 0
    assert int(status["CapBnd"], 16) == DEFAULT_CAPABILITIES


def test_seccomp_filters_and_privileges_may_be_gained(engine: Engine, busybox: str) -> None:
    status = fields(look(engine, busybox, "cat /proc/self/status"))
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "0"


def test_seccomp_refuses_a_new_user_namespace(engine: Engine, busybox: str) -> None:
    run = engine.run(busybox, ["unshare", "--user", "true"], check=False, text=True)
    assert run.returncode != 0
    assert "Operation not permitted" in str(run.stderr)


def test_mounting_is_refused(engine: Engine, busybox: str) -> None:
    run = engine.run(busybox, ["mount", "-t", "tmpfs", "none", "/tmp"], check=False, text=True)
    assert run.returncode != 0
    assert "denied" in str(run.stderr) or "not permitted" in str(run.stderr)


def test_no_descriptor_but_the_streams_is_open(engine: Engine, busybox: str) -> None:
    # the fourth is that of the directory, which ls reads
    assert look(engine, busybox, "exec ls /proc/self/fd").split() == ["0", "1", "2", "3"]


def test_process_signals_are_as_a_program_expects(engine: Engine, busybox: str) -> None:
    status = fields(look(engine, busybox, "exec cat /proc/self/status"))
    for name in ("SigBlk", "SigIgn", "SigPnd"):
        assert int(status[name], 16) & ~OF_THE_C_LIBRARY == 0, name


def test_root_of_the_host_owns_nothing_of_the_containers_files(engine: Engine, busybox: str) -> None:
    script = "stat -c '%u %g' / /bin/busybox /etc/passwd /home/worker/owned /proc/1 /dev /dev/null /dev/shm"
    owners = look(engine, busybox, script).splitlines()
    assert owners == ["0 0", "0 0", "0 0", "1000 1000", "0 0", "0 0", "0 0", "0 0"]


def test_writes_do_not_reach_the_image(engine: Engine, busybox: str) -> None:
    look(engine, busybox, "echo changed > /etc/passwd; rm /bin/ls; touch /new")
    assert "root:x:0:0" in look(engine, busybox, "cat /etc/passwd; ls -l /bin/ls; ! test -e /new")


def test_identity_of_the_host_is_not_in_the_environment(
    engine: Engine, busybox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYCONTAIN_TEST_SECRET", "a secret of the caller")
    environment = engine.run(busybox, "env", text=True).stdout
    names = {line.partition("=")[0] for line in str(environment).splitlines()}
    assert names == {"PATH", "HOSTNAME", "HOME"}
