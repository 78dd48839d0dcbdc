"""What docker's `network inspect` shows of a network."""

from __future__ import annotations

import hashlib
import ipaddress

from pycontain.networks.definition import DEFAULT, PREDEFINED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.networks.definition import Definition
    from pycontain.networks.leases import Leases

__all__ = ["endpoint_id", "inspect"]

_NEVER = "0001-01-01T00:00:00Z"


def inspect(definition: Definition, leases: Leases) -> dict[str, Any]:
    """All about it; its containers are those that have one of its addresses now."""
    options = dict(definition.options)
    if definition.name == DEFAULT:
        options = {
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.name": definition.bridge,
            **options,
        }
    return {
        "Name": definition.name,
        "Id": definition.id,
        "Created": definition.created or _NEVER,
        "Scope": "local",
        "Driver": definition.driver,
        "EnableIPv4": definition.has_ipv4,
        "EnableIPv6": definition.has_ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": None if definition.name in PREDEFINED else {},
            "Config": [subnet.inspect() for subnet in definition.subnets],
        },
        "Internal": definition.internal,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": _containers(definition, leases),
        "Options": options,
        "Labels": dict(definition.labels),
    }


def endpoint_id(network: str, container: str) -> str:
    """64 hexadecimal digits for a container in a network: the same whoever asks."""
    return hashlib.sha256(f"{network} {container}".encode()).hexdigest()


def _containers(definition: Definition, leases: Leases) -> dict[str, Any]:
    found: dict[str, Any] = {}
    lengths = {subnet.prefix.version: subnet.prefix.prefixlen for subnet in definition.subnets}
    for address, holder in leases.held():
        # who has just taken one has not written yet who it is; a device may have been another network's
        if holder.get("network_id") != definition.id:
            continue
        one = found.setdefault(
            holder["id"],
            {
                "Name": holder["name"],
                "EndpointID": endpoint_id(definition.id, holder["id"]),
                "MacAddress": holder["mac"],
                "IPv4Address": "",
                "IPv6Address": "",
            },
        )
        version = ipaddress.ip_address(address).version
        one[f"IPv{version}Address"] = f"{address}/{lengths[version]}"
    return found
