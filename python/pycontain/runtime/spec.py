"""From options to an OCI `config.json`: what `run` was asked for, in the words that the runtime takes.

`config` decides and writes nothing; what it wants to know of the machine, it asks `Host`.
"""

from __future__ import annotations

from pycontain.errors import InvalidOption
from pycontain.runtime import (
    command,
    confinement,
    devices,
    environment,
    lifecycle,
    limits,
    namespaces,
    rootfs,
    sizes,
)
from pycontain.runtime.document import encode, once, utf8
from pycontain.runtime.environment import strings
from pycontain.runtime.files import files
from pycontain.runtime.host import Host
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pycontain.runtime.command import ImageConfig
    from pycontain.runtime.lookup import Lookup
    from pycontain.runtime.namespaces import Namespaces
    from pycontain.runtime.volumes import VolumeUse
    from pycontain.types import RootFilesystem

DEFAULT_STOP_TIMEOUT = 10.0  # seconds
_VERSION = "1.2.0"
_PREFIX = "io.pycontain."
_MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
_READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# in a network of its own a container's ports are all its own, the low ones too
_DEFAULT_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0"}

_FLAGS = frozenset(
    "init no_healthcheck oom_kill_disable privileged publish_all read_only remove stdin tty".split()
)
_OF_NETWORKS = frozenset({"aliases", "ip", "ip6", "links", "mac_address", "ports", "publish_all"})
_OF_LOOKUP = frozenset({"add_host", "dns", "dns_options", "dns_search", "links"})
OPTIONS = (
    _FLAGS
    | limits.OPTIONS
    | lifecycle.OPTIONS
    | frozenset(
        (
            "add_host aliases annotations cap_add cap_drop cgroup_parent cgroupns cidfile configs "
            "device_cgroup_rules devices dns dns_options dns_search domainname entrypoint env env_file "
            "expose group_add hostname ip ip6 ipc label_file labels links mac_address mounts name network "
            "oom_score_adj pid platform ports pull rootfs secrets "
            "security_opt shm_size stop_signal stop_timeout sysctls tmpfs ulimits user userns uts "
            "volume_driver volumes volumes_from workdir"
        ).split()
    )
)


class Prepared(Value):
    """A container that can be started, and what its engine has to know and do for it.

    Attributes:
        config: the OCI runtime spec, JSON.
        args: the command as it will run, the image's entrypoint included.
        hostname: its own name; the host's with `uts=host`.
        name: the name asked for, or None.
        labels: the caller's labels.
        terminal: whether the command gets a terminal.
        stop_signal: the number of the signal that asks it to stop.
        stop_timeout: seconds from there to SIGKILL; `inf`: never.
        directories: to be made before the start, in this order, mode 0755, below the container's directory.
        missing_sources: directories of the host that `volumes` names and that do not exist: to be made as
            well.
        volumes: those that it uses.
        images: the ids of further images whose files it mounts.
    """

    __slots__ = (  # noqa: RUF023 - the constructor's order
        "config", "args", "hostname", "name", "labels", "terminal", "stop_signal", "stop_timeout",
        "directories",
        "missing_sources", "volumes", "images",
    )  # fmt: skip
    config: bytes
    args: tuple[str, ...]
    hostname: str
    name: str | None
    labels: Mapping[str, str]
    terminal: bool
    stop_signal: int
    stop_timeout: float
    directories: tuple[str, ...]
    missing_sources: tuple[str, ...]
    volumes: tuple[VolumeUse, ...]
    images: tuple[str, ...]

    def __init__(
        self,
        config: bytes,
        args: Sequence[str],
        hostname: str,
        name: str | None,
        labels: Mapping[str, str],
        terminal: bool,
        stop_signal: int,
        stop_timeout: float,
        directories: Sequence[str],
        missing_sources: Sequence[str],
        volumes: Sequence[VolumeUse] = (),
        images: Sequence[str] = (),
    ) -> None:
        self._set(
            config=config,
            args=tuple(args),
            hostname=hostname,
            name=name,
            labels=labels,
            terminal=terminal,
            stop_signal=stop_signal,
            stop_timeout=stop_timeout,
            directories=tuple(directories),
            missing_sources=tuple(missing_sources),
            volumes=tuple(volumes),
            images=tuple(images),
        )


