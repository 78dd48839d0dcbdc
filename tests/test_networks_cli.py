"""`pycontain network …` prints what docker's does, and exits as it does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

import pytest
from pycontain.networks.store import NetworkStore
from pycontain.paths import find

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    class Pycontain(Protocol):
        """Runs one command line."""

        def __call__(self, *words: str, status: int = 0) -> tuple[list[str], list[str]]: ...


root = pytest.mark.root
START = "import sys; from pycontain.cli import main; sys.exit(main())"
COLUMNS = "NETWORK ID     NAME      DRIVER    SCOPE"
# the keys of docker 28.2.2, in its order
INSPECTED = (
    "Name Id Created Scope Driver EnableIPv4 EnableIPv6 IPAM Internal Attachable Ingress ConfigFrom "
    "ConfigOnly Containers Options Labels"
).split()


@pytest.fixture
def store(tmp_path: Path) -> NetworkStore:
    return NetworkStore(find(tmp_path / "root"))


@pytest.fixture
def pycontain(tmp_path: Path) -> Pycontain:
    pytest.importorskip("pycontain._core", reason="the Rust core is not built")
    environment = os.environ | {
        "PYCONTAIN_ROOT": str(tmp_path / "root"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    def run(*words: str, status: int = 0) -> tuple[list[str], list[str]]:
        done = subprocess.run(
            [sys.executable, "-c", START, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout.splitlines(), done.stderr.splitlines()

    return run


@contextlib.contextmanager
def used(store: NetworkStore, name: str) -> Iterator[None]:
    """As by a container that runs."""
    definition = store.get(name)
    lease = store.leases(definition).take(definition.subnets[0].prefix, but=[definition.subnets[0].gateway])
    lease.describe(
        {
            "id": "c" * 64,
            "name": "web",
            "mac": "02:42:0a:d6:00:02",
            "addresses": [str(lease.address)],
            "network": name,
            "network_id": definition.id,
        }
    )
    yield
    lease.close()


@root
def test_create_list_inspect_and_remove(pycontain: Pycontain) -> None:
    (id,), _ = pycontain("network", "create", "front")
    assert re.fullmatch("[0-9a-f]{64}", id)
    header, *rows = pycontain("network", "ls")[0]
    assert header == COLUMNS
    assert [row[15:] for row in rows] == [
        "bridge    bridge    local",
        "front     bridge    local",
        "host      host      local",
        "none      null      local",
    ]
    assert rows[1].startswith(f"{id[:12]}   front")
    assert pycontain("network", "list", "-q", "--filter", "type=custom")[0] == [id[:12]]
    assert pycontain("network", "ls", "-q", "--no-trunc", "-f", "name=fro")[0] == [id]
    text, _ = pycontain("network", "inspect", "front", "none")
    front, none = json.loads("\n".join(text))
    assert list(front) == list(none) == INSPECTED
    assert text[1:3] == ["    {", '        "Name": "front",']
    assert (none["Driver"], none["IPAM"]) == ("null", {"Driver": "default", "Options": None, "Config": []})
    assert pycontain("network", "rm", id[:12], "front", status=1) == (
        [id[:12]],
        [
            "pycontain: no such network: `front`",
            "hint: `pycontain network ls` lists those that are there",
        ],
    )


@root
def test_every_flag_of_create(pycontain: Pycontain) -> None:
    words = (
        "network create -d bridge --ipv6 --internal --attachable --ipam-driver default "
        "--subnet 10.216.0.0/24,fd00:216::/64 --gateway 10.216.0.254 --gateway fd00:216::9 "
        "--ip-range 10.216.0.128/25 --aux-address a=10.216.0.2 --aux-address b=fd00:216::2 "
        "--label x=y --label z -o com.docker.network.driver.mtu=1400 "
        "--opt com.docker.network.bridge.enable_icc=false back"
    )
    pycontain(*words.split())
    (found,) = json.loads("\n".join(pycontain("network", "inspect", "back")[0]))
    assert found["IPAM"]["Config"] == [
        {
            "Subnet": "10.216.0.0/24",
            "IPRange": "10.216.0.128/25",
            "Gateway": "10.216.0.254",
            "AuxiliaryAddresses": {"a": "10.216.0.2"},
        },
        {"Subnet": "fd00:216::/64", "Gateway": "fd00:216::9", "AuxiliaryAddresses": {"b": "fd00:216::2"}},
    ]
    assert (found["EnableIPv6"], found["Internal"], found["Labels"]) == (True, True, {"x": "y", "z": ""})
    assert found["Options"] == {
        "com.docker.network.driver.mtu": "1400",
        "com.docker.network.bridge.enable_icc": "false",
    }


@root
def test_formats_are_dockers(pycontain: Pycontain) -> None:
    (id,), _ = pycontain(
        "network", "create", "--label", "com.example.tier=x", "--ipv6", "--internal", "front"
    )
    (row,) = pycontain("network", "ls", "-f", "type=custom", "--format", "json")[0]
    found = json.loads(row)
    moment = found.pop("CreatedAt")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? \+0000 UTC", moment)
    assert list(found.items()) == [
        ("Driver", "bridge"),
        ("ID", id[:12]),
        ("IPv4", "true"),
        ("IPv6", "true"),
        ("Internal", "true"),
        ("Labels", "com.example.tier=x"),
        ("Name", "front"),
        ("Scope", "local"),
    ]
    template = 'table {{.Name}}\\t{{.IPv6}}\\t{{.Internal}}\\t{{.Label "com.example.tier"}}'
    assert pycontain("network", "ls", "-f", "name=front", "--format", template)[0] == [
        "NAME      IPV6      INTERNAL   tier",
        "front     true      true       x",
    ]
    assert pycontain("network", "ls", "-q", "-f", "name=front", "--format", "{{.Driver}}")[0] == ["bridge"]
    template = (
        "{{.Name}} {{range .IPAM.Config}}[{{.IPRange}}]{{end}} {{len .Containers}} {{.ConfigFrom.Network}}"
    )
    assert pycontain("network", "inspect", "-v", "-f", template, "front", "host")[0] == [
        "front [][] 0 ",
        "host  0 ",
    ]
    template = '{{index .Labels "com.example.tier"}} {{json .Options}}'
    assert pycontain("network", "inspect", "-f", template, "front")[0] == ["x {}"]


@root
def test_inspect_shows_who_is_in_it(pycontain: Pycontain, store: NetworkStore) -> None:
    pycontain("network", "create", "--subnet", "10.217.0.0/16", "front")
    template = (
        "{{range $id, $one := .Containers}}{{$one.Name}} {{$one.IPv4Address}} {{$one.MacAddress}}{{end}}"
    )
    with used(store, "front"):
        assert pycontain("network", "inspect", "-f", template, "front")[0] == [
            "web 10.217.0.2/16 02:42:0a:d6:00:02"
        ]
        assert pycontain("network", "rm", "front", status=1)[1][0] == (
            "pycontain: network `front` is in use by web"
        )
        assert pycontain("network", "prune", "-f") == ([], [])
    assert pycontain("network", "inspect", "-f", template, "front")[0] == [""]
    pycontain("network", "rm", "front")


@root
def test_inspect_of_anything_finds_networks_last(pycontain: Pycontain) -> None:
    pycontain("network", "create", "web")
    assert pycontain("inspect", "-f", "{{.Driver}}", "web")[0] == ["bridge"]
    pycontain("create", "--name", "web", "host", "true")
    assert pycontain("inspect", "-f", "{{.Name}}", "web")[0] == ["/web"]
    assert pycontain("inspect", "--type", "network", "-f", "{{.Name}}", "web")[0] == ["web"]
    _, errors = pycontain("inspect", "--type", "network", "missing", status=1)
    assert errors[0] == "pycontain: no such network: `missing`"
    pycontain("rm", "web")


def test_filters_are_dockers(pycontain: Pycontain) -> None:
    def listed(*filters: str) -> list[str]:
        words = [word for one in filters for word in ("--filter", one)]
        return pycontain("network", "ls", "--format", "{{.Name}}", *words)[0]

    assert listed() == listed("type=builtin") == listed("dangling=0") == ["bridge", "host", "none"]
    assert listed("driver=null") == listed("name=^no") == ["none"]
    assert listed("driver=host", "driver=null") == ["host", "none"]
    assert (
        listed("type=custom") == listed("label=x") == listed("scope=swarm") == listed("dangling=true") == []
    )
    for wrong in ("type=x", "dangling=x", "colour=red"):
        _, errors = pycontain("network", "ls", "-f", wrong, status=1)
        assert errors[0].startswith("pycontain: invalid filter `")
    pycontain("network", "ls", "-f", "driver", status=125)


@root
def test_prune_asks_and_tells(pycontain: Pycontain) -> None:
    for name in ("one", "two"):
        pycontain("network", "create", "--label", name, name)
    out, _ = pycontain("network", "prune")
    assert out == [
        "WARNING! This will remove all custom networks not used by at least one container.",
        "Are you sure you want to continue? [y/N] ",
    ]
    assert pycontain("network", "prune", "-f", "--filter", "label=one")[0] == ["Deleted Networks:", "one", ""]
    assert pycontain("network", "prune", "-f", "--filter", "until=24h")[0] == []
    _, errors = pycontain("network", "prune", "-f", "--filter", "name=two", status=1)
    assert errors[0] == "pycontain: invalid filter `name`"
    out, _ = pycontain("system", "prune")
    assert "  - all networks not used by at least one container" in out
    out, _ = pycontain("system", "prune", "-f")
    assert out[:3] == ["Deleted Networks:", "two", ""]


@root
def test_remove_goes_on_after_a_failure(pycontain: Pycontain) -> None:
    pycontain("network", "create", "front")
    out, errors = pycontain("network", "remove", "bridge", "missing", "front", status=1)
    assert out == ["front"]
    assert errors[0] == "pycontain: network `bridge` is predefined, and cannot be removed"
    assert pycontain("network", "rm", "-f", "missing") == ([], [])


@root
@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ("front", 1, "a network `front` is there already"),
        ("bridge", 1, "network `bridge` is predefined"),
        ("a/b", 1, "invalid network name `a/b`: must be a-z A-Z 0-9 _ . -, the first a letter or digit"),
        ("--subnet 10.218.0.128/25 x", 1, "subnet 10.218.0.128/25 overlaps that of network `front`"),
        ("--subnet 10.219.0.1/16 x", 1, "invalid value `10.219.0.1/16` for `--subnet`: no subnet"),
        ("--gateway 10.219.0.1 x", 1, "`10.219.0.1` for `--gateway` is in no subnet of the network"),
        (
            "--subnet 10.219.0.0/16 --ip-range 10.1.0.0/16 x",
            1,
            "`10.1.0.0/16` for `--ip-range` is in no subnet",
        ),
        ("--aux-address x x", 1, "invalid value `x` for `--aux-address`: must be NAME=ADDRESS"),
        ("-o vxlan=1 x", 1, "network option `vxlan` is not known"),
        ("-d macvlan x", 1, "network driver `macvlan` is not supported"),
        ("--ipam-driver x x", 1, "IPAM driver `x` is not known"),
        ("-d host x", 1, "there is one network of driver `host`, and no more"),
        ("--shiny x", 125, "unknown flag `--shiny`"),
        ("x y", 1, "got unexpected extra argument(s) (y)"),
        ("", 1, "NETWORK is missing"),
    ],
)
def test_what_cannot_be_made_is_told_in_a_line(
    pycontain: Pycontain, words: str, status: int, told: str
) -> None:
    pycontain("network", "create", "--subnet", "10.218.0.0/16", "front")
    out, errors = pycontain("network", "create", *words.split(), status=status)
    assert out == []
    assert errors[0].startswith(f"pycontain: {told}")
    assert all(line.startswith(("hint: ", "Usage: ")) for line in errors[1:] if line)
    assert pycontain("network", "ls", "-f", "type=custom", "--format", "{{.Name}}")[0] == ["front"]


@root
def test_ordinary_users_look_and_do_not_make() -> None:
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    place = f"/tmp/pycontain-networks-{os.getpid()}"  # where they may look
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYCONTAIN_ROOT": place,
    }

    def run(*words: str, by: list[str], of: str = "network") -> subprocess.CompletedProcess[str]:
        command = [*by, sys.executable, "-c", START, of, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    try:
        assert run("create", "front", by=[]).returncode == 0
        first = run("ls", by=nobody)
        if first.returncode and not first.stderr.startswith("pycontain: "):
            pytest.skip("others may not read what the tests are made of")
        os.chmod(place, 0o700)
        for words in (("ls",), ("inspect", "front")):
            done = run(*words, by=nobody)
            assert done.returncode == 1
            assert done.stderr.startswith("pycontain: cannot read networks: permission denied")
        os.chmod(place, 0o755)
        listed = run("ls", "--format", "{{.Name}}", by=nobody)
        assert (listed.stdout.split(), listed.stderr) == (["bridge", "front", "host", "none"], "")
        shown = run("inspect", "-f", "{{.Name}} {{.Driver}}", "front", "none", by=nobody)
        assert (shown.stdout.splitlines(), shown.stderr) == (["front bridge", "none null"], "")
        for words in (("create", "back"), ("rm", "front"), ("prune", "-f")):
            done = run(*words, by=nobody)
            assert (done.returncode, done.stdout) == (1, "")
            what, hint = done.stderr.splitlines()
            assert re.fullmatch(
                "pycontain: only root can (make|remove) networks: they are this machine's", what
            )
            assert hint == "hint: use `sudo`"
        os.mkdir(f"{place}/containers", 0o700)
        looked = run("-a", by=nobody, of="ps")
        assert looked.returncode == 1
        assert looked.stderr.startswith(
            f"pycontain: cannot use `{place}/containers`: permission denied\nhint: "
        )
    finally:
        run("prune", "-f", by=[])
        subprocess.run(["rm", "-r", place], check=True)
