"""What a container may do: capabilities, security options, ulimits, kernel parameters."""

from __future__ import annotations

from pycontain.errors import Unsupported
from pycontain.runtime.environment import strings
from pycontain.runtime.sizes import invalid, string, whole
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# capabilities(7), in the order of their numbers: up to CHECKPOINT_RESTORE, Linux 5.9
CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP "
        "LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER "
        "SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
        "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
        "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF "
        "CHECKPOINT_RESTORE"
    ).split()
)
DEFAULT_CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
        "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    ).split()
)
_ULIMITS = (
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
).split()
_UNLIMITED = (1 << 64) - 1
# the kernel parameters that belong to an IPC namespace; sysctl(8) names
_IPC_SYSCTLS = {
    f"kernel.{name}" for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
}


def _capability(option: str, value: str) -> str:
    name = value.upper()
    if name == "ALL":
        return name
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name not in CAPABILITIES:
        raise invalid(option, value, "not a capability", hint="capabilities(7) lists them; `ALL` names all")
    return name


def capabilities(add: Iterable[str], drop: Iterable[str]) -> tuple[str, ...]:
    """Docker's default set with `add` and `drop` applied; `ALL` in either stands for every capability."""
    added = [_capability("cap_add", name) for name in strings("cap_add", add)]
    dropped = [_capability("cap_drop", name) for name in strings("cap_drop", drop)]
    if "ALL" in added:
        return tuple(name for name in CAPABILITIES if name not in dropped)
    kept = () if "ALL" in dropped else DEFAULT_CAPABILITIES
    return tuple(dict.fromkeys([*(name for name in kept if name not in dropped), *added]))


class Security(Value):
    """What `--security-opt` asked for.

    Attributes:
        no_new_privileges: set-user-id programs and file capabilities gain nothing.
        seccomp: None: by default; `unconfined`; else the path of a profile.
        masked_paths: False: /proc and /sys are as the kernel makes them.
        writable_cgroups: /sys/fs/cgroup is writable in the container.
    """

    __slots__ = ("no_new_privileges", "seccomp", "masked_paths", "writable_cgroups")  # noqa: RUF023
    no_new_privileges: bool
    seccomp: str | None
    masked_paths: bool
    writable_cgroups: bool

    def __init__(
        self,
        no_new_privileges: bool = False,
        seccomp: str | None = None,
        masked_paths: bool = True,
        writable_cgroups: bool = False,
    ) -> None:
        self._set(
            no_new_privileges=no_new_privileges,
            seccomp=seccomp,
            masked_paths=masked_paths,
            writable_cgroups=writable_cgroups,
        )


_NOTHING_ASKED = Security()
_TRUTH = {"": True, "1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_ALLOWED_SECURITY = (
    "must be no-new-privileges, seccomp=unconfined, seccomp=builtin, seccomp=FILE, systempaths=unconfined or "
    "writable-cgroups=true"
)


def security(values: Iterable[str]) -> Security:
    """`--security-opt`, each `key=value` or, as of old, `key:value`."""
    if not values:
        return _NOTHING_ASKED
    no_new_privileges, seccomp, masked_paths, writable_cgroups = False, None, True, False
    for value in strings("security_opt", values):
        key, separator, content = value.partition("=")
        if not separator:
            key, separator, content = value.partition(":")
        if key in {"no-new-privileges", "writable-cgroups"}:
            if content.lower() not in _TRUTH:
                raise invalid("security_opt", value, f"`{key}` is true or false")
            if key == "no-new-privileges":
                no_new_privileges = _TRUTH[content.lower()]
            else:
                writable_cgroups = _TRUTH[content.lower()]
        elif key == "seccomp" and content:
            seccomp = None if content == "builtin" else content
        elif key == "systempaths" and content == "unconfined":
            masked_paths = False
        elif (key, content) in {("apparmor", "unconfined"), ("label", "disable")}:
            pass  # there is none of either
        elif key in {"apparmor", "label"} and content:
            module = "AppArmor" if key == "apparmor" else "SELinux"
            off = "apparmor=unconfined" if key == "apparmor" else "label=disable"
            raise Unsupported(
                f"security option `{value}`: {module} is not supported", hint=f"leave it out, or `{off}`"
            )
        else:
            raise invalid("security_opt", value, _ALLOWED_SECURITY)
    return Security(no_new_privileges, seccomp, masked_paths, writable_cgroups)


def ulimits(value: Mapping[str, int | tuple[int, int]] | Iterable[str]) -> list[dict[str, object]]:
    """`process.rlimits`, from `nofile=1024:2048`, or `{"nofile": (1024, 2048)}`: soft, hard."""
    if hasattr(value, "items"):
        limits = {name: pair if isinstance(pair, tuple) else (pair,) for name, pair in value.items()}
        return [_rlimit(f"{name}={':'.join(map(str, pair))}", name, *pair) for name, pair in limits.items()]
    latest: dict[str, dict[str, object]] = {}
    for entry in strings("ulimits", value):
        name, equals, text = entry.partition("=")
        numbers = text.split(":")
        if not equals or len(numbers) > 2:
            raise invalid("ulimits", entry, "must be NAME=SOFT[:HARD]")
        latest[name] = _rlimit(entry, name, *numbers)
    return list(latest.values())


def _rlimit(entry: str, name: str, soft: int | str, hard: int | str | None = None) -> dict[str, object]:
    if name not in _ULIMITS:
        raise invalid("ulimits", entry, f"the name must be one of {', '.join(_ULIMITS)}")
    numbers = [_limit(entry, soft), _limit(entry, soft if hard is None else hard)]
    if numbers[0] > numbers[1]:
        raise invalid("ulimits", entry, "the soft limit must not be above the hard limit")
    return {"type": f"RLIMIT_{name.upper()}", "hard": numbers[1], "soft": numbers[0]}


def _limit(entry: str, value: int | str) -> int:
    try:
        number = whole("ulimits", value, -1, (1 << 63) - 1)
    except ValueError:
        raise invalid("ulimits", entry, "a limit must be a whole number, or -1 for none") from None
    return _UNLIMITED if number == -1 else number


def sysctls(
    value: Mapping[str, str | int] | Iterable[str], *, host_network: bool, host_ipc: bool
) -> dict[str, str]:
    """`linux.sysctl`: kernel parameters of the namespaces that the container has to itself."""
    if hasattr(value, "items"):
        pairs = {string("sysctls", name): str(content) for name, content in value.items()}
    else:
        pairs = {}
        for entry in strings("sysctls", value):
            name, equals, content = entry.partition("=")
            if not equals:
                raise invalid("sysctls", entry, "must be NAME=VALUE")
            pairs[name] = content
    result = {}
    for name, content in pairs.items():
        entry = f"{name}={content}"
        of_network = name.startswith("net.")
        of_ipc = name in _IPC_SYSCTLS or name.startswith("fs.mqueue.")
        # a slash stands for a dot within a part, as in net.ipv4.conf.eth0/1.forwarding; empty parts become
        # `..` in a path, and could lead out of /proc/sys/net
        if not (of_network or of_ipc) or "" in name.replace("/", ".").split("."):
            raise invalid(
                "sysctls", entry, "only net.*, fs.mqueue.* and those of System V IPC belong to a container"
            )
        if (of_network and host_network) or (of_ipc and host_ipc):
            which = "network" if of_network else "ipc"
            raise invalid("sysctls", entry, f"would change the host's, because of {which}=host")
        result[name] = content
    return result
