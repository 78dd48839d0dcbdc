"""Names and namespaces: which namespaces are the container's own, what it is called, who runs in it."""

from __future__ import annotations

from pycontain.errors import Unsupported
from pycontain.runtime.sizes import exclude, invalid, string
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pycontain.options import ContainerOptions
    from pycontain.runtime.donors import Donor
    from pycontain.runtime.host import Host

_MODES: dict[str, dict[str, str]] = {
    "pid": {"": "private", "private": "private", "host": "host"},
    "ipc": {"": "private", "private": "private", "shareable": "private", "host": "host", "none": "none"},
    "uts": {"": "private", "private": "private", "host": "host"},
    "cgroupns": {"": "private", "private": "private", "host": "host"},
    "userns": {"": "auto", "auto": "auto", "private": "auto", "host": "host"},
    "network": {"": "none", "none": "none", "host": "host", "default": "bridge"},
}
_OF_CONTAINERS = ("network", "pid", "ipc")


def mode(option: str, value: str) -> str:
    """One namespace option in its plain form: `private`, `host`, and where it exists `none` or `auto`."""
    modes = _MODES[option]
    if value in modes:
        return modes[value]
    if option in _OF_CONTAINERS and value.startswith("container:") and value != "container:":
        return value
    if value.startswith("ns:") and value != "ns:":
        raise Unsupported(f"`{option}={value}`: namespaces of the host cannot be joined by a path")
    if option == "network" and _is_name(value):
        return value
    names = [*filter(None, modes), *(["container:NAME"] if option in _OF_CONTAINERS else [])]
    raise invalid(option, value, f"must be {', '.join(names[:-1])} or {names[-1]}")


class Namespaces(Value):
    """Which namespaces a container shares with the host.

    Attributes:
        network: `none`, `host`, `container:ID`, or the network's name.
        pid: `private`, `host` or `container:ID`.
        uts, cgroup: `private` or `host`.
        ipc: `private`, `host`, `container:ID`, or `none`: private, without /dev/shm.
        user: `auto`: a range of ids of its own; `host`; or that of another container, by its monitor.
        donors: the containers that `network`, `pid` and `ipc` name.
    """

    __slots__ = ("network", "pid", "ipc", "uts", "cgroup", "user", "donors")  # noqa: RUF023
    network: str
    pid: str
    ipc: str
    uts: str
    cgroup: str
    user: str
    donors: Mapping[str, Donor]

    def __init__(
        self,
        network: str,
        pid: str,
        ipc: str,
        uts: str,
        cgroup: str,
        user: str,
        donors: Mapping[str, Donor] | None = None,
    ) -> None:
        self._set(network=network, pid=pid, ipc=ipc, uts=uts, cgroup=cgroup, user=user, donors=donors or {})

    def own(self) -> list[dict[str, str]]:
        """`linux.namespaces`: those that are made for the container, and those that it joins."""
        kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup", "user", "time"]
        shared = {kind for kind in ("pid", "ipc", "uts", "cgroup", "user") if getattr(self, kind) == "host"}
        if self.network == "host":
            shared.add("network")
        joined = {kind: donor.monitor for kind, donor in self.donors.items()}
        if self.user not in {"auto", "host"}:
            joined["user"] = self.user
        return [
            {"type": kind, "path": joined[kind]} if kind in joined else {"type": kind}
            for kind in kinds
            if kind not in shared
        ]


_ALL_ITS_OWN = Namespaces("none", "private", "private", "private", "private", "auto")


