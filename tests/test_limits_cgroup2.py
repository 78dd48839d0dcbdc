"""Limits of cgroup v2: what the container's own files say, and that they bite; as root and as a user.

In the virtual machine a start takes seconds, so each container answers several questions.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import pytest
from containers import seconds

if TYPE_CHECKING:
    from containers import Cli
    from leftovers import Watch
    from pycontain import ContainerOptions, Engine

pytestmark = [pytest.mark.cgroup2, pytest.mark.timeout(seconds(60) + 60)]
MIB = 1 << 20
FILL = "dd if=/dev/zero of=/dev/shm/file bs=1M count=48"


def cgroup_files(engine: Engine, image: str, *names: str, **options: Unpack[ContainerOptions]) -> list[str]:
    """The content of files of the container's own cgroup."""
    script = 'cd /sys/fs/cgroup; for name in "$@"; do cat $name; echo =; done'
    run = engine.run(image, ["sh", "-c", script, "sh", *names], text=True, **options)
    return [part.strip() for part in str(run.stdout).split("=\n")[:-1]]


def test_limits_are_read_inside(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    options: ContainerOptions = {
        "memory": "64m",
        "memory_swap": "96m",
        "memory_reservation": "32m",
        "pids_limit": 20,
        "cpus": 0.5,
        "cpu_shares": 512,
        "cpuset_cpus": "0",
    }
    names = ("memory.max", "memory.low", "pids.max", "cpu.max", "cpuset.cpus")
    found = cgroup_files(engine, busybox, *names, **options)
    assert found == [str(64 * MIB), str(32 * MIB), "20", "50000 100000", "0"]
    # shares and weights are different scales; the order is kept
    more, less, usual = (
        int(cgroup_files(engine, busybox, "cpu.weight", cpu_shares=shares)[0]) for shares in (2048, 512, 1024)
    )
    assert more > usual > less


def test_limits_of_the_command_line(cli: Cli, busybox: str, nothing_left: Watch) -> None:
    script = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max cpuset.cpus"
    flags = "-m 64m --pids-limit 20 --cpus 0.5 --cpuset-cpus 0"
    run = cli.run(*flags.split(), busybox, "sh", "-c", script)
    assert run.stdout.decode().split() == [str(64 * MIB), "20", "50000", "100000", "0"], run


def test_swap_is_limited_beside_the_memory(engine: Engine, busybox: str) -> None:
    names = ("memory.max", "memory.swap.max")
    if not _own_file("memory.swap.max").exists():
        pytest.skip("this kernel does not count swap")
    found = cgroup_files(engine, busybox, *names, memory="64m", memory_swap="96m")
    assert found == [str(64 * MIB), str(32 * MIB)]


def test_disk_limits_are_read_inside(engine: Engine, busybox: str) -> None:
    disk = next((name for name in ("vda", "vdb", "sda", "nvme0n1") if os.path.exists(f"/dev/{name}")), None)
    if disk is None:
        pytest.skip("no disk that could be limited")
    if "io" not in _own_file("cgroup.controllers").read_text().split():
        pytest.skip("the controller io is not delegated")
    number = os.stat(f"/dev/{disk}").st_rdev
    (found,) = cgroup_files(
        engine,
        busybox,
        "io.max",
        device_read_bps=[f"/dev/{disk}:1mb"],
        device_write_iops=[f"/dev/{disk}:100"],
    )
    assert found == f"{os.major(number)}:{os.minor(number)} rbps={MIB} wbps=max riops=max wiops=100"


def test_cgroup_is_the_containers_own_root(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    script = "cat /proc/self/cgroup; head -n 1 /sys/fs/cgroup/cgroup.procs; grep cgroup2 /proc/self/mountinfo"
    run = engine.run(busybox, ["sh", "-c", script], text=True)
    own, first, mount = str(run.stdout).splitlines()
    assert (own, first) == ("0::/", "1")
    assert " / /sys/fs/cgroup ro," in mount


def test_memory_limit_kills_and_says_so(engine: Engine, cli: Cli, busybox: str, nothing_left: Watch) -> None:
    limits: ContainerOptions = {"memory": "16m", "memory_swap": "16m"}
    run = engine.run(busybox, FILL, check=False, **limits)
    assert (run.returncode, run.oom_killed) == (137, True)
    child = engine.run(busybox, ["sh", "-c", f"{FILL}; exit 3"], check=False, **limits)
    assert child.oom_killed
    within = engine.run(busybox, ["dd", "if=/dev/zero", "of=/dev/shm/file", "bs=1M", "count=4"], **limits)
    assert not within.oom_killed
    assert cli.run("-m", "16m", "--memory-swap", "16m", busybox, *FILL.split()).returncode == 137


def test_pids_limit_refuses_to_fork(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 6000 & done; echo all started"
    run = engine.run(busybox, ["sh", "-c", script], pids_limit=5, check=False)
    assert run.stdout != b"all started\n"
    assert run.returncode != 0


def test_cpu_limit_slows_down_and_is_counted(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    script = "until grep 'nr_throttled [1-9]' /sys/fs/cgroup/cpu.stat; do :; done"
    run = engine.run(busybox, ["sh", "-c", script], cpus=0.1, text=True, timeout=seconds(30))
    assert run.usage.cpu is not None
    assert run.usage.cpu > 0


def test_usage_is_what_was_used(engine: Engine, busybox: str) -> None:
    usage = engine.run(busybox, "dd if=/dev/zero of=/dev/shm/file bs=1M count=24").usage
    assert usage.memory_peak is None or usage.memory_peak > 24 * MIB  # kernels before 5.19 do not count it
    assert usage.cpu is not None


def test_timeout_kills_everything_inside(engine: Engine, busybox: str, nothing_left: Watch) -> None:
    with pytest.raises(TimeoutError):
        engine.run(busybox, ["sh", "-c", "setsid sleep 6000 & sleep 6000"], timeout=seconds(0.2))


def test_device_rules_are_enforced(engine: Engine, busybox: str) -> None:
    run = engine.run(busybox, ["sh", "-c", "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk"], check=False)
    assert run.returncode != 0
    assert engine.run(busybox, ["sh", "-c", "echo > /dev/null; head -c 1 /dev/zero | wc -c"]).stdout == b"1\n"


def _own_file(name: str) -> Path:
    own = Path("/proc/self/cgroup").read_text().strip().removeprefix("0::/")
    return Path("/sys/fs/cgroup") / own / name
