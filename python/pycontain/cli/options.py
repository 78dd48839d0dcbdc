"""The options of a container as flags: one table, for every command that makes one.

A flag's name here is the option's in `ContainerOptions`; what is not given is not passed on.
"""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect
    from typing import Any


class Flag(NamedTuple):
    """One option: its key in `ContainerOptions`, its spellings, its kind, its value's name, its help."""

    option: str
    names: str
    kind: str
    metavar: str
    help: str


FLAGS = tuple(
    Flag(*row)
    for row in (
        ("remove", "--rm", "flag", "", "Remove the container when it ends"),
        ("stdin", "-i --interactive", "flag", "", "Keep its standard input open"),
        ("tty", "-t --tty", "flag", "", "Give it a terminal"),
        ("env", "-e --env", "list", "NAME[=VALUE]", "Set an environment variable, or pass one on"),
        ("env_file", "--env-file", "list", "FILE", "Set the environment variables of a file"),
        ("workdir", "-w --workdir", "text", "DIR", "Directory it starts in"),
        ("user", "-u --user", "text", "USER[:GROUP]", "Who runs it, by name or number"),
        ("group_add", "--group-add", "list", "GROUP", "A further group"),
        ("name", "--name", "text", "NAME", "Name of the container"),
        ("hostname", "-h --hostname", "text", "NAME", "Its host name"),
        ("domainname", "--domainname", "text", "NAME", "Its NIS domain name"),
        ("entrypoint", "--entrypoint", "text", "PROGRAM", "Instead of the image's; empty: none"),
        ("init", "--init", "flag", "", "Run an init that forwards signals and reaps orphans"),
        ("labels", "-l --label", "list", "KEY=VALUE", "Label the container"),
        ("label_file", "--label-file", "list", "FILE", "Read labels from a file"),
        ("annotations", "--annotation", "list", "KEY=VALUE", "Note something on the container for `inspect`"),
        ("platform", "--platform", "text", "OS[/ARCH]", "Which of the image's platforms"),
        ("pull", "--pull", "text", "WHEN", "Fetch the image: missing, always, never [default: missing]"),
        ("rootfs", "--rootfs", "text", "DIR[:rw]", "Take a directory in place of an image"),
        (
            "volumes",
            "-v --volume",
            "list",
            "SOURCE:TARGET[:OPTIONS]",
            "Mount a volume or a directory of the host",
        ),
        (
            "volumes_from",
            "--volumes-from",
            "list",
            "CONTAINER[:ro]",
            "Mount what another container has mounted",
        ),
        ("volume_driver", "--volume-driver", "text", "DRIVER", "Driver of its volumes: local"),
        ("mounts", "--mount", "list", "KEY=VALUE,...", "Mount a bind, volume, image or tmpfs by its type="),
        ("tmpfs", "--tmpfs", "list", "DIR[:OPTIONS]", "Mount an empty directory in memory"),
        ("secrets", "--secret", "list", "KEY=VALUE,...", "Give it a secret as a file: id=, src= or env="),
        ("configs", "--config", "list", "KEY=VALUE,...", "Give it a file in memory: src= or env=, target="),
        ("read_only", "--read-only", "flag", "", "Make the root file system read-only"),
        ("shm_size", "--shm-size", "text", "SIZE", "Size of /dev/shm [default: 64m]"),
        ("memory", "-m --memory", "text", "SIZE", "The most memory it may hold"),
        ("memory_swap", "--memory-swap", "text", "SIZE", "Memory and swap together; -1: no limit on swap"),
        ("memory_reservation", "--memory-reservation", "text", "SIZE", "Memory it keeps in hard times"),
        ("memory_swappiness", "--memory-swappiness", "number", "0-100", "How readily it is swapped out"),
        ("oom_kill_disable", "--oom-kill-disable", "flag", "", "Let it wait when its memory is used up"),
        ("oom_score_adj", "--oom-score-adj", "number", "N", "How readily the host kills it: -1000 to 1000"),
        ("cpus", "--cpus", "text", "N", "How many processors' time it may use"),
        ("cpu_shares", "-c --cpu-shares", "number", "N", "Its weight against others"),
        ("cpu_period", "--cpu-period", "number", "MICROSECONDS", "Length of a period of --cpu-quota"),
        ("cpu_quota", "--cpu-quota", "number", "MICROSECONDS", "Processor time in each period"),
        ("cpuset_cpus", "--cpuset-cpus", "text", "LIST", "Processors it may run on: 0-3,5"),
        ("cpuset_mems", "--cpuset-mems", "text", "LIST", "Memory nodes it may use: 0-1"),
        ("pids_limit", "--pids-limit", "number", "N", "The most processes and threads; -1: no limit"),
        ("ulimits", "--ulimit", "list", "NAME=SOFT[:HARD]", "Limit of each of its processes"),
        ("blkio_weight", "--blkio-weight", "number", "N", "Its weight at block devices: 10 to 1000"),
        ("blkio_weight_device", "--blkio-weight-device", "list", "DEVICE:N", "The same, at one device"),
        ("device_read_bps", "--device-read-bps", "list", "DEVICE:SIZE", "Bytes it may read a second"),
        ("device_write_bps", "--device-write-bps", "list", "DEVICE:SIZE", "Bytes it may write a second"),
        ("device_read_iops", "--device-read-iops", "list", "DEVICE:N", "Reads a second"),
        ("device_write_iops", "--device-write-iops", "list", "DEVICE:N", "Writes a second"),
        ("cap_add", "--cap-add", "list", "NAME", "Add a capability, or ALL"),
        ("cap_drop", "--cap-drop", "list", "NAME", "Drop a capability, or ALL"),
        (
            "security_opt",
            "--security-opt",
            "list",
            "OPTION",
            "no-new-privileges, seccomp=FILE|unconfined ...",
        ),
        ("privileged", "--privileged", "flag", "", "Confine it hardly at all"),
        ("devices", "--device", "list", "DEVICE[:TARGET][:rwm]", "Let it use a device of the host"),
        ("device_cgroup_rules", "--device-cgroup-rule", "list", "RULE", "Allow devices: 'c 42:* rmw'"),
        ("sysctls", "--sysctl", "list", "NAME=VALUE", "Set a kernel parameter of its namespaces"),
        ("network", "--network --net", "text", "NAME", "bridge, none, host, a network, or container:NAME"),
        ("aliases", "--network-alias", "list", "NAME", "A further name of it in its network"),
        ("ip", "--ip", "text", "ADDRESS", "Its IPv4 address"),
        ("ip6", "--ip6", "text", "ADDRESS", "Its IPv6 address"),
        ("mac_address", "--mac-address", "text", "ADDRESS", "Its MAC address"),
        ("ports", "-p --publish", "list", "[[ADDRESS:]PORT:]PORT", "Let the host pass one of its ports on"),
        ("publish_all", "-P --publish-all", "flag", "", "Let the host pass on all ports that it exposes"),
        ("expose", "--expose", "list", "PORT[/PROTOCOL]", "A port that it serves, or a range of them"),
        ("dns", "--dns", "list", "ADDRESS", "A name server, in place of the host's"),
        ("dns_search", "--dns-search", "list", "DOMAIN", "Where it looks up short names; .: nowhere"),
        ("dns_options", "--dns-option --dns-opt", "list", "OPTION", "As in resolv.conf: ndots:2"),
        ("add_host", "--add-host", "list", "NAME:ADDRESS", "A line of its hosts file, or host-gateway"),
        ("links", "--link", "list", "CONTAINER[:NAME]", "A name by which it alone knows another"),
        ("pid", "--pid", "text", "MODE", "Process namespace: private, host, or container:NAME"),
        ("ipc", "--ipc", "text", "MODE", "IPC namespace: private, shareable, host, none, container:NAME"),
        ("uts", "--uts", "text", "MODE", "Host name namespace: private or host"),
        ("userns", "--userns", "text", "MODE", "User namespace: auto or host"),
        ("cgroupns", "--cgroupns", "text", "MODE", "Cgroup namespace: private or host"),
        ("cgroup_parent", "--cgroup-parent", "text", "CGROUP", "Cgroup to be made below"),
        (
            "restart",
            "--restart",
            "text",
            "POLICY",
            "Start it again: no, on-failure[:N], always, unless-stopped",
        ),
        ("log_driver", "--log-driver", "text", "DRIVER", "Where its output goes: json-file or none"),
        ("log_opt", "--log-opt", "list", "KEY=VALUE", "max-size=SIZE, max-file=N"),
        ("health_cmd", "--health-cmd", "text", "COMMAND", "Command that succeeds while all is well"),
        ("health_interval", "--health-interval", "text", "TIME", "From one to the next [default: 30s]"),
        ("health_timeout", "--health-timeout", "text", "TIME", "The most it may take [default: 30s]"),
        ("health_retries", "--health-retries", "number", "N", "Failures in a row that count [default: 3]"),
        ("health_start_period", "--health-start-period", "text", "TIME", "Failures do not count that long"),
        ("health_start_interval", "--health-start-interval", "text", "TIME", "From one to the next then"),
        ("no_healthcheck", "--no-healthcheck", "flag", "", "Never ask how it is"),
        ("cidfile", "--cidfile", "text", "FILE", "Make a file with its id"),
        ("stop_signal", "--stop-signal", "text", "SIGNAL", "Signal that asks it to stop"),
        ("stop_timeout", "--stop-timeout", "text", "SECONDS", "Time to stop before it is killed"),
    )
)


