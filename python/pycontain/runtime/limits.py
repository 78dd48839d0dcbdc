"""`linux.resources`: memory, processors, processes, block devices; docker's rules of what goes with what."""

from __future__ import annotations

from pycontain.runtime import devices
from pycontain.runtime.environment import strings
from pycontain.runtime.sizes import cpus, exclude, invalid, ranges, size, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pycontain.runtime.host import Host

_MEBIBYTE = 1 << 20
_MINIMUM_MEMORY = 6 * _MEBIBYTE  # docker's: a runtime's own first process has to fit
_PERIOD = 100_000  # microseconds: the kernel's default
_INT64_MAX = (1 << 63) - 1

OPTIONS = frozenset(
    (
        "memory memory_swap memory_reservation memory_swappiness oom_kill_disable cpus cpu_period "
        "cpu_quota cpu_shares cpuset_cpus cpuset_mems pids_limit blkio_weight blkio_weight_device "
        "device_read_bps device_write_bps device_read_iops device_write_iops"
    ).split()
)


def resources(options: Mapping[str, Any], host: Host) -> dict[str, object]:
    """What the options ask for, in OCI's words; the rules of the device cgroup are not among it."""
    limits: dict[str, object] = {
        "memory": _memory(options),
        "cpu": _cpu(options, host),
        "blockIO": _block_io(options, host),
    }
    pids = whole(
        "pids_limit",
        options.get("pids_limit", 0),
        -_INT64_MAX,
        _INT64_MAX,
        "must be a whole number, -1 for no limit",
    )
    if pids > 0:
        limits["pids"] = {"limit": pids}
    return {name: values for name, values in limits.items() if values}


def _memory(options: Mapping[str, Any]) -> dict[str, object]:
    memory = size("memory", options.get("memory", 0))
    reservation = size("memory_reservation", options.get("memory_reservation", 0))
    swap_option = options.get("memory_swap", 0)
    swap = -1 if str(swap_option) == "-1" else size("memory_swap", swap_option)
    swappiness = whole("memory_swappiness", options.get("memory_swappiness", -1), -1, 100)
    for name, value in (("memory", memory), ("memory_reservation", reservation)):
        if 0 < value < _MINIMUM_MEMORY:
            raise invalid(
                name, options[name], "minimum memory limit allowed is 6MB", hint="a number is of bytes: `64m`"
            )
    if swap and not memory:
        # -1 alone asks for what there is anyway
        if swap > 0:
            raise invalid(
                "memory_swap",
                swap_option,
                "it is memory and swap together: give a value for `memory` as well",
            )
        swap = 0
    if 0 < swap < memory:
        raise invalid(
            "memory_swap",
            swap_option,
            f"it is memory and swap together: at least that for `memory`, {memory} bytes",
        )
    if memory and reservation > memory:
        raise invalid(
            "memory_reservation",
            options["memory_reservation"],
            f"must not be above that for `memory`, {memory} bytes",
        )
    result: dict[str, object] = {}
    if memory:
        result["limit"] = memory
        result["swap"] = swap or min(2 * memory, _INT64_MAX)
    if reservation:
        result["reservation"] = reservation
    if swappiness != -1:
        result["swappiness"] = swappiness
    if options.get("oom_kill_disable"):
        result["disableOOMKiller"] = True
    return result


def _cpu(options: Mapping[str, Any], host: Host) -> dict[str, object]:
    result: dict[str, object] = {}
    shares = whole("cpu_shares", options.get("cpu_shares", 0), 0, 1 << 62)
    if shares:
        result["shares"] = shares
    period = whole("cpu_period", options.get("cpu_period", 0), 0, 1_000_000)
    if 0 < period < 1000:
        raise invalid("cpu_period", options["cpu_period"], "must be from 1000 to 1000000 microseconds")
    quota = whole("cpu_quota", options.get("cpu_quota", 0), -1, _INT64_MAX)
    if 0 < quota < 1000:
        raise invalid(
            "cpu_quota", options["cpu_quota"], "must be at least 1000 microseconds, or -1 for no limit"
        )
    if "cpus" in options and (billionths := cpus(options["cpus"])):
        for name, value in (("cpu_period", period), ("cpu_quota", quota)):
            if value:
                raise exclude("cpus", name)
        if not 10_000_000 <= billionths <= host.processors * 10**9:
            raise invalid(
                "cpus", options["cpus"], f"must be from 0.01 to {host.processors}.00, for there are as many"
            )
        period, quota = _PERIOD, billionths * _PERIOD // 10**9
    if quota:
        result["quota"] = quota
    if period:
        result["period"] = period
    for name, key, what in (("cpuset_cpus", "cpus", "cpu"), ("cpuset_mems", "mems", "node")):
        if options.get(name, "") not in (None, ""):
            there = host.read_if_there(f"/sys/devices/system/{what}/online").strip()
            result[key] = _of_those(name, options[name], there)
    return result


def _of_those(option: str, value: str, there: str) -> str:
    """A list of processors or memory nodes, checked against the kernel's of those that there are."""
    asked = ranges(option, value)
    if not there:  # a kernel without NUMA has no list of nodes
        return value
    numbers = {number for first, last in ranges(option, there) for number in range(first, last + 1)}
    if max(last for _, last in asked) > max(numbers) or any(
        number not in numbers for first, last in asked for number in range(first, last + 1)
    ):
        raise invalid(option, value, f"this machine has {there}")
    return value


_THROTTLES = {
    "device_read_bps": "throttleReadBpsDevice",
    "device_write_bps": "throttleWriteBpsDevice",
    "device_read_iops": "throttleReadIOPSDevice",
    "device_write_iops": "throttleWriteIOPSDevice",
}


def _block_io(options: Mapping[str, Any], host: Host) -> dict[str, object]:
    result: dict[str, object] = {}
    weight = whole("blkio_weight", options.get("blkio_weight", 0), 0, 1000)
    if 0 < weight < 10:
        raise invalid("blkio_weight", options["blkio_weight"], "must be from 10 to 1000, or 0 for none")
    if weight:
        result["weight"] = weight
    entries = [
        devices.weight(text)
        for text in strings("blkio_weight_device", options.get("blkio_weight_device", ()))
    ]
    if entries:
        result["weightDevice"] = [
            _block_device("blkio_weight_device", path, host) | {"weight": number} for path, number in entries
        ]
    for name, key in _THROTTLES.items():
        rates = [devices.throttle(name, text) for text in strings(name, options.get(name, ()))]
        if rates:
            result[key] = [_block_device(name, path, host) | {"rate": rate} for path, rate in rates]
    return result


def _block_device(option: str, path: str, host: Host) -> dict[str, object]:
    device = host.devices(option, path)[0]
    if device.type != "b":
        raise invalid(option, path, "it is not a block device")
    return {"major": device.major, "minor": device.minor}
