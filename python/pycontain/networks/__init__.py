"""Networks: who has which address, and by which names; `engine.networks`, and the handles it gives out."""

from __future__ import annotations

from pycontain.networks.handle import Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Unpack

    from pycontain.images.filters import PruneFilters
    from pycontain.networks.handle import Identified
    from pycontain.networks.listing import NetworkFilters
    from pycontain.networks.store import NetworkStore
    from pycontain.paths import Paths

__all__ = ["Network", "Networks"]


class Networks:
    """The networks of an engine; `bridge`, `host` and `none` are always there.

    Args:
        paths: where they are.
    """

    # what is not needed is not imported: a start of a container comes by this file, too

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    @property
    def _store(self) -> NetworkStore:
        from pycontain.networks.store import NetworkStore

        return NetworkStore(self._paths)

    def create(
        self,
        name: str,
        *,
        driver: str = "bridge",
        subnet: str | Iterable[str] = (),
        gateway: str | Iterable[str] = (),
        ip_range: str | Iterable[str] = (),
        aux_addresses: Mapping[str, str] | Iterable[str] = (),
        ipv6: bool = False,
        internal: bool = False,
        labels: Mapping[str, str] | Iterable[str] = (),
        options: Mapping[str, str] | Iterable[str] = (),
    ) -> Network:
        """Make a network. What of it is the kernel's comes with its first container.

        >>> engine.networks.create("front", subnet="10.5.0.0/16", internal=True)

        Args:
            name: letters, digits, `_`, `.` and `-`.
            driver: `bridge`.
            subnet: its addresses, `10.5.0.0/16`: one of IPv4, one of IPv6, or both; those of IPv4 are
                chosen, if none are given.
            gateway: the bridge's own address, in each subnet; by default the first.
            ip_range: a part of a subnet; containers get addresses of it alone.
            aux_addresses: addresses that no container gets, by names that say why: `{"router": "10.5.0.2"}`.
            ipv6: it has addresses of IPv6 as well, which are chosen, if none are given.
            internal: nothing but its containers is reached from it.
            labels: `{"k": "v"}` or `["k=v"]`.
            options: of the driver: `{"com.docker.network.driver.mtu": "1400"}`.

        Raises:
            Conflict: a subnet overlaps another network's, or a route of this machine.
            InvalidOption: something is not what it should be.
            NameInUse: there is one of this name.
            Unsupported: there is no such driver or option; or this user may make none.
        """
        from pycontain.networks.networks import make
        from pycontain.runtime.environment import labels as pairs

        made = make(
            self._store,
            name,
            driver=driver,
            prefixes=_several("subnet", subnet),
            gateways=_several("gateway", gateway),
            ranges=_several("ip_range", ip_range),
            reserved=_named("aux_addresses", aux_addresses),
            ipv6=ipv6,
            internal=internal,
            labels=pairs("labels", labels),
            options=pairs("options", options),
        )
        return Network(self._paths, made)

    def get(self, name: str) -> Network:
        """The network of this name, id, or beginning of an id.

        Raises:
            InvalidOption: several ids begin so.
            NetworkNotFound: there is none.
        """
        from pycontain.networks.listing import find

        return Network(self._paths, find(self._store, name))

    def list(self, **filters: Unpack[NetworkFilters]) -> tuple[Network, ...]:
        """Networks by their names: all, or those that filters let through.

        Args:
            filters: see `NetworkFilters`.

        Raises:
            InvalidOption: a filter is not valid.
        """
        from pycontain.networks.listing import select

        return tuple(Network(self._paths, one) for one in select(self._store, filters))

    def remove(self, name: str) -> None:
        """Remove the network of this name, id, or beginning of an id.

        Raises:
            Conflict: it is one of those that are always there.
            NetworkNotFound: there is none.
            StillInUse: a container that runs is in it.
        """
        self.get(name).remove()

    def connect(
        self,
        name: str,
        container: str | Identified,
        *,
        aliases: Iterable[str] = (),
        ip: str | None = None,
        ip6: str | None = None,
    ) -> None:
        """Let a container be in the network of this name: see `Network.connect`."""
        self.get(name).connect(container, aliases=aliases, ip=ip, ip6=ip6)

    def disconnect(self, name: str, container: str | Identified, *, force: bool = False) -> None:
        """Let a container not be in the network of this name any more: see `Network.disconnect`."""
        self.get(name).disconnect(container, force=force)

    def prune(self, **filters: Unpack[PruneFilters]) -> tuple[str, ...]:
        """Remove the networks that no container which runs is in.

        Args:
            filters: see `PruneFilters`.

        Returns:
            The names of those that are gone.

        Raises:
            InvalidOption: a filter is not valid.
        """
        from pycontain.networks.removal import prune

        return prune(self._paths, self._store, filters)


def _named(option: str, value: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    from pycontain.runtime.environment import labels
    from pycontain.runtime.sizes import invalid

    found = labels(option, value)
    for name, address in found.items():
        if not address:
            raise invalid(option, name, "must be NAME=ADDRESS")
    return found


def _several(option: str, value: str | Iterable[str]) -> list[str]:
    from pycontain.runtime.environment import strings

    return [value] if isinstance(value, str) else strings(option, value)
