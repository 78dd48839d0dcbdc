"""By which names a container finds others: its /etc/hosts, its /etc/resolv.conf, its own name server.

In networks that were made it asks its own, at 127.0.0.11, which knows neighbours and links, and asks those of
`--dns`, or else the host's, for all others. In the default network it asks those of `--dns`, or else those of
the host's that are reached from there; where there are none, its own, which asks the host's from the host.
"""

from __future__ import annotations

import json
import os

from pycontain.errors import Conflict
from pycontain.networks.definition import DEFAULT
from pycontain.networks.networks import default_network
from pycontain.runtime.host import Host
from pycontain.runtime.lookup import Lookup, host_lines
from pycontain.runtime.resolv_conf import OF_SYSTEMD, PLACE, ResolvConf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from pycontain.networks.store import NetworkStore

__all__ = ["FILES", "RESOLVER", "linked", "name"]

RESOLVER = "io.pycontain.resolver"
FILES = "io.pycontain.files"
_OWN_SERVER = "127.0.0.11"
_HOSTS = "/etc/hosts"


def name(
    annotations: dict[str, str],
    wanted: Mapping[str, Any],
    attachments: Sequence[Mapping[str, Any]],
    joined: Sequence[Mapping[str, Any]],
    linked: Iterable[tuple[str, str]] = (),
) -> None:
    """Complete a container's annotations for one start.

    Args:
        annotations: of its configuration.
        wanted: what it asked for.
        attachments: what it got of each network.
        joined: the same, as its state is to have it.
        linked: see `linked`.
    """
    asked = _asked(wanted)
    made = json.loads(annotations[FILES])
    gateways = joined[0]["gateways"] if joined else ()
    in_default = bool(joined) and joined[0]["network"] == DEFAULT
    if _HOSTS in made:
        made[_HOSTS] += host_lines(asked.hosts, gateways)
        made[_HOSTS] += "".join(
            f"{address.partition('/')[0]}\t{wanted['names']}\n"
            for one in joined
            for address in one["addresses"]
        )
        made[_HOSTS] += "".join(f"{address}\t{words}\n" for address, words in linked)
    neighbours = [
        [one["name"], one["attachment"]["network"]["bridge"]] for one in attachments if one["names"]
    ]
    found, has_server = _resolv_conf(asked, joined, has_neighbours=bool(neighbours))
    if has_server:
        resolver = {
            "networks": neighbours,
            "resolvers": asked.servers,
            "links": [] if in_default else [_link(*link) for link in asked.links],
        }
        annotations[RESOLVER] = json.dumps(resolver)
    if PLACE in made:
        made[PLACE] = str(found)
    annotations[FILES] = json.dumps(made)


def linked(
    store: NetworkStore, wanted: Mapping[str, Any], joined: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """Of links in the default network: addresses, each with the names that lead to it.

    Raises:
        Conflict: a container that is meant does not run there.
        ContainerNotFound: there is no such container.
    """
    links = _asked(wanted).links
    if not links or not joined or joined[0]["network"] != DEFAULT:
        return []
    held = list(store.leases(default_network(store)).held())
    return [line for link in links for line in _linked(store, held, *link)]


def _asked(wanted: Mapping[str, Any]) -> Lookup:
    return Lookup(*wanted["lookup"]) if "lookup" in wanted else Lookup()


def _resolv_conf(
    asked: Lookup, joined: Sequence[Mapping[str, Any]], *, has_neighbours: bool
) -> tuple[ResolvConf, bool]:
    """What it reads, and whether it has a name server of its own."""
    hosts = ResolvConf.parse(Host().read_if_there(PLACE))
    if has_neighbours:
        return hosts.changed(asked).with_servers([_OWN_SERVER]).by_neighbours(), True
    if asked.servers or not hosts.servers:
        return hosts.changed(asked), False
    ipv6 = any(":" in address for one in joined for address in one["addresses"])
    for found in (hosts, ResolvConf.parse(Host().read_if_there(OF_SYSTEMD))):
        if reached := found.reached(ipv6=ipv6):
            return found.with_servers(reached).changed(asked), False
    return hosts.changed(asked).with_servers([_OWN_SERVER]), True


def _link(container: str, alias: str) -> tuple[str, str]:
    """The name, and what it means among the neighbours: an id is known there by its beginning."""
    known = container[:12] if len(container) == 64 else container
    return alias.lower(), known.lower()


def _linked(
    store: NetworkStore, held: Iterable[tuple[str, Mapping[str, Any]]], container: str, alias: str
) -> Iterator[tuple[str, str]]:
    id = _id(store, container)
    found = [(address, holder) for address, holder in held if holder.get("id") == id]
    if not found:
        raise Conflict(
            f"cannot link to container `{container}`: it does not run in network `{DEFAULT}`",
            hint="start it there first; in networks that you made, containers know each other by name",
        )
    for address, holder in found:
        words = dict.fromkeys([alias, *holder.get("hostnames", "").split(), holder["name"]])
        yield address, " ".join(filter(None, words))


def _id(store: NetworkStore, container: str) -> str:
    """Of the container of this name, id, or beginning of an id."""
    from pycontain.runtime import kept, names

    path = names.owner(store.paths, container)  # one that goes with its command is known by that alone
    return os.path.basename(path) if path else kept.find(store.paths, container).id
