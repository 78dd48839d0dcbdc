"""Making networks."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os

from pycontain.errors import Conflict
from pycontain.networks.definition import DEFAULT, Definition, Subnet, check_name, subnets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pycontain.networks.store import NetworkStore

__all__ = ["default_network", "make"]


def make(
    store: NetworkStore,
    name: str,
    *,
    prefixes: Iterable[str] = (),
    gateways: Iterable[str] = (),
    ranges: Iterable[str] = (),
    reserved: Mapping[str, str] | None = None,
    ipv6: bool = False,
    internal: bool = False,
    labels: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> Definition:
    """Make a network; of what was not given a free subnet is taken.

    Raises:
        Conflict: a subnet overlaps another network's, or a route of this machine.
        InvalidOption: something is not what it should be.
        NameInUse: there is one of this name.
    """
    from pycontain import _core

    id = os.urandom(32).hex()
    given = subnets(prefixes, gateways, ranges, reserved)
    others = [*store.all(), default_network(store)]
    taken = [str(subnet.prefix) for other in others for subnet in other.subnets]
    for subnet in given:
        for other in others:
            if any(_overlap(subnet, another) for another in other.subnets):
                raise Conflict(
                    f"subnet {subnet.prefix} overlaps that of network `{other.name}`",
                    hint="leave `--subnet` out: a free one is taken",
                )
        route = _core.overlapping_route(str(subnet.prefix), "")
        if route is not None:
            raise Conflict(
                f"subnet {subnet.prefix} overlaps a route of this machine: {route}",
                hint="leave `--subnet` out: a free one is taken",
            )
    versions = {subnet.prefix.version for subnet in given}
    if 4 not in versions:
        given.insert(0, Subnet(ipaddress.ip_network(_core.free_subnet(taken))))
    if ipv6 and 6 not in versions:
        given.append(Subnet(ipaddress.ip_network(_core.free_subnet(taken, _seed()))))
    made = Definition(
        id,
        check_name(name),
        "bridge",
        given,
        internal=internal,
        created=datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z"),
        labels=labels,
        options=options,
    )
    store.add(made)
    return made


def default_network(store: NetworkStore) -> Definition:
    """The network `bridge`: all engines of this machine share it."""
    from pycontain import _core

    text = store.default()
    if text is not None:
        return Definition.from_json(text)
    prefix = ipaddress.ip_network(_core.free_subnet([]))
    made = Definition(hashlib.sha256(os.urandom(32)).hexdigest(), DEFAULT, "bridge", [Subnet(prefix)])
    return Definition.from_json(store.set_default(made.to_json()))


def _overlap(one: Subnet, other: Subnet) -> bool:
    return one.prefix.version == other.prefix.version and one.prefix.overlaps(other.prefix)


def _seed() -> list[int]:
    """Five bytes that are this machine's: of networks with unique local addresses."""
    try:
        with open("/etc/machine-id", "rb") as file:
            text = file.read()
    except OSError:
        text = os.urandom(16)
    return list(hashlib.sha256(b"pycontain" + text).digest()[:5])