def namespaces(options: Mapping[str, object], host: Host | None = None) -> Namespaces:
    """The namespaces of a container; `host` knows those of others.

    A process in a user namespace of its own has no power over the host's processes and network: it could
    neither mount /proc and /sys for them nor use them as `--pid=host`, `--network=host` and `--privileged`
    promise. Hence these three imply the host's user namespace.
    """
    if _MODES.keys().isdisjoint(options) and "privileged" not in options:
        return _ALL_ITS_OWN
    modes = {name: mode(name, string(name, options.get(name, ""))) for name in _MODES}
    reasons = [f"{name}=host" for name in ("pid", "network") if modes[name] == "host"]
    if options.get("privileged"):
        reasons.append("privileged")
    donors: dict[str, Donor] = {}
    if any(modes[name].startswith("container:") for name in ("network", "pid", "ipc")):
        from pycontain.runtime import donors as others
        from pycontain.runtime.host import Host

        named = {name: container for name in modes if (container := others.of_option(modes[name]))}
        donors = {name: (host or Host()).donor(container) for name, container in named.items()}
        asked = str(options.get("userns") or "")
        modes["userns"] = others.user_namespace(donors, asked, host=next(iter(reasons), None))
    if reasons and modes["userns"] == "auto":
        if options.get("userns"):
            raise exclude(f"userns={options['userns']}", reasons[0], "it needs the host's user namespace")
        modes["userns"] = "host"
    if modes["uts"] == "host":
        for name in ("hostname", "domainname"):
            if options.get(name):
                raise exclude(name, "uts=host", "the name would be the host's")
    return Namespaces(
        modes["network"],
        modes["pid"],
        modes["ipc"],
        modes["uts"],
        modes["cgroupns"],
        modes["userns"],
        donors,
    )


def with_network(options: ContainerOptions, host: Host) -> ContainerOptions:
    """The options with a network in them: that of containers which name none, where they do not."""
    if options.get("network") not in (None, "", "default"):
        return options
    options = options.copy()
    options["network"] = host.network
    return options


_ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


def _is_name(value: str) -> bool:
    return len(value) > 1 and value[0] in _ALPHANUMERIC and set(value) <= _ALPHANUMERIC | set("_.-")


def container_name(value: str) -> str:
    """A container's name, without the slash that docker puts before it."""
    name = string("name", value).removeprefix("/")
    if not _is_name(name):
        raise invalid("name", value, "must be two or more of a-z A-Z 0-9 _ . -, the first a letter or digit")
    return name


def host_name(option: str, value: str) -> str:
    """A host's name or domain: labels of letters, digits, `-`, `_`; 64 bytes, as in sethostname(2)."""
    labels = string(option, value).split(".")
    for label in labels:
        if not label or label[0] == "-" or label[-1] == "-" or not set(label) <= _ALPHANUMERIC | set("-_"):
            raise invalid(option, value, "must be letters, digits, - and _, in labels separated by dots")
    if len(value) > 64:
        raise invalid(option, value, "must not be longer than 64 characters")
    return value


def user(value: str | int) -> tuple[str, int | None, int | None]:
    """`--user` as (text, uid, gid): the ids None where names have to be looked up in the container."""
    text = str(value)
    name, colon, group = text.partition(":")
    is_one = isinstance(value, str | int) and not isinstance(value, bool)
    if not is_one or ":" in group or any(c in text for c in "\0\n /"):
        raise invalid("user", value, "must be NAME, UID, NAME:GROUP or UID:GID")
    if colon and not name and not group:
        raise invalid("user", value, "must be NAME, UID, NAME:GROUP or UID:GID")
    return text, _identity(value, name), _identity(value, group)


def _identity(value: object, text: str) -> int | None:
    if not text.isascii() or not text.isdecimal():
        if text.startswith("-") and text[1:].isdecimal():
            raise invalid("user", value, "ids are not negative")
        return None
    if len(text) > 10 or int(text) > 2**31 - 1:
        raise invalid("user", value, "ids end at 2147483647")
    return int(text)


def groups(value: Iterable[str | int]) -> tuple[list[int], list[str]]:
    """`--group-add`: numbers, and names that have to be looked up in the container."""
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise invalid("group_add", value, "must be a list")
    numbers, names = [], []
    for group in value:
        text = str(group)
        if isinstance(group, bool) or not text or any(c in text for c in "\0\n :,/"):
            raise invalid("group_add", group, "must be the name or the number of a group")
        number = _identity(group, text)
        if number is None:
            names.append(text)
        else:
            numbers.append(number)
    return numbers, names
