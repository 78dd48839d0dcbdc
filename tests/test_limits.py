"""Limits of control groups: what the container's own files say, and that they bite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from containers import seconds
from pycontain import errors

if TYPE_CHECKING:
    from containers import BothWays, Cli
    from leftovers import Watch
    from pycontain import Engine

pytestmark = pytest.mark.limits
MIB = 1 << 20
ONE_HIERARCHY = Path("/sys/fs/cgroup/cgroup.controllers").exists()
only_v1 = pytest.mark.skipif(
    ONE_HIERARCHY, reason="needs cgroup v1; tests/test_limits_cgroup2.py has its like for v2"
)
CGROUP = "/sys/fs/cgroup"
# writes to a file in memory, whose pages are the container's
FILL = "dd if=/dev/zero of=/dev/shm/file bs=1M count={} 2>/dev/null"


@only_v1
@pytest.mark.parametrize(
    ("flags", "options", "file", "expected"),
    [
        ("--memory 64m", {"memory": "64m"}, "memory/memory.limit_in_bytes", 64 * MIB),
        (
            "-m 64m --memory-swap 96m",
            {"memory": 64 * MIB, "memory_swap": "96m"},
            "memory/memory.limit_in_bytes",
            64 * MIB,
        ),
        (
            "-m 64m --memory-reservation 32m",
            {"memory": "64m", "memory_reservation": "32m"},
            "memory/memory.soft_limit_in_bytes",
            32 * MIB,
        ),
        ("--memory-swappiness 10", {"memory_swappiness": 10}, "memory/memory.swappiness", 10),
        ("--cpus 1.5", {"cpus": 1.5}, "cpu/cpu.cfs_quota_us", 150000),
        (
            "--cpu-period 50000 --cpu-quota 20000",
            {"cpu_period": 50000, "cpu_quota": 20000},
            "cpu/cpu.cfs_quota_us",
            20000,
        ),
        ("--cpu-shares 512", {"cpu_shares": 512}, "cpu/cpu.shares", 512),
        ("-c 256", {"cpu_shares": 256}, "cpu/cpu.shares", 256),
        ("--cpuset-cpus 0", {"cpuset_cpus": "0"}, "cpuset/cpuset.cpus", 0),
        ("--cpuset-mems 0", {"cpuset_mems": "0"}, "cpuset/cpuset.mems", 0),
        ("--pids-limit 20", {"pids_limit": 20}, "pids/pids.max", 20),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("-") else "",
)
def test_limit_is_read_inside(
    both: BothWays, flags: str, options: dict[str, object], file: str, expected: int
) -> None:
    out = both(flags, f"cat {CGROUP}/{file}", **options)  # type: ignore[arg-type]
    assert int(out) == expected


@only_v1
def test_memory_and_swap_together(both: BothWays) -> None:
    file = "memory/memory.memsw.limit_in_bytes"
    if not Path(f"/sys/fs/cgroup/{file}").exists():
        pytest.skip("this kernel does not count swap")
    assert (
        int(both("-m 64m --memory-swap 96m", f"cat {CGROUP}/{file}", memory="64m", memory_swap="96m"))
        == 96 * MIB
    )
    assert int(both("-m 64m", f"cat {CGROUP}/{file}", memory="64m")) == 128 * MIB


def disk() -> str:
    """A disk of this machine."""
    for name in sorted(os.listdir("/sys/block")):
        if Path(f"/dev/{name}").is_block_device() and not name.startswith(
            ("loop", "ram", "zram", "dm-", "md")
        ):
            return f"/dev/{name}"
    pytest.skip("no disk that could be limited")


@only_v1
@pytest.mark.parametrize(
    ("option", "value", "file"),
    [
        ("device_read_bps", 1 << 20, "read_bps_device"),
        ("device_write_bps", 2 << 20, "write_bps_device"),
        ("device_read_iops", 100, "read_iops_device"),
        ("device_write_iops", 200, "write_iops_device"),
    ],
)
def test_block_device_limit_is_read_inside(both: BothWays, option: str, value: int, file: str) -> None:
    device = disk()
    number = os.stat(device).st_rdev
    flag = "--" + option.replace("_", "-")
    out = both(
        f"{flag} {device}:{value}",
        f"cat {CGROUP}/blkio/blkio.throttle.{file}",
        **{option: [f"{device}:{value}"]},  # type: ignore[arg-type]
    )
    assert out == f"{os.major(number)}:{os.minor(number)} {value}\n"


@only_v1
def test_block_weight_is_read_inside(both: BothWays) -> None:
    file = next(
        (name for name in ("blkio.weight", "blkio.bfq.weight") if Path(f"{CGROUP}/blkio/{name}").exists()), ""
    )
    if not file:
        pytest.skip("this kernel has no weights of block devices")
    assert both("--blkio-weight 300", f"cat {CGROUP}/blkio/{file}", blkio_weight=300) == "300\n"


def test_processors_are_those_of_the_set(both: BothWays) -> None:
    out = both("--cpuset-cpus 0", "grep Cpus_allowed_list /proc/self/status", cpuset_cpus="0")
    assert out.split() == ["Cpus_allowed_list:", "0"]


def test_memory_limit_kills_and_says_so(cli: Cli, engine: Engine, busybox: str, nothing_left: Watch) -> None:
    command = ["dd", "if=/dev/zero", "of=/dev/shm/file", "bs=1M", "count=48"]
    run = engine.run(busybox, command, memory="16m", memory_swap="16m", check=False)
    assert (run.returncode, run.oom_killed) == (137, True)
    with pytest.raises(errors.ExitError) as raised:
        engine.run(busybox, command, memory="16m", memory_swap="16m")
    assert raised.value.oom_killed
    assert raised.value.returncode == 137
    assert cli.run("-m", "16m", "--memory-swap", "16m", busybox, *command).returncode == 137


def test_death_of_a_child_by_the_memory_limit_is_seen(
    engine: Engine, busybox: str, nothing_left: Watch
) -> None:
    script = FILL.format(48) + "; echo $?"
    run = engine.run(busybox, ["sh", "-c", script], memory="16m", memory_swap="16m", check=False)
    assert run.oom_killed
    assert run.returncode in {
        0,
        137,
    }  # v1 chooses one process, docker's setting on v2 kills what it chooses, too


def test_within_the_memory_limit_nothing_is_killed(engine: Engine, busybox: str) -> None:
    run = engine.run(busybox, ["sh", "-c", FILL.format(8) + "; echo $?"], memory="32m")
    assert (run.stdout, run.oom_killed) == (b"0\n", False)


def test_pids_limit_refuses_to_fork(both: BothWays, nothing_left: Watch) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 600 & done; echo all started"
    out = both("--pids-limit 5", script + " 2>&1", pids_limit=5, status=None)
    assert "all started" not in out
    assert both("--pids-limit -1", script, pids_limit=-1) == "all started\n"


def test_cpu_limit_slows_down(engine: Engine, busybox: str) -> None:
    busy = ["sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]
    stat = f"{CGROUP}/cpu.stat" if ONE_HIERARCHY else f"{CGROUP}/cpu/cpu.stat"
    limited = engine.run(
        busybox, ["sh", "-c", f"{busy[2]}; cat {stat}"], cpus=0.1, timeout=seconds(60), text=True
    )
    counts = dict(line.split() for line in str(limited.stdout).splitlines())
    assert int(counts["nr_throttled"]) > 0


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ("--memory 1m", {"memory": "1m"}),
        ("--memory nonsense", {"memory": "nonsense"}),
        ("--memory 64m --memory-swap 32m", {"memory": "64m", "memory_swap": "32m"}),
        ("--cpus -1", {"cpus": -1}),
        ("--cpus 100000", {"cpus": 100000}),
        ("--blkio-weight 5", {"blkio_weight": 5}),
        ("--device-read-bps /dev/none:1m", {"device_read_bps": ["/dev/none:1m"]}),
        ("--ulimit flying=1", {"ulimits": ["flying=1"]}),
        ("--shm-size -5", {"shm_size": -5}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_limit_that_is_none_is_refused(
    cli: Cli, engine: Engine, busybox: str, flags: str, options: dict[str, object], nothing_left: Watch
) -> None:
    run = cli.run(*flags.split(), busybox, "true")
    assert run.returncode == 125, run
    assert run.stderr.startswith(b"pycontain: ")
    with pytest.raises(errors.PycontainError):
        engine.run(busybox, "true", **options)  # type: ignore[call-overload]


def test_processor_that_is_not_there_is_refused(
    cli: Cli, engine: Engine, busybox: str, nothing_left: Watch
) -> None:
    there = Path("/sys/devices/system/cpu/online").read_text(encoding="utf-8").strip()
    run = cli.run("--cpuset-cpus", "4095", busybox, "true")
    assert run.returncode == 125
    assert f"invalid value `4095` for `--cpuset-cpus`: this machine has {there}".encode() in run.stderr
    for value in ("4095", "0-4095", "0-99999999999"):
        with pytest.raises(errors.InvalidOption, match=f"this machine has {there}"):
            engine.run(busybox, "true", cpuset_cpus=value)


def test_usage_is_what_was_used(engine: Engine, busybox: str) -> None:
    idle = engine.run(busybox, "true").usage
    script = FILL.format(24) + "; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
    busy = engine.run(busybox, ["sh", "-c", script]).usage
    assert idle.memory_peak is not None
    assert busy.memory_peak is not None
    assert busy.memory_peak > 24 * MIB > idle.memory_peak > 0
    assert idle.cpu is not None
    assert busy.cpu is not None
    assert busy.cpu > idle.cpu > 0
