"""What a network is: a bridge of this machine, and the addresses that its containers get."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import re

from pycontain.errors import InvalidOption, StoreError, Unsupported
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    IPv4or6 = ipaddress.IPv4Address | ipaddress.IPv6Address
    Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

__all__ = ["DEFAULT", "PREDEFINED", "Definition", "Subnet", "check_name", "subnets"]

DEFAULT = "bridge"
PREDEFINED = (DEFAULT, "host", "none")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}\Z")
_BRIDGE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}\Z")
_NO_BRIDGES = {"all", "default", "bridge.json"}  # sysctls of every device, and a file beside the leases
_BRIDGE_NAME = "com.docker.network.bridge.name"
_ICC = "com.docker.network.bridge.enable_icc"
_MTU = "com.docker.network.driver.mtu"
_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
_HOST_BINDING = "com.docker.network.bridge.host_binding_ipv4"
_DEFAULT_BRIDGE = "com.docker.network.bridge.default_bridge"
_OPTIONS = {_BRIDGE_NAME, _ICC, _MTU, _MASQUERADE, _HOST_BINDING, _DEFAULT_BRIDGE}
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


class Subnet(Value):
    """Addresses of a network, of one family.

    Attributes:
        prefix: all of them.
        gateway: the bridge's.
        within: those that are given out; None: all.
        reserved: of those, the ones that are somebody else's, by what they are called.
    """

    __slots__ = ("prefix", "gateway", "within", "reserved")  # noqa: RUF023 - the constructor's order
    prefix: Prefix
    gateway: IPv4or6
    within: Prefix | None
    reserved: Mapping[str, IPv4or6]

    def __init__(
        self,
        prefix: Prefix,
        gateway: IPv4or6 | None = None,
        within: Prefix | None = None,
        reserved: Mapping[str, IPv4or6] | None = None,
    ) -> None:
        self._set(
            prefix=prefix,
            gateway=prefix[1] if gateway is None else gateway,
            within=within,
            reserved=dict(reserved or {}),
        )

    def inspect(self) -> dict[str, Any]:
        """As docker shows it in `IPAM.Config`."""
        found: dict[str, Any] = {"Subnet": str(self.prefix)}
        if self.within is not None:
            found["IPRange"] = str(self.within)
        found["Gateway"] = str(self.gateway)
        if self.reserved:
            found["AuxiliaryAddresses"] = {name: str(address) for name, address in self.reserved.items()}
        return found


class Definition(Value):
    """A network, as it was made; it never changes.

    Attributes:
        id: 64 hexadecimal digits.
        name: what it is called.
        driver: `bridge`; `host` and `null` are those of `host` and `none`.
        subnets: at most one of IPv4, and one of IPv6.
        internal: nothing but its containers is reached from it.
        created: as RFC 3339 has it.
        labels, options: the caller's, and the driver's.
    """

    __slots__ = (  # noqa: RUF023 - the constructor's order
        "id", "name", "driver", "subnets", "internal", "created", "labels", "options",
    )  # fmt: skip
    id: str
    name: str
    driver: str
    subnets: tuple[Subnet, ...]
    internal: bool
    created: str
    labels: Mapping[str, str]
    options: Mapping[str, str]

    def __init__(
        self,
        id: str,
        name: str,
        driver: str,
        subnets: Sequence[Subnet],
        *,
        internal: bool = False,
        created: str = "",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self._set(
            id=id,
            name=name,
            driver=driver,
            subnets=tuple(subnets),
            internal=internal,
            created=created,
            labels=dict(labels or {}),
            options=dict(options or {}),
        )
        for option in self.options.keys() - _OPTIONS:
            raise Unsupported(
                f"network option `{option}` is not known", hint=f"there are {', '.join(sorted(_OPTIONS))}"
            )
        if not _BRIDGE.match(self.bridge) or self.bridge in _NO_BRIDGES:
            raise InvalidOption(
                f"`{self.bridge}` is no name that a network device can have here: at most 15 letters"
            )

    @property
    def bridge(self) -> str:
        """The name of its device."""
        if _BRIDGE_NAME in self.options:
            return self.options[_BRIDGE_NAME]
        return "pycontain0" if self.name == DEFAULT else f"pc-{self.id[:12]}"

    @property
    def has_ipv4(self) -> bool:
        """Whether its containers have addresses of IPv4."""
        return any(subnet.prefix.version == 4 for subnet in self.subnets)

    @property
    def has_ipv6(self) -> bool:
        """Whether its containers have addresses of IPv6."""
        return any(subnet.prefix.version == 6 for subnet in self.subnets)

    @property
    def mtu(self) -> int:
        """Bytes in a packet; 0: as the kernel has it."""
        text = self.options.get(_MTU, "0")
        if not (text.isascii() and text.isdigit() and (text == "0" or 68 <= int(text) <= 65535)):
            raise InvalidOption(f"invalid value `{text}` for `{_MTU}`: must be a number from 68 to 65535")
        return int(text)

    @property
    def isolates(self) -> bool:
        """Whether its containers do not reach each other."""
        return not self._flag(_ICC, default=True)

    @property
    def masquerades(self) -> bool:
        """Whether others see the host's address in place of a container's."""
        return self._flag(_MASQUERADE, default=True)

    @property
    def created_seconds(self) -> float:
        """When it was made, in seconds since the epoch."""
        return datetime.datetime.fromisoformat(self.created).timestamp() if self.created else 0.0

    def check(self) -> None:
        """That its options have the values that they take.

        Raises:
            InvalidOption: one has not.
        """
        _ = self.mtu, self.isolates, self.masquerades, self._flag(_DEFAULT_BRIDGE, default=False)
        if _HOST_BINDING in self.options:
            _address(_HOST_BINDING, self.options[_HOST_BINDING])

    def _flag(self, name: str, *, default: bool) -> bool:
        text = self.options.get(name)
        if text is None:
            return default
        if text.lower() not in _TRUTH:
            raise InvalidOption(f"invalid value `{text}` for `{name}`: must be true or false")
        return _TRUTH[text.lower()]

    def to_json(self) -> bytes:
        """What `from_json` understands."""
        document = {
            "id": self.id,
            "name": self.name,
            "driver": self.driver,
            "subnets": [subnet.inspect() for subnet in self.subnets],
            "internal": self.internal,
            "created": self.created,
            "labels": self.labels,
            "options": self.options,
        }
        return json.dumps(document).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Definition:
        """What was written.

        Raises:
            StoreError: it is damaged.
        """
        try:
            document = json.loads(text)
            found = [_subnet(entry) for entry in document.pop("subnets")]
            return cls(document.pop("id"), document.pop("name"), document.pop("driver"), found, **document)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"a network's description is damaged: {error}") from error


def check_name(name: str) -> str:
    """A name that a network can have.

    Raises:
        InvalidOption: it is none.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        told = str(name).encode(errors="backslashreplace").decode()
        raise InvalidOption(
            f"invalid network name `{told}`: must be a-z A-Z 0-9 _ . -, the first a letter or digit"
        )
    return name


