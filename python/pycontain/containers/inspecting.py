"""`Container.inspect`: all about a container, in the shape of docker's JSON."""

from __future__ import annotations

import json
from typing import Any

from pycontain.containers.logs import path_of
from pycontain.containers.published import bound, mapped
from pycontain.networks.inspecting import endpoint_id
from pycontain.runtime import devices, lifecycle, records
from pycontain.runtime.disk import size_of
from pycontain.runtime.environment import labels
from pycontain.runtime.lookup import lookup
from pycontain.runtime.ports import published

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pycontain.runtime.kept import Kept
    from pycontain.runtime.records import Health, Joined, MountRecord, Record, State

__all__ = ["inspect"]

_DEFAULT = {"bridge", "default"}  # as the option has it
_NEVER = "0001-01-01T00:00:00Z"  # Go's zero
_ADDRESS = {
    "Gateway": "",
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "MacAddress": "",
    "EndpointID": "",
}
_NOWHERE: dict[str, Any] = {
    "IPAMConfig": None,
    "Links": None,
    "Aliases": None,
    "DriverOpts": None,
    "GwPriority": 0,
    "NetworkID": "",
    "DNSNames": None,
    **_ADDRESS,
}
_THROTTLES = {
    "device_read_bps": "ReadBps",
    "device_write_bps": "WriteBps",
    "device_read_iops": "ReadIOps",
    "device_write_iops": "WriteIOps",
}


def inspect(container: Kept, image_size: Callable[[], int] | None = None) -> dict[str, Any]:
    """The document; with `image_size`, which gives that of its image, also sizes."""
    record, directory = container.record, container.path
    config: dict[str, Any] = json.loads(container.config)
    args = record.args
    document: dict[str, Any] = {
        "Id": record.id,
        "Created": records.moment(int(record.created * 1e9)),
        "Path": args[0],
        "Args": list(args[1:]),
        "State": _state(container.state),
        "Image": record.image_id,
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": path_of(directory),
        "Name": f"/{record.name}",
        "RestartCount": container.state.restart_count,
        "Driver": "overlay" if config["mounts"][0]["type"] == "overlay" else "",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": _host_config(record, config),
        "GraphDriver": _graph_driver(config["mounts"][0]),
        "Mounts": [_mount(mount) for mount in record.mounts],
        "Config": _config(record, config),
        "NetworkSettings": _network_settings(record, container.state),
    }
    if image_size is not None:
        written = size_of(directory)
        document |= {"SizeRw": written, "SizeRootFs": written + image_size()}
    return document


def _network_settings(record: Record, state: State) -> dict[str, Any]:
    """What it got of its networks; of `none` and `host`, and of one that does not run, that is nothing."""
    joined = {one.network: _endpoint(record, one) for one in state.networks or ()}
    first = next(iter(joined.values()), dict(_NOWHERE))
    first["Links"] = _links_of_neighbours(record)
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": f"/proc/{state.pid}/ns/net" if joined else "",
        "Ports": mapped(state.networks, record.exposed),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **{name: first[name] for name in _ADDRESS},
        "Networks": joined or dict.fromkeys(record.networks, first),
    }


def _endpoint(record: Record, joined: Joined) -> dict[str, Any]:
    document = {
        **_NOWHERE,
        "NetworkID": joined.network_id,
        "MacAddress": joined.mac,
        "EndpointID": endpoint_id(joined.network_id, record.id),
    }
    if joined.names:
        document["DNSNames"] = list(joined.names)
        document["Aliases"] = list(joined.aliases) or None
    for text in joined.addresses:
        address, _, length = text.partition("/")
        keys = (
            ("GlobalIPv6Address", "GlobalIPv6PrefixLen") if ":" in address else ("IPAddress", "IPPrefixLen")
        )
        document |= dict(zip(keys, (address, int(length)), strict=True))
    for gateway in joined.gateways:
        document["IPv6Gateway" if ":" in gateway else "Gateway"] = gateway
    return document


def _links(record: Record) -> list[str] | None:
    """As docker has those of the network `bridge`."""
    if record.network not in _DEFAULT:
        return None
    links = lookup(record.options).links
    return [f"/{container}:/{record.name}/{alias}" for container, alias in links] or None


def _links_of_neighbours(record: Record) -> list[str] | None:
    """As docker has those of other networks."""
    if record.network in _DEFAULT:
        return None
    return [f"{container}:{alias}" for container, alias in lookup(record.options).links] or None


def _state(state: State) -> dict[str, Any]:
    document: dict[str, Any] = {
        "Status": state.status,
        "Running": state.is_alive,
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started or _NEVER,
        "FinishedAt": state.finished or _NEVER,
    }
    if state.health is not None:
        document["Health"] = _health(state.health)
    return document


def _health(health: Health) -> dict[str, Any]:
    results = [
        {
            "Start": result.start,
            "End": result.end,
            "ExitCode": result.exit_code,
            "Output": result.output,
        }
        for result in health.log
    ]
    return {"Status": health.status, "FailingStreak": health.failing_streak, "Log": results}