def config(
    args: str | Sequence[str],
    options: Mapping[str, Any],
    image: ImageConfig,
    root: RootFilesystem,
    *,
    id: str,
    directory: str,
    scratch: str | None = None,
    host: Host | None = None,
) -> Prepared:
    """The container that `options` describe.

    Args:
        args: the command; empty: the image's.
        options: `ContainerOptions`; None stands for an option that was not given.
        image: what the image says; `command.NoImage` where there is none.
        root: what the root file system is made of.
        id: the container's id, 64 hexadecimal digits.
        directory: the container's own directory, absolute.
        scratch: where the launcher has directories for writable layers, if this one's need not be in
            `directory`.
        host: what has to be known of the machine; this one by default.

    Raises:
        InvalidOption: an option's value is not one it takes, or two options exclude each other.
        Unsupported: it asks for something that is not there yet.
    """
    host = host or Host()
    options = _checked(options)
    name = namespaces.container_name(options["name"]) if "name" in options else None
    spaces = namespaces.namespaces(options, host)
    security = confinement.security(options.get("security_opt", ()))
    hostname = _hostname(options, spaces, id, host)
    arguments = command.arguments(args, options, image)
    stop_signal = sizes.signal_number(
        "stop_signal", options.get("stop_signal") or image.stop_signal or "TERM"
    )

    layout = rootfs.layout(options, image, root, spaces, security, directory, scratch, host)
    user, names = _identity(options, image)
    lookup = _lookup(options, spaces)
    made = files(
        hostname,
        _names(hostname, options),
        network=spaces.network,
        covered=layout.covered,
        host=host,
        lookup=lookup,
    )
    annotations = names | _annotations(options, security, host)
    annotations["files"] = encode(made)
    if "secrets" in options or "configs" in options:
        from pycontain.runtime import secrets

        if asked := secrets.asked(options, layout.covered, host):
            annotations["secrets"] = encode(asked)
    if "network" in spaces.donors:
        from pycontain.runtime import donors

        donors.refuse(options)
    elif spaces.network in {"none", "host"}:
        if options.keys() & _OF_NETWORKS:
            from pycontain.runtime import networking

            networking.refuse(options, _OF_NETWORKS & options.keys(), spaces.network)
    else:
        from pycontain.runtime import networking

        annotations["join"] = networking.asked(
            options,
            spaces.network,
            _names(hostname, options),
            image_ports=image.exposed_ports,
            lookup=lookup,
        )

    parts = [
        f'{{"ociVersion":"{_VERSION}","process":',
        _process(arguments, options, image, user, security, hostname, host),
        ',"root":',
        encode({"path": layout.path, "readonly": bool(options.get("read_only"))}),
        "" if spaces.uts == "host" else f',"hostname":{encode(hostname)}',
        f',"domainname":{encode(options["domainname"])}' if options.get("domainname") else "",
        ',"mounts":[',
        layout.mounts,
        '],"linux":',
        _linux(options, spaces, security, host),
        ',"annotations":',
        encode({_PREFIX + key: text for key, text in annotations.items()}),
        "}",
    ]
    if "annotations" in options:
        environment.labels("annotations", options["annotations"])
    if "expose" in options:
        from pycontain.runtime import ports

        ports.exposed(options["expose"])
    return Prepared(
        utf8("".join(parts)),
        arguments,
        hostname,
        name,
        command.labels(options, host),
        bool(options.get("tty")),
        stop_signal,
        _stop_timeout(options),
        layout.directories,
        layout.missing_sources,
        layout.volumes,
        layout.images,
    )


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    for name in given.keys() - OPTIONS:
        from difflib import get_close_matches

        close = get_close_matches(name, OPTIONS, n=1)
        raise InvalidOption(f"unknown option `{name}`", hint=f"did you mean `{close[0]}`?" if close else None)
    for name in given.keys() & _FLAGS:
        if not isinstance(given[name], bool):
            raise sizes.invalid(name, given[name], "must be True or False")
    if given.get("pull", "missing") not in ("missing", "always", "never"):
        raise sizes.invalid("pull", given["pull"], "must be missing, always or never")
    if given.keys() & lifecycle.OPTIONS:
        lifecycle.check(given)
    return given


