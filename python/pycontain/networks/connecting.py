"""A container that is there comes into a network, or leaves one: while it runs, or for its next start.

What it asks for of networks is in its `config.json`, which is written first; then its monitor is asked, if it
runs. Whoever is killed in between leaves a container that is not yet as it is to be at its next start: the
same command makes it so.
"""

from __future__ import annotations

import contextlib
import json

import msgspec

from pycontain.errors import Conflict, ContainerNotFound, InvalidOption
from pycontain.images import staging
from pycontain.networks import joining, naming
from pycontain.networks.definition import DEFAULT
from pycontain.networks.happenings import tell
from pycontain.networks.networks import check_user
from pycontain.networks.store import NetworkStore
from pycontain.runtime import files, kept, records
from pycontain.runtime.host import Host
from pycontain.runtime.joined import ASKED, Joined
from pycontain.runtime.lookup import lookup
from pycontain.runtime.networking import endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from pycontain.networks.definition import Definition
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept

__all__ = ["connect", "disconnect"]

_HOSTS = "/etc/hosts"
_RESOLV_CONF = "/etc/resolv.conf"
# of what a container got of a network, where it is nothing
_UNTOLD: Mapping[str, Any] = {"gateways": (), "names": (), "aliases": (), "published": ()}


def connect(
    paths: Paths,
    definition: Definition,
    name: str,
    *,
    aliases: Iterable[str] = (),
    ip: str | None = None,
    ip6: str | None = None,
) -> None:
    """Let a container be in a network.

    Raises:
        AddressInUse: another container has the address.
        Conflict: it is in there, or cannot be in any.
        ContainerNotFound: there is none.
        InvalidOption: an option is not what it should be.
        NetworkNotFound: the network is gone.
        StartError: it could not be connected.
    """
    check_user("join")
    asked = endpoint(definition.name, {"aliases": list(aliases), "ip": ip, "ip6": ip6})
    container = kept.find(paths, name)
    with kept.there(container), staging.locked(paths.names):
        now = kept.find(paths, container.id)
        _refuse_mode(now, definition)
        change = _Change(paths, now)
        if definition.name in change.present:
            raise Conflict(
                f"endpoint with name {now.record.name} already exists in network {definition.name}",
                hint=f"`pycontain network disconnect {definition.name} {now.record.name}` takes it out",
            )
        change.join(definition, asked)
    tell(paths, "connect", definition, container=container.id)


def disconnect(paths: Paths, definition: Definition, name: str, *, force: bool = False) -> None:
    """Let a container not be in a network any more.

    Args:
        paths: where both are.
        definition: the network.
        name: the container.
        force: it is no error that it is not there, or not in the network.

    Raises:
        Conflict: it is not in there, or in the host's network.
        ContainerNotFound: there is none.
        StartError: it could not be disconnected.
    """
    check_user("leave")
    try:
        container = kept.find(paths, name)
        with kept.there(container), staging.locked(paths.names):
            now = kept.find(paths, container.id)
            if definition.name == now.record.network == "none" and now.record.connected is None:
                records.write_record(now.path, records.changed(now.record, connected=()))
                return
            _refuse_mode(now, definition)
            change = _Change(paths, now)
            if definition.name not in {*change.present, *change.wanted}:
                if force:
                    return
                raise Conflict(
                    f"container {now.record.name} is not connected to network {definition.name}",
                    hint="`pycontain inspect` shows its networks",
                )
            change.leave(definition)
    except ContainerNotFound:
        if not force:
            raise
        return
    tell(paths, "disconnect", definition, container=container.id)


def _refuse_mode(container: Kept, definition: Definition) -> None:
    mode = container.record.network
    if mode.startswith("container:"):
        raise Conflict(
            "container sharing network namespace with another container or host "
            "cannot be connected to any other network",
            hint="connect the container whose network it shares",
        )
    if "host" in {mode, definition.name}:
        raise Conflict("container cannot be disconnected from host network or connected to host network")
    has_none = mode == "none" and container.record.connected is None
    if has_none or definition.name == "none":
        raise Conflict(
            "container cannot be connected to multiple networks "
            "with one of the networks in private (none) mode",
            hint=f"`pycontain network disconnect none {container.record.name}` first" if has_none else None,
        )


