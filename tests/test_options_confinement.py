"""Options of the confinement: capabilities, seccomp, devices, namespaces, kernel parameters."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from containers import DEFAULT_CAPABILITIES, NAMESPACES, fields
from pycontain import errors

if TYPE_CHECKING:
    from containers import BothWays, Cli
    from pycontain import Engine
    from pycontain.options import ContainerOptions

CAPABILITY_STATUS = "grep -E '^Cap(Eff|Bnd)' /proc/self/status | awk '{ print $2 }'"
CHOWN, NET_ADMIN, NET_BIND_SERVICE = 1 << 0, 1 << 12, 1 << 10


def capabilities(out: str) -> tuple[int, int]:
    effective, bounding = (int(word, 16) for word in out.split())
    return effective, bounding


def test_capabilities_are_added(both: BothWays) -> None:
    out = both("--cap-add NET_ADMIN", CAPABILITY_STATUS, cap_add=["NET_ADMIN"])
    assert capabilities(out) == (DEFAULT_CAPABILITIES | NET_ADMIN,) * 2
    script = "ip link set lo mtu 1400; cat /sys/class/net/lo/mtu"
    assert both("--cap-add cap_net_admin", script, cap_add=["cap_net_admin"]) == "1400\n"


def test_capabilities_are_dropped(both: BothWays) -> None:
    out = both("--cap-drop CHOWN", CAPABILITY_STATUS, cap_drop=["CHOWN"])
    assert capabilities(out) == (DEFAULT_CAPABILITIES & ~CHOWN,) * 2
    both("--cap-drop chown", "chown 1 /etc/passwd 2>/dev/null", status=1, cap_drop=["chown"])


def test_all_capabilities_are_dropped_and_one_is_given_back(both: BothWays) -> None:
    flags = "--cap-drop ALL --cap-add NET_BIND_SERVICE"
    out = both(flags, CAPABILITY_STATUS, cap_drop=["ALL"], cap_add=["NET_BIND_SERVICE"])
    assert capabilities(out) == (NET_BIND_SERVICE, NET_BIND_SERVICE)


def test_unknown_capability_is_refused(cli: Cli, engine: Engine, busybox: str) -> None:
    run = cli.run("--cap-add", "FLYING", busybox, "true")
    assert run.returncode == 125
    assert b"FLYING" in run.stderr
    with pytest.raises(errors.InvalidOption, match="FLYING"):
        engine.run(busybox, "true", cap_drop=["FLYING"])


def test_no_new_privileges_takes_the_set_user_id_bit_away(both: BothWays) -> None:
    script = "grep NoNewPrivs /proc/self/status"
    out = both("--security-opt no-new-privileges", script, security_opt=["no-new-privileges"])
    assert fields(out) == {"NoNewPrivs": "1"}


def test_seccomp_can_be_left_out(both: BothWays) -> None:
    out = both(
        "--security-opt seccomp=unconfined",
        "grep Seccomp: /proc/self/status",
        security_opt=["seccomp=unconfined"],
    )
    assert fields(out) == {"Seccomp": "0"}


def test_seccomp_profile_of_the_users(both: BothWays, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    file.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    script = "mkdir /new 2>&1; grep Seccomp: /proc/self/status"
    out = both(f"--security-opt seccomp={file}", script, security_opt=[f"seccomp={file}"])
    assert "No space left on device" in out
    assert "2" in fields(out)["Seccomp"]


def test_seccomp_profile_that_is_none_is_refused(cli: Cli, busybox: str, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text("{")
    assert cli.run("--security-opt", f"seccomp={file}", busybox, "true").returncode == 125
    missing = cli.run("--security-opt", "seccomp=/no/such", busybox, "true")
    assert missing.returncode == 125
    assert b"/no/such" in missing.stderr


@pytest.mark.root
def test_privileged_is_root_on_the_host(both: BothWays) -> None:
    script = (
        "cat /proc/self/uid_map | tr -s ' '; grep -E '^(CapEff|Seccomp):' /proc/self/status; ls /dev | wc -l"
    )
    out = both("--privileged", script, privileged=True)
    assert out.splitlines()[0].split() == ["0", "0", "4294967295"]
    status = fields(out)
    own = fields(Path("/proc/self/status").read_text())
    assert int(status["CapEff"], 16) == int(own["CapBnd"], 16)
    assert status["Seccomp"] == "0"
    masked = "test -w /proc/sys/kernel/domainname && grep -c ' /proc/' /proc/self/mountinfo"
    assert both("--privileged", masked, status=1, privileged=True) == "0\n"


@pytest.mark.root
def test_privileged_has_the_hosts_devices(engine: Engine, busybox: str) -> None:
    run = engine.run(busybox, ["ls", "/dev"], privileged=True, text=True)
    nodes = {
        entry.name
        for entry in os.scandir("/dev")
        if entry.is_file(follow_symlinks=False) or _is_device(entry)
    }
    assert {name for name in nodes if name != "console"} <= set(str(run.stdout).split())


def _is_device(entry: os.DirEntry[str]) -> bool:
    path = Path(entry.path)
    return not entry.is_symlink() and (path.is_char_device() or path.is_block_device())


@pytest.mark.root
def test_device_of_the_host_can_be_used(both: BothWays, cli: Cli, engine: Engine, busybox: str) -> None:
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    script = "stat -c '%F %t:%T' /dev/fuse; true < /dev/fuse && echo opened"
    expected = "character special file a:e5\nopened\n"
    assert both("--device /dev/fuse", script, devices=["/dev/fuse"]) == expected
    out = both(
        "--device /dev/fuse:/dev/other:r",
        "true < /dev/other && ls /dev/fuse 2>&1",
        status=1,
        devices=["/dev/fuse:/dev/other:r"],
    )
    assert "No such file" in out
    with pytest.raises(errors.InvalidOption, match="/dev/none"):
        engine.run(busybox, "true", devices=["/dev/none"])
    assert cli.run("--device", "/dev/none", busybox, "true").returncode == 125


def test_device_may_be_anywhere_and_only_in_the_container(engine: Engine, busybox: str) -> None:
    devices = ["/dev/zero:/place/of/zero", "/dev/full:/dev/below/full"]
    script = "head -c 3 /place/of/zero | wc -c; ls -A /dev; echo > /dev/below/full"
    run = engine.run(busybox, ["sh", "-c", script], devices=devices, check=False, text=True)
    count, *names = str(run.stdout).split()
    assert count == "3"
    assert not [name for name in names if name.startswith(".") or name == "place"]
    assert "No space left" in str(run.stderr)
    assert not os.path.exists("/place")


@pytest.mark.root
@pytest.mark.limits
def test_device_that_was_not_given_is_refused(engine: Engine, busybox: str) -> None:
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    script = "mknod /tmp/fuse c 10 229 && true < /tmp/fuse"
    run = engine.run(busybox, ["sh", "-c", script], userns="host", check=False, text=True)
    assert run.returncode != 0
    assert "Operation not permitted" in str(run.stderr) or "can't open" in str(run.stderr)
    allowed = engine.run(
        busybox, ["sh", "-c", script], userns="host", device_cgroup_rules=["c 10:229 rmw"], check=False
    )
    assert allowed.returncode == 0, allowed


def test_network_none_has_only_lo(both: BothWays) -> None:
    assert both("--network none", "ls /sys/class/net", network="none") == "lo\n"


SHARED: dict[str, tuple[str, ContainerOptions]] = {
    "network": ("net", {"network": "host"}),
    "pid": ("pid", {"pid": "host"}),
    "ipc": ("ipc", {"ipc": "host"}),
    "uts": ("uts", {"uts": "host"}),
    "userns": ("user", {"userns": "host"}),
    "cgroupns": ("cgroup", {"cgroupns": "host"}),
}


@pytest.mark.root
@pytest.mark.parametrize("option", SHARED)
def test_namespace_is_the_hosts_when_asked(both: BothWays, option: str) -> None:
    kind, options = SHARED[option]
    script = "readlink /proc/self/ns/" + kind
    out = both(f"--{option} host", script, **options)
    assert out == os.readlink(f"/proc/self/ns/{kind}") + "\n"


@pytest.mark.root
@pytest.mark.parametrize("option", SHARED)
def test_other_namespaces_stay_its_own(engine: Engine, busybox: str, option: str) -> None:
    kind, options = SHARED[option]
    script = "for name in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$name; done"
    run = engine.run(busybox, ["sh", "-c", script], text=True, **options)
    inside = dict(zip(NAMESPACES, str(run.stdout).split(), strict=True))
    for name in set(NAMESPACES) - {kind, "user"}:
        assert inside[name] != os.readlink(f"/proc/self/ns/{name}"), name


@pytest.mark.root
def test_host_network_is_seen_with_its_name(engine: Engine, busybox: str) -> None:
    run = engine.run(busybox, ["sh", "-c", "hostname; ls /sys/class/net"], network="host", text=True)
    assert str(run.stdout).split() == [os.uname().nodename, *sorted(os.listdir("/sys/class/net"))]


@pytest.mark.root
def test_host_processes_are_seen(engine: Engine, busybox: str) -> None:
    run = engine.run(busybox, ["cat", f"/proc/{os.getpid()}/comm"], pid="host", text=True)
    assert run.stdout == Path("/proc/self/comm").read_text()


def test_ipc_none_has_no_shared_memory(both: BothWays) -> None:
    script = "grep -c ' /dev/shm ' /proc/self/mountinfo"
    assert both("--ipc none", script, status=1, ipc="none") == "0\n"


def test_userns_auto_is_the_default(both: BothWays) -> None:
    assert both("--userns auto", "awk '{ print $3 }' /proc/self/uid_map", userns="auto") == "65536\n"


def test_unknown_modes_are_refused(cli: Cli, engine: Engine, busybox: str) -> None:
    for option in ("network", "pid", "ipc", "uts", "userns", "cgroupns"):
        with pytest.raises(errors.PycontainError, match="elsewhere"):
            engine.run(busybox, "true", **{option: "elsewhere"})  # type: ignore[call-overload]
    run = cli.run("--network", "elsewhere", busybox, "true")
    assert run.returncode == 125
    assert b"elsewhere" in run.stderr


def test_sysctls_of_its_namespaces_are_set(both: BothWays) -> None:
    script = "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax"
    flags = "--sysctl net.core.somaxconn=77 --sysctl kernel.msgmax=4096"
    sysctls = {"net.core.somaxconn": 77, "kernel.msgmax": "4096"}
    before = Path("/proc/sys/kernel/msgmax").read_text()
    assert both(flags, script, sysctls=sysctls) == "77\n4096\n"
    assert Path("/proc/sys/kernel/msgmax").read_text() == before


@pytest.mark.parametrize("sysctl", ["kernel.panic=1", "vm.swappiness=1", "nonsense"])
def test_sysctls_of_the_host_are_refused(cli: Cli, engine: Engine, busybox: str, sysctl: str) -> None:
    run = cli.run("--sysctl", sysctl, busybox, "true")
    assert run.returncode == 125
    assert sysctl.partition("=")[0].encode() in run.stderr
    with pytest.raises(errors.PycontainError):
        engine.run(busybox, "true", sysctls=[sysctl])


def test_low_ports_need_no_privilege(engine: Engine, busybox: str) -> None:
    run = engine.run(busybox, ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"])
    assert run.stdout == b"0\n"


def test_system_paths_can_be_left_as_they_are(both: BothWays) -> None:
    script = "grep -c ' /proc/' /proc/self/mountinfo"
    option = "systempaths=unconfined"
    assert both(f"--security-opt {option}", script, status=1, security_opt=[option]) == "0\n"
