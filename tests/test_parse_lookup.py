"""Docker's grammar of what a container finds others by, and the resolv.conf that is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from configurations import Machine, annotation, document, prepare
from hypothesis import given
from hypothesis import strategies as st
from pycontain import InvalidOption
from pycontain.runtime.lookup import Lookup, host_lines, lookup
from pycontain.runtime.resolv_conf import ResolvConf

HOSTS = "# of a tool\nnameserver 10.0.0.2\nsearch corp.lan lan\noptions edns0 timeout:3\nsortlist 10.0.0.0\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Lookup()),
        ({"dns": ["10.0.0.2", " 0:0::1 "]}, Lookup(servers=["10.0.0.2", "::1"])),
        ({"dns_search": ["example.com.", "LAN", "a-b.c1"]}, Lookup(search=["example.com", "LAN", "a-b.c1"])),
        ({"dns_search": ["."]}, Lookup(search=[])),
        ({"dns_search": [".", "lan"]}, Lookup(search=["lan"])),
        ({"dns_search": []}, Lookup()),
        ({"dns_options": ["ndots:2", "rotate"]}, Lookup(options=["ndots:2", "rotate"])),
        ({"add_host": ["db:10.0.0.5"]}, Lookup(hosts=[("db", "10.0.0.5")])),
        (
            {"add_host": ["db=10.0.0.5", "db=10.0.0.6"]},
            Lookup(hosts=[("db", "10.0.0.5"), ("db", "10.0.0.6")]),
        ),
        (
            {"add_host": ["six:fd00::5", "six:[fd00:0::6]"]},
            Lookup(hosts=[("six", "fd00::5"), ("six", "fd00::6")]),
        ),
        ({"add_host": ["six=::1", "four=[10.0.0.5]"]}, Lookup(hosts=[("six", "::1"), ("four", "10.0.0.5")])),
        ({"add_host": ["me:host-gateway"]}, Lookup(hosts=[("me", "host-gateway")])),
        ({"add_host": {"db": "fd00::5"}}, Lookup(hosts=[("db", "fd00::5")])),
        ({"links": ["db", "db-1:db"]}, Lookup(links=[("db", "db"), ("db-1", "db")])),
        ({"links": ["/db:/web/store"]}, Lookup(links=[("db", "store")])),
        ({"links": {"db-1": "db"}}, Lookup(links=[("db-1", "db")])),
    ],
)
def test_what_is_asked_for(options: dict[str, Any], expected: Lookup) -> None:
    assert lookup(options) == expected
    assert Lookup(*json.loads(json.dumps(expected._fields()))) == expected


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("dns", "10.0.0.2"),
        ("dns", ["localhost"]),
        ("dns", ["10.0.0"]),
        ("dns", ["fe80::1%eth0"]),
        ("dns", [""]),
        ("dns", [10]),
        ("dns_search", ["a b"]),
        ("dns_search", ["1.2.3"]),
        ("dns_search", ["-a.lan"]),
        ("dns_search", ["a..lan"]),
        ("dns_search", ["lan\nnameserver 10.0.0.9"]),
        ("dns_search", ["a" * 255]),
        ("dns_options", ["ndots:2 rotate"]),
        ("dns_options", ["x\ny"]),
        ("dns_options", [""]),
        ("add_host", ["db"]),
        ("add_host", [":10.0.0.5"]),
        ("add_host", ["db:"]),
        ("add_host", ["db:10.0.0"]),
        ("add_host", ["d b:10.0.0.5"]),
        ("add_host", ["db\n10.0.0.6:10.0.0.5"]),
        ("add_host", ["db#:10.0.0.5"]),
        ("add_host", ["db:x=10.0.0.5"]),
        ("add_host", ["db:[10.0.0.5"]),
        ("add_host", "db:10.0.0.5"),
        ("add_host", {"db": 1}),
        ("links", [""]),
        ("links", ["db:"]),
        ("links", [":db"]),
        ("links", ["a:b:c"]),
        ("links", ["db:d b"]),
        ("links", "db"),
    ],
)
def test_what_is_none_is_refused(option: str, value: Any) -> None:
    with pytest.raises(InvalidOption, match=f"for `{option}`"):
        lookup({option: value})


@given(st.text(alphabet="0123456789abf:=[]./-# \n\t", max_size=20))
def test_any_text_is_one_line_of_hosts_or_refused(text: str) -> None:
    try:
        asked = lookup({"add_host": [text]})
    except InvalidOption:
        return
    (line,) = host_lines(asked.hosts, ["10.0.0.1"]).splitlines()
    assert len(line.split()) == 2
    assert "#" not in line


def test_gateway_of_the_host_is_all_that_it_has() -> None:
    hosts = [("me", "host-gateway"), ("db", "10.0.0.5")]
    assert host_lines(hosts, ["10.1.0.1", "fd00::1"]) == "10.1.0.1\tme\nfd00::1\tme\n10.0.0.5\tdb\n"


def test_resolv_conf_is_the_hosts_with_what_was_asked_for_in_its_place() -> None:
    hosts = ResolvConf.parse(HOSTS)
    assert str(hosts) == HOSTS.partition("\n")[2]
    asked = lookup({"dns": ["10.9.9.9"], "dns_search": ["."], "dns_options": ["ndots:2"]})
    assert str(hosts.changed(asked)) == "nameserver 10.9.9.9\noptions ndots:2\nsortlist 10.0.0.0\n"
    assert str(hosts.changed(Lookup())) == str(hosts)


def test_last_search_counts_and_domain_is_one() -> None:
    text = "domain first.lan\nsearch a.lan b.lan\n; nameserver 10.0.0.9\noptions a\noptions b\nnameserver\n"
    found = ResolvConf.parse(text)
    assert (found.servers, found.search, found.options) == ((), ("a.lan", "b.lan"), ("a", "b"))
    assert ResolvConf.parse("search a.lan\ndomain b.lan\n").search == ("b.lan",)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ("ndots:0",)),
        (["edns0"], ("edns0", "ndots:0")),
        (["ndots:2", "edns0"], ("ndots:2", "edns0")),
        (["ndots:x", "ndots:-1"], ("ndots:0",)),
    ],
)
def test_neighbours_are_looked_up_by_short_names(options: list[str], expected: tuple[str, ...]) -> None:
    assert ResolvConf(options=options).by_neighbours().options == expected


def test_servers_of_the_host_alone_are_reached_from_no_network() -> None:
    some = ResolvConf(["127.0.0.53", "::1", "10.0.0.2", "fd00::2", "fe80::1%eth0", "x"])
    assert some.reached(ipv6=False) == ("10.0.0.2",)
    assert some.reached(ipv6=True) == ("10.0.0.2", "fd00::2")


def files(**options: Any) -> dict[str, str]:
    machine = Machine({"/etc/hosts": "10.0.0.1 peer", "/etc/resolv.conf": HOSTS})
    found: dict[str, str] = json.loads(annotation(document(host=machine, **options), "files"))
    return found


def test_without_a_network_of_its_own_the_files_are_made_at_once() -> None:
    asked = {"dns": ["10.9.9.9"], "dns_search": ["a.lan"], "add_host": ["db:10.0.0.5"]}
    none, host = files(**asked), files(network="host", **asked)
    assert none["/etc/resolv.conf"] == "nameserver 10.9.9.9\nsearch a.lan\n"
    assert none["/etc/hosts"].endswith("\n10.0.0.5\tdb\n")
    assert host["/etc/resolv.conf"].splitlines()[:2] == ["nameserver 10.9.9.9", "search a.lan"]
    assert host["/etc/hosts"] == "10.0.0.1 peer\n10.0.0.5\tdb\n"
    assert files(network="host")["/etc/resolv.conf"] == HOSTS
    assert files(network="host", add_host=["me:host-gateway"])["/etc/hosts"].endswith("127.0.0.1\tme\n")
    with pytest.raises(InvalidOption, match="`add_host=host-gateway` has no meaning with `network=none`"):
        prepare(add_host=["me:host-gateway"])
    for network in ("none", "host"):
        with pytest.raises(InvalidOption, match=f"`links` has no meaning with `network={network}`"):
            prepare(network=network, links=["db"])


def test_in_a_network_what_was_asked_for_waits_for_the_start() -> None:
    asked = {"dns": ["10.9.9.9"], "links": ["db:store"], "add_host": ["me:host-gateway"]}
    config = document(network="bridge", **asked)
    assert json.loads(annotation(config, "files"))["/etc/resolv.conf"] == ""
    assert Lookup(*json.loads(annotation(config, "join"))["lookup"]) == lookup(asked)
    assert "lookup" not in json.loads(annotation(document(network="bridge"), "join"))
