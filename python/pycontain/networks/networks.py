"""Making networks."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import ipaddress
import os

from pycontain.errors import Conflict, NameInUse, NetworkNotFound, Unsupported
from pycontain.networks.definition import DEFAULT, PREDEFINED, Definition, Subnet, check_name, subnets
from pycontain.networks.happenings import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pycontain.networks.store import NetworkStore

__all__ = ["check_user", "default_network", "make"]

_FREE = "leave `--subnet` out: a free one is taken"


def make(
    store: NetworkStore,
    name: str,
    *,
    driver: str = "bridge",
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
        Conflict: a subnet overlaps another network's, or a route of this machine; another has its device.
        InvalidOption: something is not what it should be.
        NameInUse: there is one of this name.
        Unsupported: there is no such driver; this user may not make networks.
    """
    from pycontain._core import free_subnet

    check_name(name)
    _check_driver(driver)
    given = subnets(prefixes, gateways, ranges, reserved)
    check_user("make")
    _check_free(store, name)
    # one after another on this machine, else two could take the same subnet
    with _alone(f"{store.paths.run}/networks"):
        others = [*store.all(), default_network(store)]
        for subnet in given:
            _refuse_overlap(subnet, others)
        taken = [str(subnet.prefix) for other in others for subnet in other.subnets]
        taken += [str(subnet.prefix) for subnet in given]
        versions = {subnet.prefix.version for subnet in given}
        if 4 not in versions:
            given.insert(0, Subnet(ipaddress.ip_network(free_subnet(taken))))
        if ipv6 and 6 not in versions:
            given.append(Subnet(ipaddress.ip_network(free_subnet(taken, _seed()))))
        made = Definition(
            os.urandom(32).hex(),
            name,
            driver,
            given,
            internal=internal,
            created=_now(),
            labels=labels,
            options=options,
        )
        made.check()
        _check_device(made, others)
        store.add(made)
    tell(store.paths, "create", made)
    return made


def default_network(store: NetworkStore) -> Definition:
    """The network `bridge`: all engines of this machine share it."""
    from pycontain._core import free_subnet

    text = store.default()
    if text is not None:
        return Definition.from_json(text)
    # those of before the machine's start have theirs still, and no routes yet
    taken = [str(subnet.prefix) for other in store.all() for subnet in other.subnets]
    prefix = ipaddress.ip_network(free_subnet(taken))
    id = hashlib.sha256(os.urandom(32)).hexdigest()
    made = Definition(id, DEFAULT, "bridge", [Subnet(prefix)], created=_now())
    return Definition.from_json(store.set_default(made.to_json()))


def _check_driver(driver: str) -> None:
    if driver in {"host", "null"}:
        raise Conflict(
            f"there is one network of driver `{driver}`, and no more", hint="`bridge` makes others"
        )
    if driver != "bridge":
        raise Unsupported(
            f"network driver `{driver}` is not supported", hint="`bridge` is the only one so far"
        )


def check_user(verb: str) -> None:
    """That this user may do it.

    Raises:
        Unsupported: it is not root.
    """
    if os.geteuid() != 0:
        raise Unsupported(f"only root can {verb} networks: they are this machine's", hint="use `sudo`")


def _check_free(store: NetworkStore, name: str) -> None:
    if name in PREDEFINED:
        raise Conflict(f"network `{name}` is predefined", hint="choose another name")
    with contextlib.suppress(NetworkNotFound):
        if store.get(name).name == name:  # not by the beginning of an id
            raise NameInUse(
                f"a network `{name}` is there already", hint=f"`pycontain network rm {name}` removes it"
            )


def _refuse_overlap(subnet: Subnet, others: Iterable[Definition]) -> None:
    from pycontain._core import overlapping_route

    for other in others:
        if any(_overlap(subnet, another) for another in other.subnets):
            raise Conflict(f"subnet {subnet.prefix} overlaps that of network `{other.name}`", hint=_FREE)
    route = overlapping_route(str(subnet.prefix), "")
    if route is not None:
        raise Conflict(f"subnet {subnet.prefix} overlaps a route of this machine: {route}", hint=_FREE)


def _check_device(made: Definition, others: Iterable[Definition]) -> None:
    """A device that somebody else made must not go with the network."""
    import socket

    for other in others:
        if other.bridge == made.bridge:
            raise Conflict(
                f"network `{other.name}` has the device `{made.bridge}`", hint="choose another name"
            )
    with contextlib.suppress(OSError):
        socket.if_nametoindex(made.bridge)
        raise Conflict(f"there is a device `{made.bridge}` already", hint="choose another name")


@contextlib.contextmanager
def _alone(directory: str) -> Iterator[None]:
    os.makedirs(directory, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")


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