def subnets(
    prefixes: Iterable[str],
    gateways: Iterable[str] = (),
    ranges: Iterable[str] = (),
    reserved: Mapping[str, str] | None = None,
) -> list[Subnet]:
    """The subnets that `--subnet`, `--gateway`, `--ip-range` and `--aux-address` describe.

    Raises:
        InvalidOption: one is none, or belongs to no subnet.
    """
    found = [_roomy(_prefix("subnet", text), text) for text in prefixes]
    if len({prefix.version for prefix in found}) < len(found):
        raise InvalidOption(
            "a network has one subnet of IPv4 and one of IPv6",
            hint="make a network for each, or a larger one",
        )
    gateway_of = _one_each("gateway", found, (_address("gateway", text) for text in gateways))
    range_of = _one_each("ip_range", found, (_prefix("ip_range", text) for text in ranges))
    kept = {name: _address("aux_addresses", text) for name, text in (reserved or {}).items()}
    for address in kept.values():
        _home("aux_addresses", address, found)
    made = []
    for prefix in found:
        own = {name: address for name, address in kept.items() if address in prefix}
        made.append(Subnet(prefix, gateway_of.get(prefix), range_of.get(prefix), own))  # type: ignore[arg-type]
    for subnet in made:
        if subnet.gateway in {subnet.prefix.network_address, subnet.prefix.broadcast_address}:
            raise InvalidOption(
                f"invalid value `{subnet.gateway}` for `gateway`: no host has the first or last address",
                hint=f"such as `{subnet.prefix[1]}`",
            )
    return made


def _one_each(
    option: str, prefixes: Sequence[Prefix], values: Iterable[IPv4or6 | Prefix]
) -> dict[Prefix, IPv4or6 | Prefix]:
    """Each value by the subnet that it is of."""
    found: dict[Prefix, IPv4or6 | Prefix] = {}
    for value in values:
        prefix = _home(option, value, prefixes)
        if prefix in found:
            raise InvalidOption(f"`{found[prefix]}` and `{value}` for `{option}` are of one subnet, {prefix}")
        found[prefix] = value
    return found


def _home(option: str, value: IPv4or6 | Prefix, prefixes: Sequence[Prefix]) -> Prefix:
    for prefix in prefixes:
        if _belongs(value, prefix):
            return prefix
    hint = None if prefixes else "give `--subnet`, too"
    raise InvalidOption(f"`{value}` for `{option}` is in no subnet of the network", hint=hint)


def _belongs(value: IPv4or6 | Prefix, prefix: Prefix) -> bool:
    if isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address):
        return value in prefix
    return value.version == prefix.version and value.subnet_of(prefix)  # type: ignore[arg-type]


def _prefix(option: str, text: str) -> Prefix:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    hint = "such as `172.30.0.0/16`"
    with contextlib.suppress(ValueError):
        hint = f"did you mean `{ipaddress.ip_network(text, strict=False)}`?"
    raise InvalidOption(f"invalid value `{text}` for `{option}`: no subnet", hint=hint)


def _roomy(prefix: Prefix, text: str) -> Prefix:
    if "/" not in text or prefix.num_addresses < 4:
        raise InvalidOption(f"invalid value `{text}` for `subnet`: no room for containers")
    if prefix.is_multicast or prefix.is_loopback or prefix.is_unspecified or prefix.prefixlen == 0:
        raise InvalidOption(f"invalid value `{text}` for `subnet`: its addresses are no host's")
    return prefix


def _address(option: str, text: str) -> IPv4or6:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        found = None
    if found is None or "%" in text:
        raise InvalidOption(f"invalid value `{text}` for `{option}`: no address")
    return found


def _subnet(document: Mapping[str, Any]) -> Subnet:
    within = document.get("IPRange")
    reserved = document.get("AuxiliaryAddresses", {})
    return Subnet(
        ipaddress.ip_network(document["Subnet"]),
        ipaddress.ip_address(document["Gateway"]),
        None if within is None else ipaddress.ip_network(within),
        {name: ipaddress.ip_address(address) for name, address in reserved.items()},
    )
