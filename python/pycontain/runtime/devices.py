"""Devices: `--device`, rules of the device cgroup, rates and weights of block devices."""

from __future__ import annotations

from posixpath import normpath

from pycontain.errors import Unsupported
from pycontain.runtime.sizes import invalid, size, whole

# what runc lets every container use; mknod is allowed for all of them, use for these
DEFAULT_RULES: tuple[dict[str, object], ...] = (
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2))
    ),  # null zero full random urandom tty console ptmx
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},  # the terminals of devpts
)


def _is_access(text: str) -> bool:
    return bool(text) and len(set(text)) == len(text) and set(text) <= set("rwm")


def device(value: str) -> tuple[str, str, str]:
    """`--device /dev/x[:/dev/y][:rwm]` as (path on the host, path in the container, access)."""
    allowed = "must be /dev/on/host[:/dev/inside][:rwm]"
    fields = value.split(":")
    if not value.startswith("/"):
        if "/" in fields[0] and "=" in value:
            raise Unsupported(
                f"device `{value}`: CDI devices are not supported", hint="give the device's path in /dev"
            )
        raise invalid("devices", value, allowed)
    path = inside = fields[0]
    access = "rwm"
    if len(fields) > 3 or not all(fields):
        raise invalid("devices", value, allowed)
    if len(fields) == 2 and _is_access(fields[1]):
        access = fields[1]
    elif len(fields) >= 2:
        inside = fields[1]
    if len(fields) == 3:
        access = fields[2]
    if not inside.startswith("/") or not _is_access(access):
        raise invalid("devices", value, allowed)
    return normpath(path), normpath(inside), access


def cgroup_rule(value: str) -> dict[str, object]:
    """`--device-cgroup-rule "c 42:* rmw"` as an entry of `linux.resources.devices`."""
    fields = value.split(" ")
    allowed = "must be `TYPE MAJOR:MINOR ACCESS`, such as `c 42:* rmw`"
    if len(fields) != 3 or fields[0] not in {"a", "b", "c"} or not _is_access(fields[2]):
        raise invalid("device_cgroup_rules", value, allowed)
    rule: dict[str, object] = {"allow": True, "type": fields[0]}
    numbers = fields[1].split(":")
    if len(numbers) != 2:
        raise invalid("device_cgroup_rules", value, allowed)
    for name, text in zip(("major", "minor"), numbers, strict=True):
        if text != "*":
            try:
                rule[name] = whole("device_cgroup_rules", text, 0, 0xFFFFFFFF)
            except ValueError:
                raise invalid("device_cgroup_rules", value, allowed) from None
    return rule | {"access": fields[2]}


def throttle(option: str, value: str) -> tuple[str, int]:
    """`/dev/sda:1mb` as (path, rate): bytes for the `bps` options, a plain number for the `iops` ones."""
    allowed = "must be /dev/on/host:RATE"
    path, colon, rate = value.partition(":")
    if not colon or not path.startswith("/dev/"):
        raise invalid(option, value, allowed)
    try:
        return path, size(option, rate) if option.endswith("bps") else whole(option, rate, 0, (1 << 63) - 1)
    except ValueError:
        raise invalid(option, value, allowed) from None


def weight(value: str) -> tuple[str, int]:
    """`--blkio-weight-device /dev/sda:500` as (path, weight)."""
    path, colon, text = value.partition(":")
    allowed = "must be /dev/on/host:WEIGHT, the weight from 10 to 1000, or 0"
    try:
        number = whole("blkio_weight_device", text, 0, 1000)
    except ValueError:
        number = 1
    if not colon or not path.startswith("/dev/") or 0 < number < 10:
        raise invalid("blkio_weight_device", value, allowed)
    return path, number
