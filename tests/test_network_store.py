"""Which networks there are: each name is one network's, and none goes that is in use."""

from __future__ import annotations

import ipaddress
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from pycontain import Conflict, InvalidOption
from pycontain.errors import NameInUse, NetworkNotFound, StillInUse
from pycontain.networks.definition import Definition, Subnet
from pycontain.networks.store import NetworkStore
from pycontain.paths import Paths

if TYPE_CHECKING:
    from pathlib import Path

    from pycontain.networks.leases import Lease

SUBNET = ipaddress.ip_network("10.9.0.0/24")


@pytest.fixture
def networks(tmp_path: Path) -> NetworkStore:
    return NetworkStore(Paths(str(tmp_path / "root"), str(tmp_path / "run")))


def network(name: str, id: str | None = None) -> Definition:
    return Definition(id or os.urandom(32).hex(), name, "bridge", [Subnet(SUBNET)])


def test_networks_are_found_by_name_id_and_how_an_id_begins(networks: NetworkStore) -> None:
    front, back = network("front", "aa" + "1" * 62), network("back", "ab" + "2" * 62)
    assert list(networks.all()) == []
    networks.add(front)
    networks.add(back)
    assert {one.name for one in networks.all()} == {"front", "back"}
    for name in ("front", front.id, "aa"):
        assert networks.get(name) == front
    with pytest.raises(InvalidOption, match="several networks"):
        networks.get("a")
    for missing in ("", "x", "fron", "../front", "a/b"):
        with pytest.raises(NetworkNotFound):
            networks.get(missing)


def test_name_is_one_networks(networks: NetworkStore) -> None:
    def add(_: int) -> bool:
        try:
            networks.add(network("front"))
        except NameInUse:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(add, range(40))) == 1
    for name in ("bridge", "host", "none"):
        with pytest.raises(Conflict, match="predefined"):
            networks.add(network(name))
        with pytest.raises(Conflict, match="predefined"):
            networks.remove(network(name))


def test_network_goes_when_nobody_is_in_it(networks: NetworkStore) -> None:
    front = network("front")
    networks.add(front)
    lease = networks.leases(front).take(SUBNET)
    lease.describe({"name": "web"})
    with pytest.raises(StillInUse, match="in use by web"):
        networks.remove(front)
    assert networks.get("front") == front
    lease.close()
    networks.remove(front)
    with pytest.raises(NetworkNotFound):
        networks.remove(front)
    assert list(networks.all()) == []


def test_removal_and_use_exclude_each_other(networks: NetworkStore) -> None:
    front = network("front")

    def use() -> tuple[Lease, bool]:
        lease = networks.leases(front).take(SUBNET)
        try:
            networks.get("front")
        except NetworkNotFound:
            return lease, False
        return lease, True

    def remove() -> bool:
        try:
            networks.remove(front)
        except (StillInUse, NetworkNotFound):
            return False
        return True

    seen = set()
    with ThreadPoolExecutor(4) as threads:
        for number in range(200):
            networks.add(front)
            first = [threads.submit(remove) for _ in range(number % 3)]  # either may be the faster one
            users = [threads.submit(use) for _ in range(2)]
            removers = [*first, *(threads.submit(remove) for _ in range(2 - number % 3))]
            removed = sum(remover.result() for remover in removers)
            for lease, used in (user.result() for user in users):
                seen.add((used, removed))
                lease.close()
            if not removed:
                networks.remove(front)
    assert (True, 1) not in seen
    assert {removed for _, removed in seen} == {0, 1}
