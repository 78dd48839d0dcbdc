"""Handles of networks: cheap, equal by the network's id; what may change is asked for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Protocol

    from pycontain.networks.definition import Definition, Subnet
    from pycontain.paths import Paths

    class Identified(Protocol):
        """A handle: of a container, here or in asyncio."""

        @property
        def id(self) -> str:
            """64 hexadecimal digits."""


__all__ = ["Network"]


class Network:
    """A network of an engine; equal and hashable by its id. Made by `Networks` only."""

    __slots__ = ("_definition", "_paths")

    def __init__(self, paths: Paths, definition: Definition) -> None:
        self._paths = paths
        self._definition = definition

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self._definition.id

    @property
    def name(self) -> str:
        """What it is called."""
        return self._definition.name

    @property
    def driver(self) -> str:
        """`bridge`; of `host` and `none` it is `host` and `null`."""
        return self._definition.driver

    @property
    def subnets(self) -> tuple[Subnet, ...]:
        """At most one of IPv4, and one of IPv6: values with `prefix gateway within reserved`."""
        return self._definition.subnets

    @property
    def internal(self) -> bool:
        """Whether nothing but its containers is reached from it."""
        return self._definition.internal

    @property
    def created(self) -> str:
        """When it was made, RFC 3339; empty where nobody made it."""
        return self._definition.created

    @property
    def labels(self) -> Mapping[str, str]:
        """Names to values."""
        return self._definition.labels

    @property
    def options(self) -> Mapping[str, str]:
        """The driver's."""
        return self._definition.options

    def inspect(self) -> dict[str, Any]:
        """All about it, and the containers that are in it now: docker's JSON."""
        from pycontain.networks.inspecting import inspect
        from pycontain.networks.store import NetworkStore

        return inspect(self._definition, NetworkStore(self._paths).leases(self._definition))

    def connect(
        self,
        container: str | Identified,
        *,
        aliases: Iterable[str] = (),
        ip: str | None = None,
        ip6: str | None = None,
    ) -> None:
        """Let a container be in it: at once, if it runs, and whenever it runs from then on.

        >>> engine.networks.get("front").connect(web, aliases=["www"])

        Args:
            container: a container, or its name, id, or the beginning of an id.
            aliases: further names of it in this network.
            ip: its IPv4 address; None: the next that is free.
            ip6: its IPv6 address.

        Raises:
            AddressInUse: another container has the address.
            Conflict: it is in there; or it is in the host's network, another container's, or in `none` by its
                own wish.
            ContainerNotFound: there is none.
            InvalidOption: a name is none, or an address.
            NetworkNotFound: the network is gone.
            StartError: it could not be connected.
        """
        from pycontain.networks.connecting import connect

        connect(self._paths, self._definition, _id(container), aliases=aliases, ip=ip, ip6=ip6)

    def disconnect(self, container: str | Identified, *, force: bool = False) -> None:
        """Let a container not be in it any more.

        Args:
            container: a container, or its name, id, or the beginning of an id.
            force: it is no error that it is not in there.

        Raises:
            Conflict: it is not in there.
            ContainerNotFound: there is none.
            StartError: it could not be disconnected.
        """
        from pycontain.networks.connecting import disconnect

        disconnect(self._paths, self._definition, _id(container), force=force)

    def remove(self) -> None:
        """Remove it.

        Raises:
            Conflict: it is one of those that are always there.
            NetworkNotFound: it is gone already.
            StillInUse: a container that runs is in it.
        """
        from pycontain.networks.removal import remove
        from pycontain.networks.store import NetworkStore

        remove(self._paths, NetworkStore(self._paths), self._definition)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Network {self.name}>"


def _id(container: str | Identified) -> str:
    return container if isinstance(container, str) else container.id