def _config(record: Record, config: Mapping[str, Any]) -> dict[str, Any]:
    options, process = record.options, config["process"]
    return {
        "Hostname": record.hostname,
        "Domainname": config.get("domainname", ""),
        **({"ExposedPorts": {port: {} for port in record.exposed}} if record.exposed else {}),
        "User": config["annotations"].get("io.pycontain.user", ""),
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": bool(process.get("terminal")),
        "OpenStdin": bool(options.get("stdin")),
        "StdinOnce": record.stdin_once,
        "Env": process["env"],
        "Cmd": list(record.command) or None,
        "Image": record.image,
        "Volumes": {mount.target: {} for mount in record.mounts if mount.anonymous} or None,
        "WorkingDir": process["cwd"],
        "Entrypoint": list(record.entrypoint) or None,
        "OnBuild": None,
        **({"Healthcheck": _healthcheck(record.health)} if record.health else {}),
        "Labels": record.labels,
        "StopSignal": _signal_name(record.stop_signal),
        "StopTimeout": -1 if record.stop_timeout is None else int(record.stop_timeout),
        **_memory_files(config["annotations"]),
    }


def _memory_files(annotations: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Where secrets and configs come from, and where they are: as podman has it, and more."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in json.loads(annotations.get("io.pycontain.secrets", "[]")):
        source = {"Source": file["source"]} if file["env"] is None else {"Env": file["env"]}
        entry = {"Name": file["name"], **source, "Target": file["target"]}
        entry |= {"UID": file["uid"], "GID": file["gid"], "Mode": file["mode"]}
        found.setdefault(f"{file['type'].capitalize()}s", []).append(entry)
    return found


def _healthcheck(health: Mapping[str, Any]) -> dict[str, Any]:
    """Times in nanoseconds, as Go has them."""
    return {
        "Test": health["test"],
        "Interval": health["interval"] * 1_000_000,
        "Timeout": health["timeout"] * 1_000_000,
        "StartPeriod": health["start_period"] * 1_000_000,
        "StartInterval": health["start_interval"] * 1_000_000,
        "Retries": health["retries"],
    }


def _signal_name(number: int) -> str:
    from signal import Signals

    try:
        return Signals(number).name
    except ValueError:
        return str(number)


def _host_config(record: Record, config: Mapping[str, Any]) -> dict[str, Any]:
    options = record.options
    linux = config["linux"]
    namespaces = {space["type"] for space in linux["namespaces"]}

    def shared(kind: str) -> str:
        return "private" if kind in namespaces else "host"

    log, restart = lifecycle.log(options), lifecycle.restart(options)
    annotations = labels("annotations", options.get("annotations", ()))
    asked = lookup(options)
    return {
        "Binds": [_bind(mount) for mount in record.mounts if _has_source(mount)] or None,
        "ContainerIDFile": options.get("cidfile", ""),
        "LogConfig": {"Type": log.driver, "Config": log.options},
        "NetworkMode": record.network,
        "PortBindings": bound(published(record.options.get("ports") or ())),
        "RestartPolicy": {"Name": restart.policy, "MaximumRetryCount": restart.most},
        "AutoRemove": bool(options.get("remove")),
        "VolumeDriver": options.get("volume_driver", ""),
        "VolumesFrom": _strings(options.get("volumes_from")),
        "ConsoleSize": [0, 0],
        "CapAdd": _strings(options.get("cap_add")),
        "CapDrop": _strings(options.get("cap_drop")),
        "CgroupnsMode": shared("cgroup"),
        "Dns": list(asked.servers),
        "DnsOptions": list(asked.options),
        "DnsSearch": list(asked.search or ["."]) if asked.search is not None else [],
        "ExtraHosts": [f"{name}:{address}" for name, address in asked.hosts] or None,
        "GroupAdd": _strings(options.get("group_add")),
        "IpcMode": options.get("ipc") or shared("ipc"),
        "Cgroup": "",
        "Links": _links(record),
        "OomScoreAdj": config["process"].get("oomScoreAdj", 0),
        "PidMode": _pid_mode(options, namespaces),
        "Privileged": bool(options.get("privileged")),
        "PublishAllPorts": bool(options.get("publish_all")),
        "ReadonlyRootfs": bool(config["root"].get("readonly")),
        "SecurityOpt": _strings(options.get("security_opt")),
        "UTSMode": "" if "uts" in namespaces else "host",
        "UsernsMode": "" if "user" in namespaces else "host",
        "ShmSize": _shm_size(config["mounts"]),
        "Tmpfs": _tmpfs(config["mounts"]),
        "Sysctls": linux.get("sysctl", {}),
        "Runtime": "pycontain",
        "Isolation": "",
        "Init": bool(options.get("init")),
        "MaskedPaths": linux.get("maskedPaths", []),
        "ReadonlyPaths": linux.get("readonlyPaths", []),
        **({"Annotations": annotations} if annotations else {}),
        **_resources(options, config),
    }


def _pid_mode(options: Mapping[str, Any], namespaces: Collection[str]) -> str:
    asked = str(options.get("pid") or "")
    return asked if asked.startswith("container:") else "" if "pid" in namespaces else "host"


def _resources(options: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    linux = config["linux"]
    resources = linux.get("resources", {})
    memory, cpu = resources.get("memory", {}), resources.get("cpu", {})
    limits = config["process"].get("rlimits", ())
    return {
        "CpuShares": cpu.get("shares", 0),
        "Memory": memory.get("limit", 0),
        "NanoCpus": round(float(options.get("cpus") or 0) * 1e9),
        "CgroupParent": linux.get("cgroupsPath", ""),
        "BlkioWeight": resources.get("blockIO", {}).get("weight", 0),
        "BlkioWeightDevice": [
            {"Path": path, "Weight": weight}
            for path, weight in map(devices.weight, _strings(options.get("blkio_weight_device")) or ())
        ],
        **{
            f"BlkioDevice{name}": [
                {"Path": path, "Rate": rate}
                for path, rate in (
                    devices.throttle(option, text) for text in _strings(options.get(option)) or ()
                )
            ]
            for option, name in _THROTTLES.items()
        },
        "CpuPeriod": 0 if options.get("cpus") else cpu.get("period", 0),
        "CpuQuota": 0 if options.get("cpus") else cpu.get("quota", 0),
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": cpu.get("cpus", ""),
        "CpusetMems": cpu.get("mems", ""),
        "Devices": [
            {
                "PathOnHost": device.get("hostPath", device["path"]),
                "PathInContainer": device["path"],
                "CgroupPermissions": "rwm",
            }
            for device in linux.get("devices", ())
        ],
        "DeviceCgroupRules": _strings(options.get("device_cgroup_rules")),
        "DeviceRequests": None,
        "MemoryReservation": memory.get("reservation", 0),
        "MemorySwap": memory.get("swap", 0),
        "MemorySwappiness": memory.get("swappiness"),
        "OomKillDisable": bool(memory.get("disableOOMKiller")),
        "PidsLimit": resources.get("pids", {}).get("limit"),
        "Ulimits": [
            {
                "Name": limit["type"].removeprefix("RLIMIT_").lower(),
                "Hard": limit["hard"] if limit["hard"] < 1 << 63 else -1,
                "Soft": limit["soft"] if limit["soft"] < 1 << 63 else -1,
            }
            for limit in limits
        ],
        # of windows
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    }


def _throttle(option: str, text: str) -> dict[str, object]:
    path, rate = devices.throttle(option, text)
    return {"Path": path, "Rate": rate}


def _strings(values: object) -> list[str] | None:
    """As a list, of one too; None: there are none."""
    if isinstance(values, str):
        return [values]
    return [str(value) for value in values] if isinstance(values, list | tuple) and values else None


def _shm_size(mounts: list[dict[str, Any]]) -> int:
    for mount in mounts:
        if mount["destination"] == "/dev/shm" and mount["source"] == "shm":  # noqa: S108 - looks only
            for option in mount.get("options", ()):
                if option.startswith("size="):
                    return int(option.removeprefix("size="))
    return 0


def _tmpfs(mounts: list[dict[str, Any]]) -> dict[str, str] | None:
    found = {
        mount["destination"]: ",".join(mount.get("options", ()))
        for mount in mounts
        if mount["type"] == "tmpfs" and mount["source"] == "tmpfs" and mount["destination"] != "/dev"
    }
    return found or None


def _has_source(mount: MountRecord) -> bool:
    return mount.type == "bind" or (mount.type == "volume" and not mount.anonymous)


def _bind(mount: MountRecord) -> str:
    return f"{mount.name or mount.source}:{mount.target}" + (":ro" if "ro" in mount.options else "")


def _mount(mount: MountRecord) -> dict[str, Any]:
    propagation = next((word for word in mount.options if word.endswith(("private", "slave", "shared"))), "")
    document: dict[str, Any] = {"Type": mount.type}
    if mount.type == "volume":
        document |= {"Name": mount.name, "Driver": "local"}
    return document | {
        "Source": "" if mount.type == "image" else mount.source,
        "Destination": mount.target,
        "Mode": "",
        "RW": "ro" not in mount.options,
        "Propagation": propagation,
    }


def _graph_driver(root: Mapping[str, Any]) -> dict[str, Any]:
    if root["type"] != "overlay":
        return {"Name": "", "Data": {"RootDir": root["source"]}}
    data: dict[str, str] = {}
    lower = [option.partition("=")[2] for option in root["options"] if option.startswith("lowerdir+=")]
    data["LowerDir"] = ":".join(lower)
    for option in root["options"]:
        key, equals, value = option.partition("=")
        if equals and key in {"upperdir", "workdir"}:
            data["UpperDir" if key == "upperdir" else "WorkDir"] = value
    return {"Name": "overlay", "Data": data}
