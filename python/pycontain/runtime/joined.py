"""What a container gets for one start: of its networks, and what is in its secrets.

Of one without any, nothing is imported for them.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from pycontain.paths import Paths

__all__ = ["ASKED", "Joined", "join", "with_contents"]

ASKED = "io.pycontain.join"  # the annotation with what was asked for


_SECRETS = b"io.pycontain.secrets"


class Joined:
    """A configuration with networks, and the fds that hold what it got: closed at the end of a block."""

    def __init__(self, config: bytes, others: Iterable[int] = ()) -> None:
        self.config = config
        self._others = tuple(others)
        self.held: list[int] = []
        self.networks: list[dict[str, Any]] = []

    @property
    def fds(self) -> list[int]:
        """All that is to be held while the container runs."""
        return [*self._others, *self.held]

    def told(self, detached: bytes) -> bytes:
        """What a monitor is told, with what its state is to say of networks."""
        if not self.networks:
            return detached
        import json

        return json.dumps({**json.loads(detached), "networks": json.dumps(self.networks)}).encode()

    def hold(self, descriptor: int) -> None:
        """Keep it open until the end of the block."""
        self.held.append(descriptor)

    def __enter__(self) -> Joined:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self.held:
            os.close(descriptor)
        self.held.clear()


def with_contents(config: bytes) -> bytes:
    """The configuration, with what is in its secrets and configs now: see `secrets.with_contents`."""
    if _SECRETS not in config:
        return config
    from pycontain.runtime import secrets

    return secrets.with_contents(config)


def join(paths: Paths, config: bytes, holder: Mapping[str, str], others: Iterable[int] = ()) -> Joined:
    """Take what a container asked for.

    Args:
        paths: where networks are.
        config: the container's; one that asked for nothing is returned as it is.
        holder: its `id` and `name`.
        others: fds to be held as well.

    Raises:
        AddressInUse: another container has the address.
        InvalidOption: a secret or config cannot be read.
        Conflict: no address is left.
        NetworkNotFound: there is no such network.
        PortInUse: something on this machine has the port.
    """
    config = with_contents(config)
    if ASKED.encode() not in config:
        return Joined(config, others)
    from pycontain.networks import joining

    return joining.join(paths, config, holder, others)
