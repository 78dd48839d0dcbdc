"""Networks in Python: made, found, listed, removed; their addresses are nobody else's."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pycontain
import pytest
from pycontain import Conflict, InvalidOption, NameInUse, NetworkNotFound, StillInUse, Unsupported, aio
from pycontain.networks import Networks
from pycontain.networks.definition import Definition, Subnet
from pycontain.networks.store import NetworkStore

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pycontain.networks.leases import Lease
    from pycontain.paths import Paths

pytestmark = pytest.mark.root

BRIDGE_NAME = "com.docker.network.bridge.name"


@pytest.fixture
def networks(paths: Paths) -> Networks:
    pytest.importorskip("pycontain._core", reason="the Rust core is not built")
    return Networks(paths)


def names(networks: Iterable[pycontain.Network]) -> list[str]:
    return [network.name for network in networks]


def taken(paths: Paths, network: pycontain.Network, **more: str) -> list[Lease]:
    """What a container that runs has of it."""
    store = NetworkStore(paths)
    leases = store.leases(store.get(network.name))
    found = [leases.take(subnet.prefix, but=[subnet.gateway]) for subnet in network.subnets]
    holder = {
        "id": "c" * 64,
        "name": "web",
        "mac": "02:42:0a:d6:00:02",
        "addresses": [str(one.address) for one in found],
        "network": network.name,
        "network_id": network.id,
        "published": [],
    }
    for one in found:
        one.describe({**holder, **more}, ["web"])
    return found


def test_network_is_what_was_asked_for(networks: Networks) -> None:
    made = networks.create(
        "front",
        subnet=["10.213.0.0/24", "fd00:213::/64"],
        gateway="10.213.0.254",
        ip_range="10.213.0.128/25",
        aux_addresses={"router": "10.213.0.2"},
        internal=True,
        labels=["tier=front", "plain"],
        options={"com.docker.network.driver.mtu": "1400"},
    )
    assert (made.name, made.driver, made.internal, len(made.id)) == ("front", "bridge", True, 64)
    assert made.labels == {"tier": "front", "plain": ""}
    four, six = made.subnets
    assert (str(four.prefix), str(four.gateway), str(four.within)) == (
        "10.213.0.0/24",
        "10.213.0.254",
        "10.213.0.128/25",
    )
    assert (str(six.prefix), str(six.gateway), six.within) == ("fd00:213::/64", "fd00:213::1", None)
    document = made.inspect()
    assert document["Created"].endswith("Z")
    assert {**document, "Created": ""} == {
        "Name": "front",
        "Id": made.id,
        "Created": "",
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv4": True,
        "EnableIPv6": True,
        "IPAM": {
            "Driver": "default",
            "Options": {},
            "Config": [
                {
                    "Subnet": "10.213.0.0/24",
                    "IPRange": "10.213.0.128/25",
                    "Gateway": "10.213.0.254",
                    "AuxiliaryAddresses": {"router": "10.213.0.2"},
                },
                {"Subnet": "fd00:213::/64", "Gateway": "fd00:213::1"},
            ],
        },
        "Internal": True,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": {"com.docker.network.driver.mtu": "1400"},
        "Labels": {"tier": "front", "plain": ""},
    }


def test_handles_of_one_network_are_equal(networks: Networks) -> None:
    made = networks.create("front")
    for name in ("front", made.id, made.id[:12]):
        assert networks.get(name) == made
    assert len({made, networks.get("front"), networks.get("none")}) == 2
    assert repr(made) == "<Network front>"
    with pytest.raises(NetworkNotFound, match="no such network: `back`"):
        networks.get("back")
    with pytest.raises(NameInUse, match="`front` is there already"):
        networks.create("front")


def test_those_that_are_always_there(networks: Networks) -> None:
    assert [(one.name, one.driver) for one in networks.list()] == [
        ("bridge", "bridge"),
        ("host", "host"),
        ("none", "null"),
    ]
    for network in networks.list():
        assert networks.get(network.id[:12]) == network
        with pytest.raises(Conflict, match="is predefined, and cannot be removed"):
            network.remove()
        with pytest.raises(Conflict, match="is predefined"):
            networks.create(network.name)
    for driver in ("host", "null"):
        with pytest.raises(Conflict, match="there is one network of driver"):
            networks.create("front", driver=driver)
    options = networks.get("bridge").inspect()["Options"]
    assert options["com.docker.network.bridge.default_bridge"] == "true"


def test_subnets_are_nobody_elses(networks: Networks) -> None:
    default = networks.get("bridge").subnets[0].prefix
    front = networks.create("front", ipv6=True)
    back = networks.create("back", ipv6=True)
    prefixes = [default, *(subnet.prefix for one in (front, back) for subnet in one.subnets)]
    assert len(prefixes) == 5
    for prefix in prefixes:
        others = [one for one in prefixes if one.version == prefix.version and one is not prefix]
        assert not any(prefix.overlaps(other) for other in others)
    assert front.subnets[1].prefix.subnet_of(ipaddress.ip_network("fc00::/7"))  # type: ignore[arg-type]
    for prefix, name in ((default, "bridge"), (front.subnets[0].prefix, "front")):
        with pytest.raises(Conflict, match=f"overlaps that of network `{name}`"):
            networks.create("more", subnet=str(prefix))
    assert "more" not in names(networks.list())


def test_networks_made_at_once_do_not_overlap(networks: Networks) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda number: networks.create(f"net{number}"), range(12)))
    prefixes = [one.subnets[0].prefix for one in made]
    assert not any(one.overlaps(other) for number, one in enumerate(prefixes) for other in prefixes[:number])
    assert names(networks.list(type=["custom"])) == [f"net{number}" for number in range(12)]


def test_default_network_leaves_alone_those_of_before_a_restart(networks: Networks, paths: Paths) -> None:
    free = networks.get("bridge").subnets[0].prefix
    os.unlink(f"{paths.run}/networks/bridge.json")  # as a restart does
    NetworkStore(paths).add(Definition("a" * 64, "front", "bridge", [Subnet(free)]))
    assert not networks.get("bridge").subnets[0].prefix.overlaps(free)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"subnet": "10.213.0.1/24"}, InvalidOption, "no subnet"),
        ({"subnet": "10.213.0.0/31"}, InvalidOption, "no room"),
        ({"subnet": "127.0.0.0/8"}, InvalidOption, "no host's"),
        ({"subnet": "224.0.0.0/8"}, InvalidOption, "no host's"),
        ({"subnet": "0.0.0.0/0"}, InvalidOption, "no host's"),
        ({"subnet": 7}, InvalidOption, "list of strings"),
        ({"subnet": ["10.213.0.0/24", "10.214.0.0/24"]}, InvalidOption, "one subnet of IPv4"),
        ({"gateway": "10.213.0.1"}, InvalidOption, "in no subnet"),
        ({"subnet": "10.213.0.0/24", "gateway": "10.214.0.1"}, InvalidOption, "in no subnet"),
        ({"subnet": "10.213.0.0/24", "gateway": "10.213.0.255"}, InvalidOption, "first or last"),
        (
            {"subnet": "10.213.0.0/24", "gateway": ["10.213.0.1", "10.213.0.2"]},
            InvalidOption,
            "of one subnet",
        ),
        ({"subnet": "10.213.0.0/24", "ip_range": "10.213.0.1/25"}, InvalidOption, "no subnet"),
        ({"subnet": "10.213.0.0/24", "ip_range": "10.213.0.0/16"}, InvalidOption, "in no subnet"),
        ({"subnet": "10.213.0.0/24", "aux_addresses": ["router"]}, InvalidOption, "NAME=ADDRESS"),
        ({"subnet": "10.213.0.0/24", "aux_addresses": {"router": "x"}}, InvalidOption, "no address"),
        ({"subnet": "fd00::/64", "gateway": "fd00::1%eth0"}, InvalidOption, "no address"),
        ({"options": {"com.docker.network.driver.mtu": "x"}}, InvalidOption, "from 68 to 65535"),
        ({"options": {"com.docker.network.bridge.enable_icc": "x"}}, InvalidOption, "true or false"),
        ({"options": {"com.docker.network.bridge.host_binding_ipv4": "x"}}, InvalidOption, "no address"),
        ({"options": {BRIDGE_NAME: "much-too-long-for-it"}}, InvalidOption, "network device"),
        ({"options": {BRIDGE_NAME: "lo"}}, Conflict, "there is a device `lo` already"),
        ({"options": {BRIDGE_NAME: "pycontain0"}}, Conflict, "network `bridge` has the device"),
        ({"options": {"vxlan": "1"}}, Unsupported, "vxlan"),
        ({"driver": "macvlan"}, Unsupported, "macvlan"),
    ],
)
def test_what_cannot_be_is_refused(
    networks: Networks, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        networks.create("front", **options)
    assert names(networks.list(type=["custom"])) == []


def test_gateway_is_no_name_of_a_reserved_address(networks: Networks) -> None:
    made = networks.create("front", subnet="10.213.0.0/24", aux_addresses={"gateway": "10.213.0.9"})
    assert str(made.subnets[0].gateway) == "10.213.0.1"
    assert [str(one) for one in made.subnets[0].reserved.values()] == ["10.213.0.9"]


def test_filters_let_through_what_they_name(networks: Networks, paths: Paths) -> None:
    front = networks.create("front", labels={"tier": "front", "shop": "yes"})
    networks.create("back2", labels={"tier": "back"})
    networks.create("back10")

    def listed(**filters: Any) -> list[str]:
        return names(networks.list(**filters))

    assert listed() == ["back2", "back10", "bridge", "front", "host", "none"]
    assert listed(name=["^b"]) == ["back2", "back10", "bridge"]
    assert listed(name=["ron", "host"]) == ["front", "host"]
    assert listed(id=front.id[:20]) == ["front"]
    assert listed(driver=["null", "host"]) == ["host", "none"]
    assert listed(label=["tier"]) == ["back2", "front"]
    assert listed(label=["tier=front", "shop"]) == ["front"]
    assert listed(label=["tier"], name=["back"]) == ["back2"]
    assert listed(type=["builtin"]) == ["bridge", "host", "none"]
    assert listed(type=["builtin", "custom"]) == listed(scope=["local"]) == listed()
    assert listed(scope=["swarm"]) == []
    (lease,) = taken(paths, front)
    assert listed(dangling=True) == ["back2", "back10"]
    assert listed(dangling=False) == ["bridge", "front", "host", "none"]
    lease.close()
    assert listed(dangling=True) == ["back2", "back10", "front"]
    for wrong in ({"type": "x"}, {"name": ["("]}, {"label": True}, {"colours": ["red"]}):
        with pytest.raises(InvalidOption):
            listed(**wrong)


def test_containers_are_those_that_have_an_address_now(networks: Networks, paths: Paths) -> None:
    front = networks.create("front", subnet=["10.214.0.0/16", "fd00:214::/64"])
    leases = taken(paths, front)
    (container,) = front.inspect()["Containers"].items()
    assert container[0] == "c" * 64
    endpoint = container[1].pop("EndpointID")
    assert len(endpoint) == 64
    assert container[1] == {
        "Name": "web",
        "MacAddress": "02:42:0a:d6:00:02",
        "IPv4Address": f"{leases[0].address}/16",
        "IPv6Address": f"{leases[1].address}/64",
    }
    assert front.inspect()["Containers"]["c" * 64]["EndpointID"] == endpoint
    with pytest.raises(StillInUse, match=r"`front` is in use by web$"):
        front.remove()
    more = taken(paths, front)
    assert [str(lease.address) for lease in (*leases, *more)] == [
        "10.214.0.2",
        "fd00:214::2",
        "10.214.0.3",
        "fd00:214::3",
    ]
    for lease in (*leases, *more):
        lease.close()
    assert front.inspect()["Containers"] == {}
    other = taken(paths, front, network_id="of another that had the device")
    assert front.inspect()["Containers"] == {}
    for lease in other:
        lease.close()


def test_nothing_is_left_of_what_is_removed(networks: Networks, paths: Paths) -> None:
    front = networks.create("front")
    (lease,) = taken(paths, front)
    lease.close()
    front.remove()
    assert os.listdir(f"{paths.root}/networks") == []
    assert os.listdir(f"{paths.run}/networks") == ["bridge.json"]
    with pytest.raises(NetworkNotFound):
        front.remove()
    with pytest.raises(NetworkNotFound):
        networks.remove("front")


def test_prune_removes_what_nothing_uses_and_filters_let_through(networks: Networks, paths: Paths) -> None:
    (lease,) = taken(paths, networks.create("used"))
    for name in ("kept", "one", "two"):
        networks.create(name, labels=["keep"] if name == "kept" else {"number": name})
    assert networks.prune(until="1h") == ()
    assert networks.prune(label=["number=two"]) == ("two",)
    assert networks.prune(without_label=["keep"]) == ("one",)
    assert networks.prune() == ("kept",)
    lease.close()
    assert networks.prune(until="0s") == ("used",)
    assert names(networks.list()) == ["bridge", "host", "none"]


def test_damage_is_told_by_name(networks: Networks, paths: Paths) -> None:
    networks.create("front")
    with open(f"{paths.root}/networks/front", "wb"):
        pass
    with pytest.raises(pycontain.StoreError, match="damaged"):
        networks.get("front")


def test_events_tell_of_networks(tmp_path: Path) -> None:
    with pycontain.Engine(tmp_path / "root") as engine:
        made = engine.networks.create("front")
        made.remove()
        engine.networks.create("back")
        engine.networks.prune()
        told = list(engine.events(since=0, until="0s", type=["network"]))
        assert [(event.action, event.attributes.get("name")) for event in told] == [
            ("create", "front"),
            ("destroy", "front"),
            ("create", "back"),
            ("destroy", "back"),
            ("prune", None),
        ]
        assert (told[0].id, told[0].attributes["type"]) == (made.id, "bridge")
        for name in ("front", made.id[:12]):
            found = engine.events(since=0, until="0s", network=[name])
            assert [event.action for event in found] == ["create", "destroy"]


def test_same_words_in_asyncio(tmp_path: Path) -> None:
    async def use() -> None:
        async with aio.Engine(tmp_path / "root") as engine:
            made = await engine.networks.create("front", labels=["a"])
            assert await engine.networks.get("front") == made
            assert await engine.networks.list(label=["a"]) == (made,)
            await engine.networks.remove("front")
            await engine.networks.create("back")
            assert await engine.networks.prune() == ("back",)

    asyncio.run(use())


# in network namespaces of their own: with links

_ROUTE = """
import subprocess, sys
from pycontain import Conflict
from pycontain.networks import Networks
from pycontain.paths import Paths