class _Change:
    """Of what a container asks for, and of what it has, if it runs."""

    def __init__(self, paths: Paths, container: Kept) -> None:
        self._paths = paths
        self._store = NetworkStore(paths)
        self._container = container
        self._before = container.own_config
        self._document = json.loads(self._before)
        annotations = self._annotations
        self._asked: dict[str, Any] = (
            json.loads(annotations[ASKED]) if ASKED in annotations else self._begin(annotations)
        )
        self._had: list[dict[str, Any]] = []
        if container.state.is_alive:
            told = container.state.networks or ()
            self._had = [{**_UNTOLD, **msgspec.to_builtins(one)} for one in told]

    @property
    def _annotations(self) -> dict[str, str]:
        found: dict[str, str] = self._document["annotations"]
        return found

    def _begin(self, annotations: dict[str, str]) -> dict[str, Any]:
        """Of one that was made without networks."""
        made = json.loads(annotations[naming.FILES])
        lines = [line.partition("\t") for line in made.get(_HOSTS, "").splitlines()]
        named = [names for address, _, names in lines if address == "127.0.0.1" and names != "localhost"]
        own = named[0] if named else self._container.record.hostname
        covered = {_HOSTS, _RESOLV_CONF, "/etc/hostname"} - made.keys()
        new = files.files(self._container.record.hostname, own, network=DEFAULT, covered=covered, host=Host())
        annotations[naming.FILES] = json.dumps({**made, **new})
        asked = lookup(self._container.record.options)
        return {"networks": [], "ports": [], "names": own, "lookup": asked._fields()}

    @property
    def wanted(self) -> list[str]:
        """The names of those that it asks for."""
        return [one["name"] for one in self._asked["networks"]]

    @property
    def present(self) -> list[str]:
        """The names of those that it is in."""
        return [one["network"] for one in self._had] if self._container.state.is_alive else self.wanted

    def join(self, definition: Definition, asked: dict[str, Any]) -> None:
        """Let it be in this one, too."""
        others = [one for one in self._asked["networks"] if one["name"] != definition.name]
        with self._written([*others, asked]) as runs:
            if not runs:
                for version, given in ((4, asked.get("ip")), (6, asked.get("ip6"))):
                    _check_address(definition, version, given)
                return
            with Joined(b"") as joined:
                numbers = {one["interface"] for one in self._had}
                number = next(n for n in range(len(numbers) + 1) if f"eth{n}" not in numbers)
                holder = {"id": self._container.id, "name": self._container.record.name}
                leads = not definition.internal and self._leader(self._had) is None
                made = joining.attach(
                    self._store,
                    definition,
                    asked,
                    holder,
                    joined,
                    hostnames=self._asked["names"],
                    number=number,
                    leads=leads,
                )
                after = [*self._had, *joined.networks]
                self._tell(after, joined.held, joins=made["attachment"])

    def leave(self, definition: Definition) -> None:
        """Let it not be in this one."""
        with self._written(
            [one for one in self._asked["networks"] if one["name"] != definition.name]
        ) as runs:
            left = next((one for one in self._had if one["network"] == definition.name), None)
            if not runs or left is None:
                return
            after = [one for one in self._had if one is not left]
            news: dict[str, Any] = {"leaves": left["port"]}
            leader = self._leader(after)
            if leader is not None and self._leader(self._had) is left:
                news["routes"] = [leader["port"], leader["gateways"]]
            self._tell(after, (), **news)

    def _leader(self, networks: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        """The one that its default routes lead to."""
        for one in networks:
            if not joining.definition_of(self._store, one["network"]).internal:
                return one
        return None

    @contextlib.contextmanager
    def _written(self, networks: list[dict[str, Any]]) -> Iterator[bool]:
        """With this written down, whether it runs; where the block fails nothing has changed."""
        before = self._container.record
        with kept.held(self._paths, self._container) as stopped:
            if stopped is not None and self._container.state.is_alive:
                raise _ends(before.name)  # a moment ago it ran
            if stopped is None and self._container.state.status not in {"running", "paused"}:
                raise _ends(before.name)
            path = f"{self._container.path}/config.json"
            self._annotations[ASKED] = json.dumps({**self._asked, "networks": networks})
            records.replace_file(path, json.dumps(self._document).encode())
            connected = tuple(one["name"] for one in networks)
            try:
                records.write_record(self._container.path, records.changed(before, connected=connected))
                yield stopped is None
            except BaseException:
                records.replace_file(path, self._before)
                records.write_record(self._container.path, before)
                raise

    def _tell(self, after: Sequence[dict[str, Any]], held: Sequence[int], **news: Any) -> None:
        from pycontain._core import Monitor

        before_files, resolver_before = self._named(self._had)
        now_files, resolver = self._named(after)
        change = {
            **news,
            "resolver": json.loads(resolver or resolver_before or "null"),
            "hosts": _lines(before_files.get(_HOSTS, ""), now_files.get(_HOSTS, "")),
            "told": json.dumps(after),
        }
        if before_files.get(_RESOLV_CONF) != now_files.get(_RESOLV_CONF):
            change["resolv_conf"] = [before_files.get(_RESOLV_CONF, ""), now_files.get(_RESOLV_CONF, "")]
        try:
            Monitor(self._container.path).change_networks(json.dumps(change).encode(), list(held))
        except (ConnectionError, FileNotFoundError):
            raise _ends(self._container.record.name) from None

    def _named(self, networks: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str], str | None]:
        """Its files, and its name server, with these networks."""
        if not networks and ASKED.encode() not in self._before:
            return json.loads(json.loads(self._before)["annotations"][naming.FILES]), None
        annotations = dict(self._annotations)
        attachments = []
        leader = self._leader(list(networks))  # type: ignore[arg-type]
        for one in networks:
            definition = joining.definition_of(self._store, one["network"])
            attachments.append(joining.attachment(definition, one, leads=one is leader))
        naming.name(annotations, self._asked, attachments, networks)
        found: dict[str, str] = json.loads(annotations[naming.FILES])
        return found, annotations.get(naming.RESOLVER)


def _lines(before: str, after: str) -> list[list[str]]:
    """Those that go, and those that come."""
    old, new = before.splitlines(), after.splitlines()
    return [[line for line in old if line not in new], [line for line in new if line not in old]]


def _check_address(definition: Definition, version: int, given: str | None) -> None:
    import ipaddress

    if given is None:
        return
    address = ipaddress.ip_address(given)
    if not any(address in subnet.prefix for subnet in definition.subnets if subnet.prefix.version == version):
        raise InvalidOption(f"address {given} is in no subnet of network `{definition.name}`")


def _ends(name: str) -> Conflict:
    return Conflict(f"container `{name}` is about to start or to end", hint="try again when it has")
