"""Addresses of a network: each is one holder's, for as long as that lives."""

from __future__ import annotations

import ipaddress
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from pycontain.errors import AddressInUse, Conflict
from pycontain.networks.leases import Leases

if TYPE_CHECKING:
    from pathlib import Path

SUBNET = ipaddress.ip_network("10.9.0.0/24")
GATEWAY = ipaddress.ip_address("10.9.0.1")


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    return Leases(str(tmp_path / "front"))


def test_addresses_come_one_after_the_other_and_come_back_last(leases: Leases) -> None:
    first, second = (leases.take(SUBNET, but=[GATEWAY]) for _ in range(2))
    assert [str(lease.address) for lease in (first, second)] == ["10.9.0.2", "10.9.0.3"]
    first.close()
    third = leases.take(SUBNET, but=[GATEWAY])
    assert str(third.address) == "10.9.0.4"
    assert {address for address, _ in leases.held()} == {"10.9.0.3", "10.9.0.4"}


def test_all_are_given_out_once_and_then_none_is_left(leases: Leases) -> None:
    subnet = ipaddress.ip_network("10.9.1.0/28")
    taken = [leases.take(subnet) for _ in range(14)]
    assert len({lease.address for lease in taken}) == 14
    with pytest.raises(Conflict, match="no address is left"):
        leases.take(subnet)
    taken[5].close()
    assert leases.take(subnet).address == taken[5].address


def test_range_within_a_subnet_is_kept_to(leases: Leases) -> None:
    within = ipaddress.ip_network("10.9.0.128/30")
    taken = [str(leases.take(SUBNET, within=within).address) for _ in range(4)]
    assert taken == ["10.9.0.128", "10.9.0.129", "10.9.0.130", "10.9.0.131"]
    with pytest.raises(Conflict):
        leases.take(SUBNET, within=within)


def test_certain_address_is_had_once(leases: Leases) -> None:
    wanted = ipaddress.ip_address("10.9.0.77")
    lease = leases.take_this(wanted, SUBNET)
    with pytest.raises(AddressInUse, match="is in use"):
        leases.take_this(wanted, SUBNET)
    lease.close()
    leases.take_this(wanted, SUBNET).close()
    for nobodys in ("10.9.0.0", "10.9.0.255", "10.8.0.1", "10.9.0.1"):
        with pytest.raises(AddressInUse):
            leases.take_this(ipaddress.ip_address(nobodys), SUBNET, but=[GATEWAY])


def test_threads_and_processes_get_different_ones(leases: Leases, tmp_path: Path) -> None:
    program = (
        "import ipaddress, sys; from pycontain.networks.leases import Leases\n"
        "leases = Leases(sys.argv[1])\n"
        "taken = [leases.take(ipaddress.ip_network('10.9.0.0/24')) for _ in range(40)]\n"
        "print(*(lease.address for lease in taken), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "front")]
    with ThreadPoolExecutor(4) as threads:
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        mine = list(threads.map(lambda _: str(leases.take(SUBNET).address), range(40)))
        theirs = [process.stdout.readline().split() for process in processes if process.stdout]
        every = [*mine, *(address for some in theirs for address in some)]
        assert len(set(every)) == len(every) == 160
        for process in processes:
            process.communicate()


def test_names_lead_to_addresses_until_their_holder_is_gone(leases: Leases, tmp_path: Path) -> None:
    names = tmp_path / "front" / "names"
    one, other = leases.take(SUBNET), leases.take(SUBNET)
    one.describe({"id": "1"}, ["web", "one"])
    other.describe({"id": "2"}, ["web"])
    assert {path.name for path in (names / "web").iterdir()} == {str(one.address), str(other.address)}
    one.close()
    assert leases.sweep() == [str(one.address)]
    assert [path.name for path in (names / "web").iterdir()] == [str(other.address)]
    assert not (names / "one").exists()
    assert dict(leases.held()) == {str(other.address): {"id": "2", "names": ["web"]}}


def test_names_change(leases: Leases, tmp_path: Path) -> None:
    lease = leases.take(SUBNET)
    lease.describe({"id": "1", "long": "x" * 100}, ["web", "db"])
    lease.describe({"id": "1"}, ["www", "db"])
    assert {path.name for path in (tmp_path / "front" / "names").iterdir()} == {"www", "db"}
    assert dict(leases.held()) == {str(lease.address): {"id": "1", "names": ["www", "db"]}}


def test_copy_of_the_fd_holds_it(leases: Leases) -> None:
    lease = leases.take(SUBNET)
    copy = os.dup(lease.fd)
    lease.close()
    assert leases.sweep() == []
    os.close(copy)
    assert leases.sweep() == [str(lease.address)]


def test_what_is_killed_at_any_moment_leaves_nothing_that_stays(leases: Leases, tmp_path: Path) -> None:
    program = (
        "import ipaddress, sys; from pycontain.networks.leases import Leases\n"
        "leases = Leases(sys.argv[1]); subnet = ipaddress.ip_network('10.9.0.0/24')\n"
        "print('begins', flush=True)\n"
        "while True:\n"
        "    lease = leases.take(subnet); lease.describe({'id': 'x' * 2000}, ['web', 'db']); leases.sweep()\n"
        "    lease.close()"
    )
    moments = random.Random(20)
    for _ in range(20):
        words = [sys.executable, "-c", program, str(tmp_path / "front")]
        processes = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(2)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begins\n"
        time.sleep(moments.random() / 10)
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    assert list(leases.held()) == []
    leases.sweep()
    assert os.listdir(tmp_path / "front" / "addresses") == []
    lease = leases.take(SUBNET)
    lease.describe({"id": "y"}, ["web"])
    assert dict(leases.held()) == {str(lease.address): {"id": "y", "names": ["web"]}}