def ip(*words):
    subprocess.run(["ip", *words], check=True)

ip("link", "add", "own", "type", "bridge")
ip("addr", "add", "10.215.0.1/24", "dev", "own")
ip("addr", "add", "172.17.0.1/16", "dev", "own")
ip("link", "set", "own", "up")
networks = Networks(Paths(*sys.argv[1:]))
for subnet in ("10.215.0.0/24", "10.215.0.128/25", "10.0.0.0/8"):
    try:
        networks.create("front", subnet=subnet)
    except Conflict as error:
        assert "overlaps a route of this machine: 10.215.0.0/24" in str(error), error
    else:
        raise AssertionError(subnet)
for number in range(3):
    assert str(networks.create(f"net{number}").subnets[0].prefix) != "172.17.0.0/16"
assert str(networks.get("bridge").subnets[0].prefix) != "172.17.0.0/16"
networks.create("front", subnet="10.215.1.0/24")
"""

_BRIDGE = """
import socket, subprocess, sys
from pycontain.networks import Networks
from pycontain.paths import Paths

def links():
    return {name for _, name in socket.if_nameindex()}

networks = Networks(Paths(*sys.argv[1:]))
made = networks.create("front")
named = networks.create("named", options={"com.docker.network.bridge.name": "named0"})
assert links() == {"lo"}, links()
for name in (f"pc-{made.id[:12]}", "named0", "other"):
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    if name != "other":
        subprocess.run(["ip", "link", "set", name, "alias", "pycontain network it"], check=True)
made.remove()
assert links() == {"lo", "named0", "other"}, links()
assert networks.prune() == ("named",)
assert links() == {"lo", "other"}, links()
"""


@pytest.mark.parametrize("code", [_ROUTE, _BRIDGE], ids=["routes", "bridges"])
def test_links_and_routes_of_the_machine(code: str, paths: Paths) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = ["unshare", "--net", sys.executable, "-c", code, paths.root, paths.run]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