def _hostname(options: Mapping[str, Any], spaces: Namespaces, id: str, host: Host) -> str:
    for name in ("domainname", "hostname"):
        sizes.string(name, options.get(name, ""))
    if options.get("domainname"):
        namespaces.host_name("domainname", options["domainname"])
    if options.get("hostname"):
        return namespaces.host_name("hostname", options["hostname"])
    if "network" in spaces.donors:
        return spaces.donors["network"].hostname
    # with the host's network, its addresses and its name belong together
    return host.hostname if "host" in {spaces.uts, spaces.network} else id[:12]


def _names(hostname: str, options: Mapping[str, Any]) -> str:
    """As /etc/hosts has them."""
    domain = options.get("domainname")
    names = [f"{hostname}.{domain}"] if domain else []
    names.append(hostname)
    if not domain and "." in hostname:
        names.append(hostname.partition(".")[0])
    return " ".join(names)


def _lookup(options: Mapping[str, Any], spaces: Namespaces) -> Lookup | None:
    if _OF_LOOKUP.isdisjoint(options):
        return None
    from pycontain.runtime.lookup import lookup

    return lookup(options, spaces.network)


def _stop_timeout(options: Mapping[str, Any]) -> float:
    return sizes.patience("stop_timeout", options.get("stop_timeout", DEFAULT_STOP_TIMEOUT))


def _identity(options: Mapping[str, Any], image: ImageConfig) -> tuple[dict[str, object], dict[str, str]]:
    """`process.user`, and annotations with what has to be looked up in the container."""
    value = options.get("user", "")
    text, uid, gid = namespaces.user(image.user if value == "" else value)
    identity: dict[str, object] = {"uid": uid or 0, "gid": gid or 0}
    names = {"user": text}
    if "group_add" in options:
        identity["additionalGids"], groups = namespaces.groups(options["group_add"])
        names["groups"] = ",".join(groups)
    return identity, {key: name for key, name in names.items() if name}


def _annotations(options: Mapping[str, Any], security: confinement.Security, host: Host) -> dict[str, str]:
    privileged = bool(options.get("privileged"))
    result = {}
    if options.get("init"):
        result["init"] = "true"
    if not options.get("workdir"):
        # the image's is made when it is missing; the caller's is more likely mistyped
        result["make-workdir"] = "true"
    if privileged:
        result["privileged"] = "true"
    if security.seccomp is None and not privileged:
        result["seccomp"] = "default"
    elif security.seccomp not in {None, "unconfined"}:
        result["seccomp"] = _seccomp_profile(str(security.seccomp), host)
    return result


def _seccomp_profile(path: str, host: Host) -> str:
    import json

    text = host.read("security_opt", path)
    try:
        profile = json.loads(text)
    except ValueError as error:
        raise InvalidOption(f"seccomp profile `{path}` is not JSON: {error}") from None
    if not isinstance(profile, dict) or "defaultAction" not in profile:
        raise InvalidOption(f"seccomp profile `{path}` has no `defaultAction`")
    return text


def _process(
    arguments: list[str],
    options: Mapping[str, Any],
    image: ImageConfig,
    user: dict[str, object],
    security: confinement.Security,
    hostname: str,
    host: Host,
) -> str:
    process: dict[str, object] = {
        "terminal": bool(options.get("tty")),
        "user": user,
        "args": arguments,
        "env": command.variables(options, image, hostname, host),
        "cwd": command.working_directory(options, image),
        "noNewPrivileges": security.no_new_privileges,
    }
    if "ulimits" in options:
        process["rlimits"] = confinement.ulimits(options["ulimits"])
    if "oom_score_adj" in options:
        process["oomScoreAdj"] = sizes.whole("oom_score_adj", options["oom_score_adj"], -1000, 1000)
    # execve(2) leaves a user other than root no capability beyond the bounding set
    return f'{encode(process)[:-1]},"capabilities":{_capabilities(options, as_root=user["uid"] == 0)}}}'


