"""What a container asks of networks, as an annotation of its configuration: `networks.joining` reads it."""

from __future__ import annotations

import ipaddress
import re

from pycontain.errors import InvalidOption
from pycontain.runtime.document import encode
from pycontain.runtime.ports import PublishedPort, exposed, published
from pycontain.runtime.sizes import invalid, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from pycontain.runtime.lookup import Lookup

__all__ = ["asked", "endpoint", "refuse"]

_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}\Z")
_ALIAS = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9_])?\Z")


def asked(
    options: Mapping[str, Any],
    network: str,
    names: str,
    *,
    image_ports: Iterable[str] = (),
    lookup: Lookup | None = None,
) -> str:
    """The annotation.

    Args:
        options: `ContainerOptions`.
        network: the name of the first.
        names: the container's own, as /etc/hosts has them.
        image_ports: those that its image exposes.
        lookup: how it finds others by name.
    """
    first = endpoint(network, options)
    ports = [port._fields() for port in _ports(options, image_ports)]
    document: dict[str, object] = {"networks": [first], "ports": ports, "names": names}
    if lookup is not None:
        document["lookup"] = lookup._fields()
    return encode(document)


def endpoint(network: str, options: Mapping[str, Any]) -> dict[str, object]:
    """What is asked for in one network: `ip`, `ip6`, `mac_address` and `aliases` among these options."""
    found: dict[str, object] = {"name": network}
    for key, version in (("ip", 4), ("ip6", 6)):
        if options.get(key):
            found[key] = _address(key, options[key], version)
    if options.get("mac_address"):
        found["mac"] = _mac(options["mac_address"])
    if options.get("aliases"):
        if network == "bridge":
            raise InvalidOption("`aliases` are for networks that you made", hint="`pycontain network create`")
        found["aliases"] = [_alias(alias) for alias in options["aliases"]]
    return found


def _ports(options: Mapping[str, Any], image_ports: Iterable[str]) -> list[PublishedPort]:
    found = published(options.get("ports", ()))
    if options.get("publish_all"):
        given = {(port.container, port.protocol) for port in found}
        wanted = [*exposed(image_ports), *exposed(options.get("expose", ()))]
        found += [PublishedPort(*one) for one in dict.fromkeys(wanted) if one not in given]
    return found


def refuse(options: Mapping[str, Any], names: Iterable[str], network: str) -> None:
    """Refuse those that have no meaning without a network of ours."""
    for name in sorted(names):
        if options.get(name):
            hint = (
                "leave it out"
                if network == "host"
                else "`network=bridge` is one that has ports and neighbours"
            )
            raise InvalidOption(f"`{name}` has no meaning with `network={network}`", hint=hint)


def _address(option: str, value: object, version: int) -> str:
    try:
        found = ipaddress.ip_address(string(option, value))
    except ValueError:
        found = None
    if found is None or found.version != version:
        raise invalid(option, value, f"must be an address of IPv{version}")
    return str(found)


def _mac(value: object) -> str:
    text = string("mac_address", value).lower()
    if not _MAC.match(text):
        raise invalid("mac_address", value, "must be six bytes: 02:42:ac:11:00:02")
    text = text.replace("-", ":")
    if int(text[:2], 16) & 1:
        raise invalid("mac_address", value, "it is that of a group")
    return text


def _alias(value: object) -> str:
    text = string("aliases", value)
    if not _ALIAS.match(text):
        raise invalid("aliases", value, "must be letters, digits, -, _ and dots, at most 63")
    return text
