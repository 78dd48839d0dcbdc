"""Containers whose namespaces another is to be in: `--network container:web`.

Which one it is, is decided when the other is made, as docker does: in its options and its configuration is
the id. Its namespaces are those that it has at each start of the other; see `rust/runtime/src/sharing.rs`.

Power over a namespace is power in the user namespace that owns it. So who joins one of a container's
namespaces joins its user namespace, and has its ids.
"""

from __future__ import annotations

from pycontain.errors import Conflict, InvalidOption
from pycontain.runtime.sizes import exclude
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["OPTIONS", "PREFIX", "Donor", "of_option", "refuse", "user_namespace"]

PREFIX = "container:"
OPTIONS = ("network", "pid", "ipc")

# what docker says of options that are the other container's
_CONFLICTS = {
    "hostname": "conflicting options: hostname and the network mode",
    "domainname": "conflicting options: domainname and the network mode",
    "ports": "conflicting options: port publishing and the container type network mode",
    "publish_all": "conflicting options: port publishing and the container type network mode",
    "expose": "conflicting options: port exposing and the container type network mode",
    "dns": "conflicting options: dns and the network mode",
    "dns_options": "conflicting options: dns and the network mode",
    "dns_search": "conflicting options: dns and the network mode",
    "add_host": "conflicting options: custom host-to-IP mapping and the network mode",
    "links": "conflicting options: container type network can't be used with links",
    "mac_address": "conflicting options: mac-address and the network mode",
    "aliases": "conflicting options: aliases and the network mode",
    "ip": "conflicting options: ip and the network mode",
    "ip6": "conflicting options: ip6 and the network mode",
}


class Donor(Value):
    """A container whose namespaces are joined.

    Attributes:
        id: 64 hexadecimal digits.
        name: what it was called then.
        monitor: where its monitor listens, when it runs.
        hostname: its own name.
        user: whose user namespace it has: the path of a monitor; empty: the host's.
        shares_ipc: it lets others into its ipc namespace.
    """

    __slots__ = ("id", "name", "monitor", "hostname", "user", "shares_ipc")  # noqa: RUF023
    id: str
    name: str
    monitor: str
    hostname: str
    user: str
    shares_ipc: bool

    def __init__(
        self, id: str, name: str, monitor: str, hostname: str, user: str, *, shares_ipc: bool
    ) -> None:
        self._set(id=id, name=name, monitor=monitor, hostname=hostname, user=user, shares_ipc=shares_ipc)


def of_option(value: object) -> str | None:
    """The container that an option's value names; None: it names none."""
    if isinstance(value, str) and value.startswith(PREFIX) and value != PREFIX:
        return value.removeprefix(PREFIX)
    return None


def refuse(options: Mapping[str, Any]) -> None:
    """Refuse what is the other container's, where its network is joined.

    Raises:
        InvalidOption: there is something of it.
    """
    for name, words in _CONFLICTS.items():
        if options.get(name):
            raise InvalidOption(words, hint="give it to the container whose network is joined")


def user_namespace(donors: Mapping[str, Donor], asked: str, *, host: str | None) -> str:
    """That of a container that joins these: the path of a monitor, or `host`.

    Args:
        donors: by the option that names them.
        asked: what was asked for; empty: nothing.
        host: the option that asks for the host's; None: there is none.

    Raises:
        Conflict: one does not let others into its ipc namespace.
        InvalidOption: they have several, or it is another than was asked for.
    """
    ipc = donors.get("ipc")
    if ipc is not None and not ipc.shares_ipc:
        raise Conflict(
            f"cannot join the ipc namespace of container `{ipc.name}`: non-shareable IPC",
            hint="make that one with `--ipc shareable`",
        )
    users = {donor.user or "host" for donor in donors.values()}
    if host is not None or asked == "host":
        users.add("host")
    if len(users) > 1 and host is None and asked != "host":
        names = " and ".join(f"`{donor.name}`" for donor in donors.values())
        raise InvalidOption(
            f"containers {names} have user namespaces of their own, of which one can be joined",
            hint="share the namespaces of one of them",
        )
    user = "host" if "host" in users else users.pop()
    if asked not in {"", "host"} or (asked == "host" and user != "host"):
        option, donor = next(iter(donors.items()))
        raise exclude(
            f"userns={asked}", f"{option}={PREFIX}{donor.name}", "it has the user namespace of that one"
        )
    return user