def _capabilities(options: Mapping[str, Any], *, as_root: bool) -> str:
    def sets(names: Sequence[str]) -> dict[str, Sequence[str]]:
        return dict.fromkeys(("bounding", "effective", "permitted") if as_root else ("bounding",), names)

    if options.get("privileged"):
        return once(f"all capabilities {as_root}", lambda: sets(confinement.CAPABILITIES))
    if "cap_add" in options or "cap_drop" in options:
        names = confinement.capabilities(options.get("cap_add", ()), options.get("cap_drop", ()))
        return encode(sets(names))
    return once(f"capabilities {as_root}", lambda: sets(confinement.DEFAULT_CAPABILITIES))


def _linux(options: Mapping[str, Any], spaces: Namespaces, security: confinement.Security, host: Host) -> str:
    privileged = bool(options.get("privileged"))
    nodes, rules = _devices(options, host)
    resources = limits.resources(options, host) if options.keys() & limits.OPTIONS else {}
    if privileged:
        resources["devices"] = [{"allow": True, "access": "rwm"}]
    elif rules:
        resources["devices"] = [*devices.DEFAULT_RULES, *rules]
    encoded = encode(resources)
    if "devices" not in resources:
        defaults = once("device rules", lambda: devices.DEFAULT_RULES)
        encoded = f'{encoded[:-1]}{"," if resources else ""}"devices":{defaults}}}'
    own = spaces.own()
    kinds = " ".join(space["type"] for space in own)
    spaced = encode(own) if spaces.donors else once(kinds, lambda: own)
    parts = [
        f'"namespaces":{spaced}',
        f'"resources":{encoded}',
    ]
    if nodes:
        parts.append(f'"devices":{encode(nodes)}')
    if sysctl := _sysctls(options, spaces):
        parts.append(f'"sysctl":{encode(sysctl)}')
    if not privileged and security.masked_paths:
        parts.append(
            once("paths", lambda: {"maskedPaths": _MASKED_PATHS, "readonlyPaths": _READ_ONLY_PATHS})[1:-1]
        )
    if options.get("cgroup_parent"):
        # where those of containers are made, not the container's own: it has to be the same for all
        parts.append(f'"cgroupsPath":{encode(options["cgroup_parent"])}')
    return f"{{{','.join(parts)}}}"


def _sysctls(options: Mapping[str, Any], spaces: Namespaces) -> dict[str, str]:
    host_network = spaces.network == "host" or "network" in spaces.donors
    result = {} if host_network else dict(_DEFAULT_SYSCTLS)
    if "sysctls" in options:
        result |= confinement.sysctls(
            options["sysctls"],
            host_network=host_network,
            host_ipc=spaces.ipc == "host" or "ipc" in spaces.donors,
        )
    return result


def _devices(
    options: Mapping[str, Any], host: Host
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    nodes: dict[str, dict[str, object]] = {}
    rules: list[dict[str, object]] = []
    for value in strings("devices", options.get("devices", ())):
        path, inside, access = devices.device(value)
        for device in host.devices("devices", path):
            place = inside + device.path[len(path) :]
            number = {"type": device.type, "major": device.major, "minor": device.minor}
            nodes[place] = {
                "path": place,
                "hostPath": device.path,
                **number,
                "fileMode": device.mode,
                "uid": device.uid,
                "gid": device.gid,
            }
            rules.append({"allow": True, **number, "access": access})
    asked = strings("device_cgroup_rules", options.get("device_cgroup_rules", ()))
    rules += [devices.cgroup_rule(value) for value in asked]
    return list(nodes.values()), rules
