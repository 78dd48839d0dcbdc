"""What a network may be, and that it is kept as it was made."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from pycontain import InvalidOption, StoreError, Unsupported
from pycontain.networks.definition import Definition, Subnet, check_name, subnets


def test_subnets_have_their_gateways_ranges_and_reserved_addresses() -> None:
    found = subnets(
        ["10.5.0.0/16", "fd00:5::/64"],
        ["fd00:5::9", "10.5.0.254"],
        ["10.5.128.0/24"],
        {"router": "10.5.0.2", "other": "fd00:5::2"},
    )
    assert [subnet.inspect() for subnet in found] == [
        {
            "Subnet": "10.5.0.0/16",
            "IPRange": "10.5.128.0/24",
            "Gateway": "10.5.0.254",
            "AuxiliaryAddresses": {"router": "10.5.0.2"},
        },
        {"Subnet": "fd00:5::/64", "Gateway": "fd00:5::9", "AuxiliaryAddresses": {"other": "fd00:5::2"}},
    ]
    assert str(subnets(["10.5.0.0/16"])[0].gateway) == "10.5.0.1"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prefixes": ["10.5.0.1/16"]}, "no subnet"),
        ({"prefixes": ["10.5.0.0"]}, "no room"),
        ({"prefixes": ["10.5.0.0/31"]}, "no room"),
        ({"prefixes": ["x/16"]}, "no subnet"),
        ({"prefixes": ["10.5.0.0/16", "10.6.0.0/16"]}, "one subnet"),
        ({"prefixes": ["10.5.0.0/16"], "gateways": ["10.6.0.1"]}, "in no subnet"),
        ({"prefixes": ["10.5.0.0/16"], "gateways": ["x"]}, "no address"),
        ({"prefixes": ["10.5.0.0/16"], "ranges": ["10.0.0.0/8"]}, "in no subnet"),
        ({"prefixes": ["10.5.0.0/16"], "ranges": ["fd00::/64"]}, "in no subnet"),
        ({"prefixes": [], "gateways": ["10.5.0.1"]}, "in no subnet"),
        ({"prefixes": ["10.5.0.0/16"], "gateways": ["10.5.0.0"]}, "first or last"),
        ({"prefixes": ["10.5.0.0/16"], "gateways": ["10.5.0.1", "10.5.0.2"]}, "of one subnet"),
        ({"prefixes": ["127.0.0.0/8"]}, "no host's"),
    ],
)
def test_what_is_no_subnet_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidOption, match=words):
        subnets(**given)


def test_definition_is_kept_as_it_was() -> None:
    options = {
        "com.docker.network.driver.mtu": "1400",
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
    }
    parts = subnets(["10.5.0.0/16", "fd00:5::/64"], (), ["10.5.1.0/24"], {"a": "10.5.1.9"})
    made = Definition(
        "ab" * 32, "front", "bridge", parts,
        internal=True, created="2026-01-02T03:04:05Z", labels={"a": "b"}, options=options,
    )  # fmt: skip
    assert Definition.from_json(made.to_json()) == made
    assert (made.bridge, made.mtu, made.isolates, made.masquerades) == ("pc-abababababab", 1400, True, False)
    assert made.has_ipv6


def test_defaults_are_dockers() -> None:
    made = Definition("cd" * 32, "bridge", "bridge", [Subnet(ipaddress.ip_network("172.17.0.0/16"))])
    assert (made.bridge, made.mtu, made.isolates, made.masquerades) == ("pycontain0", 0, False, True)
    assert not made.has_ipv6


@pytest.mark.parametrize(
    "options",
    [
        {"com.docker.network.bridge.name": "much-too-long-for-it"},
        {"com.docker.network.bridge.name": "a/b"},
        {"com.docker.network.bridge.name": ""},
        {"com.docker.network.bridge.name": "all"},
    ],
)
def test_no_name_of_a_device_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(InvalidOption, match="network device"):
        Definition("cd" * 32, "front", "bridge", [], options=options)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(Unsupported, match="vxlan"):
        Definition("cd" * 32, "front", "bridge", [], options={"vxlan": "1"})


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"id": 1}', b'{"subnets": [{}]}', b"\xff"])
def test_damage_is_told(text: bytes) -> None:
    with pytest.raises(StoreError, match="damaged"):
        Definition.from_json(text)


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a b", "a\n", "é", "x" * 129, None])
def test_no_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidOption, match="network name"):
        check_name(name)
