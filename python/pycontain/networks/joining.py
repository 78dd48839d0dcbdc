"""A container comes into its networks: addresses and ports are taken, and put into its configuration.

What was asked for is in the configuration from the beginning, as an annotation; what it got is added for each
start: addresses and ports are held by those who keep the container, and free when it does not run.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import socket

from pycontain.errors import PortInUse, Unsupported
from pycontain.networks import naming
from pycontain.networks.definition import DEFAULT
from pycontain.networks.networks import check_user, default_network
from pycontain.networks.store import NetworkStore
from pycontain.runtime.joined import ASKED, Joined
from pycontain.runtime.ports import PublishedPort, pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from pycontain.networks.definition import Definition
    from pycontain.networks.leases import Lease
    from pycontain.paths import Paths

__all__ = ["attach", "attachment", "definition_of", "join"]

_GIVEN = "io.pycontain.networks"
_PORT_PREFIX = "pcv"
_KINDS = {"tcp": (socket.SOCK_STREAM, 0), "udp": (socket.SOCK_DGRAM, 0), "sctp": (socket.SOCK_STREAM, 132)}
_ANY = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - published on all addresses unless one is given


def join(paths: Paths, config: bytes, holder: Mapping[str, str], others: Iterable[int] = ()) -> Joined:
    """See `runtime.joined.join`, of a container that asked for something."""
    joined = Joined(config, others)
    document = json.loads(config)
    annotations = document["annotations"]
    asked = annotations.get(ASKED)
    if asked is None:
        return joined
    wanted = json.loads(asked)
    check_user("join")
    store = NetworkStore(paths)
    try:
        attachments = _attachments(store, wanted, holder, joined)
        linked = naming.linked(store, wanted, joined.networks)
    except BaseException:
        joined.__exit__()
        raise
    naming.name(annotations, wanted, attachments, joined.networks, linked)
    annotations[_GIVEN] = json.dumps([one["attachment"] for one in attachments])
    joined.config = json.dumps(document).encode()
    return joined


def _attachments(
    store: NetworkStore, wanted: Mapping[str, Any], holder: Mapping[str, str], joined: Joined
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, asked in enumerate(wanted["networks"]):
        definition = definition_of(store, asked["name"])
        leads = not definition.internal and not any(one["attachment"]["gateways"] for one in found)
        ports = [] if number else [PublishedPort(*port) for port in wanted["ports"]]
        found.append(
            attach(
                store,
                definition,
                asked,
                holder,
                joined,
                hostnames=wanted["names"],
                number=number,
                leads=leads,
                ports=ports,
            )
        )
    return found


def attach(
    store: NetworkStore,
    definition: Definition,
    asked: Mapping[str, Any],
    holder: Mapping[str, str],
    joined: Joined,
    *,
    hostnames: str,
    number: int,
    leads: bool,
    ports: Iterable[PublishedPort] = (),
) -> dict[str, Any]:
    """Take what a container gets of one network.

    Args:
        store: where networks are.
        definition: the network.
        asked: its part of the annotation.
        holder: the container's `id` and `name`.
        joined: holds it.
        hostnames: the container's own, as /etc/hosts has them.
        number: of its interface.
        leads: its default routes are by this one.
        ports: those that are published there.
    """
    leases = _leases(store, definition, asked, joined)
    if definition.name != DEFAULT:
        store.get(definition.name)  # whoever removes it looks for leases after that
    port = _PORT_PREFIX + os.urandom(6).hex()
    published = [one for asked_port in ports for one in _publish(asked_port, leases, joined)]
    mac = asked.get("mac") or _mac(leases)
    aliases = list(asked.get("aliases", ()))
    names = [] if definition.name == DEFAULT else [holder["name"], holder["id"][:12], *aliases]
    described = {
        **holder,
        "port": port,
        "interface": f"eth{number}",
        "network": definition.name,
        "network_id": definition.id,
        "mac": mac,
        "addresses": _with_lengths(leases, definition),
        "gateways": [str(subnet.gateway) for subnet in definition.subnets],
        "published": published,
        "hostnames": hostnames,
    }
    for lease in leases:
        lease.describe(described, [name.lower() for name in names if name])
    told = {**described, "names": names, "aliases": aliases}
    joined.networks.append(told)
    return attachment(definition, told, leads=leads)


def definition_of(store: NetworkStore, name: str) -> Definition:
    """The network that the annotation names."""
    return default_network(store) if name == DEFAULT else store.get(name)


def _leases(
    store: NetworkStore, definition: Definition, asked: Mapping[str, Any], joined: Joined
) -> list[Lease]:
    addresses = store.leases(definition)
    found = []
    for subnet in definition.subnets:
        kept = (subnet.gateway, *subnet.reserved.values())
        given = asked.get("ip" if subnet.prefix.version == 4 else "ip6")
        if given is None:
            lease = addresses.take(subnet.prefix, but=kept, within=subnet.within)
        else:
            lease = addresses.take_this(ipaddress.ip_address(given), subnet.prefix, but=kept)
        joined.hold(lease.fd)
        found.append(lease)
    return found


def _publish(port: PublishedPort, leases: Iterable[Lease], joined: Joined) -> list[dict[str, Any]]:
    inside = {lease.address.version: str(lease.address) for lease in leases}
    if port.address:
        version = ipaddress.ip_address(port.address).version
        places = {version: port.address} if version in inside else {}
        if not places:
            raise Unsupported(
                f"cannot publish at {pair(port.address, port.first)}: "
                f"the container has no address of IPv{version}",
                hint="make the network with `--ipv6`" if version == 6 else None,
            )
    else:
        places = {version: any_of for version, any_of in _ANY.items() if version in inside}
    number, sockets = _reserve(port, places)
    for one in sockets:
        joined.hold(one.detach())
    return [
        {"at": place, "port": number, "protocol": port.protocol, "to": pair(inside[version], port.container)}
        for version, place in places.items()
    ]


def _reserve(port: PublishedPort, places: Mapping[Any, str]) -> tuple[int, list[socket.socket]]:
    """A number that is free at all places, and sockets that keep it from others for as long as they live."""
    why: OSError | None = None
    for number in range(port.first, port.last + 1):
        with contextlib.ExitStack() as taken:
            try:
                chosen, sockets = number, []
                for version, place in places.items():
                    one = taken.enter_context(_bound(port.protocol, version, place, chosen))
                    chosen = one.getsockname()[1]
                    sockets.append(one)
            except OSError as error:
                why = error
                if error.errno not in {errno.EADDRINUSE, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT}:
                    break
                if error.errno != errno.EADDRINUSE:
                    return number, []  # without the protocol in the kernel nobody else has it either
            else:
                taken.pop_all()
                return chosen, sockets
    place = next(iter(places.values()))
    told = f"{pair(place, port.first)}/{port.protocol}"
    if why is not None and why.errno == errno.EADDRNOTAVAIL:
        raise Unsupported(f"cannot publish {told}: this machine has no address {place}") from why
    reason = str(why.strerror).lower() if why is not None else "it is taken"
    raise PortInUse(
        f"cannot publish {told}: {reason}",
        hint="`ss -lnp` shows who has it; 0 in its place is any that is free",
    )


def _bound(protocol: str, version: int, place: str, number: int) -> socket.socket:
    kind, protocol_number = _KINDS[protocol]
    one = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind, protocol_number)
    try:
        if version == 6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((place, number))
    except BaseException:
        one.close()
        raise
    return one


def _with_lengths(leases: Iterable[Lease], definition: Definition) -> list[str]:
    lengths = {subnet.prefix.version: subnet.prefix.prefixlen for subnet in definition.subnets}
    return [f"{lease.address}/{lengths[lease.address.version]}" for lease in leases]


def _mac(leases: Sequence[Lease]) -> str:
    """As docker makes it: of the address."""
    tail = leases[0].address.packed[-4:] if leases else os.urandom(4)
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *tail))


def attachment(definition: Definition, told: Mapping[str, Any], *, leads: bool) -> dict[str, Any]:
    """What the runtime takes, out of what is told of a container in a network."""
    reach = "internal" if definition.internal else "masqueraded" if definition.masquerades else "routed"
    made = {
        "network": {
            "bridge": definition.bridge,
            "alias": f"pycontain network {definition.name}",
            "addresses": [[str(subnet.gateway), subnet.prefix.prefixlen] for subnet in definition.subnets],
            "mtu": definition.mtu or None,
            "reach": reach,
            "isolated": definition.isolates,
        },
        "owner": f"{definition.bridge}/{told['addresses'][0].partition('/')[0]}/{told['port']}",
        "port": told["port"],
        "interface": told["interface"],
        "mac": [int(part, 16) for part in told["mac"].split(":")],
        "addresses": [
            [address, int(length)]
            for address, _, length in (text.partition("/") for text in told["addresses"])
        ],
        "gateways": list(told["gateways"]) if leads else [],
        "published": list(told["published"]),
    }
    return {"name": definition.name, "names": list(told["names"]), "attachment": made}