_NAMED = (
    r"(?<=\bfor `)[a-z_]+(?=`)"
    r"|(?<=`)(?<!value `)[a-z_]+(?==)"
    r"|(?<=`)[a-z_]+(?=` and `[^`]*` exclude)"
    r"|(?<=` and `)[a-z_]+(?=` exclude)"
    r"|(?<=`)[a-z_]+(?=` has no meaning with `)"
)


def parameter(name: str, kind: Any, described: Any, *default: Any) -> inspect.Parameter:
    """One of a command's parameters: its type, what typer is to know of it, and its default if it has one."""
    import inspect
    from typing import Annotated

    value = default[0] if default else inspect.Parameter.empty
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=Annotated[kind, described]
    )


def parameters() -> list[inspect.Parameter]:
    """The table as parameters of a function, for typer to read."""
    import typer

    kinds: dict[str, tuple[Any, Any]] = {
        "flag": (bool, False),
        "text": (str | None, None),
        "number": (int | None, None),
        "list": (list[str] | None, None),
    }
    result = []
    for flag in FLAGS:
        kind, default = kinds[flag.kind]
        described = typer.Option(
            *flag.names.split(), metavar=flag.metavar or None, help=flag.help, show_default=False
        )
        result.append(parameter(flag.option, kind, described, default))
    return result


def given(values: dict[str, Any]) -> dict[str, Any]:
    """What was on the command line, as `ContainerOptions`."""
    result = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None and value is not False and value != ()
    }
    if "entrypoint" in result:  # one program here; its arguments come after the image
        result["entrypoint"] = [result["entrypoint"]] if result["entrypoint"] else []
    return result


_OF_NETWORKS = {
    "aux_addresses": "--aux-address",
    "gateway": "--gateway",
    "ip_range": "--ip-range",
    "subnet": "--subnet",
}


def in_flags(told: object) -> str:
    """An engine's message in the words of the command line: for `memory_swap` becomes for `--memory-swap`.

    A message names an option after "for", before or after "and" where two exclude each other, or with its
    value: `pid=host`. Any other word in such quotes is a user's own, and may be that of an option.
    """
    import re

    flags = {**{flag.option: _long(flag) for flag in FLAGS}, **_OF_NETWORKS}
    return re.sub(_NAMED, lambda found: flags.get(found[0], found[0]), str(told))


def _long(flag: Flag) -> str:
    return next(name for name in flag.names.split() if name.startswith("--"))
