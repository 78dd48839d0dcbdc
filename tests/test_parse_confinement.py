"""Docker's grammars of rights, namespaces and limits: what is understood, and what is refused."""

from __future__ import annotations

import pytest
from pycontain import InvalidOption, Unsupported
from pycontain.runtime import confinement, limits, namespaces
from pycontain.runtime.host import Host

MIB, GIB = 1 << 20, 1 << 30


# --- confinement


def test_capabilities_are_added_to_and_dropped_from_dockers() -> None:
    default = confinement.DEFAULT_CAPABILITIES
    assert len(default) == 14
    assert confinement.capabilities((), ()) == default
    assert confinement.capabilities(["net_admin", "CAP_NET_RAW"], []) == (*default, "CAP_NET_ADMIN")
    assert "CAP_CHOWN" not in confinement.capabilities([], ["chown"])
    assert confinement.capabilities([], ["ALL"]) == ()
    assert confinement.capabilities(["CHOWN"], ["all"]) == ("CAP_CHOWN",)
    everything = confinement.capabilities(["ALL"], ["SYS_ADMIN"])
    assert len(everything) == 40
    assert "CAP_SYS_ADMIN" not in everything
    with pytest.raises(InvalidOption, match="cap_add"):
        confinement.capabilities(["FLY"], [])


def test_security_options() -> None:
    assert confinement.security([]) == confinement.Security()
    assert confinement.security(["no-new-privileges"]).no_new_privileges
    assert confinement.security(["no-new-privileges:true"]).no_new_privileges
    assert not confinement.security(["no-new-privileges=false"]).no_new_privileges
    assert confinement.security(["seccomp=unconfined"]).seccomp == "unconfined"
    assert confinement.security(["seccomp:/p.json"]).seccomp == "/p.json"
    assert confinement.security(["apparmor=unconfined", "label=disable"]) == confinement.Security()
    assert not confinement.security(["systempaths=unconfined"]).masked_paths
    for text in (
        "foo",
        "foo=bar",
        "seccomp=",
        "seccomp",
        "no-new-privileges:maybe",
        "label",
        "systempaths=x",
    ):
        with pytest.raises(InvalidOption, match="security_opt"):
            confinement.security([text])
    with pytest.raises(Unsupported):
        confinement.security(["apparmor=strict"])


def test_ulimits() -> None:
    unlimited = (1 << 64) - 1
    limit = {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2048}
    assert confinement.ulimits(["nofile=1024:2048"]) == [limit]
    assert confinement.ulimits({"nofile": (1024, 2048)}) == [limit]
    assert confinement.ulimits(["core=0"]) == [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    assert confinement.ulimits(["core=5:-1"]) == [{"type": "RLIMIT_CORE", "soft": 5, "hard": unlimited}]
    assert confinement.ulimits({"core": -1}) == [
        {"type": "RLIMIT_CORE", "soft": unlimited, "hard": unlimited}
    ]
    for text in (
        "nofile",
        "nofile=",
        "nofile=1:2:3",
        "nofile=2:1",
        "nofile=-1:5",
        "NOFILE=1",
        "as=1",
        "nofile=x",
    ):
        with pytest.raises(InvalidOption, match="ulimits"):
            confinement.ulimits([text])


def test_only_kernel_parameters_of_a_namespace_are_taken() -> None:
    given = ["net.core.somaxconn=1024", "kernel.msgmax=9", "fs.mqueue.msg_max=5"]
    expected = {"net.core.somaxconn": "1024", "kernel.msgmax": "9", "fs.mqueue.msg_max": "5"}
    assert confinement.sysctls(given, host_network=False, host_ipc=False) == expected
    for text in (
        "net",
        "kernel.panic=1",
        "vm.swappiness=1",
        "net.=1",
        "=1",
        "net.a..b=1",
        "net/../kernel/x=1",
    ):
        with pytest.raises(InvalidOption, match="sysctls"):
            confinement.sysctls([text], host_network=False, host_ipc=False)
    with pytest.raises(InvalidOption, match="network=host"):
        confinement.sysctls(given, host_network=True, host_ipc=False)
    with pytest.raises(InvalidOption, match="ipc=host"):
        confinement.sysctls({"kernel.msgmax": 1}, host_network=False, host_ipc=True)


# --- names and namespaces


@pytest.mark.parametrize("option", ["pid", "network", "privileged"])
def test_what_needs_the_hosts_user_namespace_gets_it(option: str) -> None:
    value: object = True if option == "privileged" else "host"
    spaces = namespaces.namespaces({option: value})
    assert spaces.user == "host"
    assert {"type": "user"} not in spaces.own()
    with pytest.raises(InvalidOption, match="userns=auto"):
        namespaces.namespaces({option: value, "userns": "auto"})


def test_every_namespace_is_the_containers_own_by_default() -> None:
    kinds = {space["type"] for space in namespaces.namespaces({}).own()}
    assert kinds == {"pid", "network", "ipc", "uts", "mount", "cgroup", "user", "time"}


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("pid", "foo", InvalidOption),
        ("pid", "container:", InvalidOption),
        ("pid", "ns:/proc/1/ns/pid", Unsupported),
        ("ipc", "foo", InvalidOption),
        ("uts", "none", InvalidOption),
        ("uts", "container:web", InvalidOption),
        ("userns", "foo", InvalidOption),
        ("cgroupns", "foo", InvalidOption),
        ("network", "ns:/proc/1/ns/net", Unsupported),
        ("network", "container:", InvalidOption),
        ("network", "!", InvalidOption),
        ("network", 5, InvalidOption),
    ],
)
def test_bad_modes_are_refused(option: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=option):
        namespaces.namespaces({option: value})


def test_container_names() -> None:
    assert namespaces.container_name("web_1.a-b") == "web_1.a-b"
    assert namespaces.container_name("/web") == "web"
    for text in ("", "a", "-ab", ".ab", "a b", "a!", "ä1", "a/b"):
        with pytest.raises(InvalidOption, match="name"):
            namespaces.container_name(text)


def test_host_names() -> None:
    for text in ("web", "web-1.lan", "A_b", "9"):
        assert namespaces.host_name("hostname", text) == text
    for text in ("", "-a", "a-", "a..b", "a b", "a/b", "ä", "x" * 65, "a\n"):
        with pytest.raises(InvalidOption, match="hostname"):
            namespaces.host_name("hostname", text)


def test_users() -> None:
    assert namespaces.user("1000:100") == ("1000:100", 1000, 100)
    assert namespaces.user(1000) == ("1000", 1000, None)
    assert namespaces.user("web:1") == ("web:1", None, 1)
    for value in (":", "a:b:c", "a b", "-1", str(1 << 32), True):
        with pytest.raises(InvalidOption, match="user"):
            namespaces.user(value)


# --- limits


@pytest.mark.parametrize(
    ("options", "memory"),
    [
        ({"memory": "256m"}, {"limit": 256 * MIB, "swap": 512 * MIB}),
        ({"memory": "256m", "memory_swap": -1}, {"limit": 256 * MIB, "swap": -1}),
        ({"memory": "256m", "memory_swap": "256m"}, {"limit": 256 * MIB, "swap": 256 * MIB}),
        ({"memory_reservation": "64m"}, {"reservation": 64 * MIB}),
        ({"memory_swappiness": 0}, {"swappiness": 0}),
        (
            {"memory": "1g", "oom_kill_disable": True},
            {"limit": GIB, "swap": 2 * GIB, "disableOOMKiller": True},
        ),
    ],
)
def test_memory(options: dict[str, object], memory: dict[str, object]) -> None:
    assert limits.resources(options, Host()) == {"memory": memory}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "5m"}, "minimum memory limit allowed is 6MB"),
        ({"memory": "64m", "memory_swap": "32m"}, "memory_swap"),
        ({"memory_swap": "32m"}, "memory_swap"),
        ({"memory": "64m", "memory_reservation": "128m"}, "memory_reservation"),
        ({"memory_reservation": "1m"}, "memory_reservation"),
        ({"memory_swappiness": 101}, "memory_swappiness"),
        ({"cpus": "0.001"}, "cpus"),
        ({"cpus": 100000}, "cpus"),
        ({"cpus": 1, "cpu_period": 1000}, "cpu_period"),
        ({"cpus": 1, "cpu_quota": 1000}, "cpu_quota"),
        ({"cpu_period": 999}, "cpu_period"),
        ({"cpu_period": 1000001}, "cpu_period"),
        ({"cpu_quota": 999}, "cpu_quota"),
        ({"cpu_shares": -1}, "cpu_shares"),
        ({"blkio_weight": 9}, "blkio_weight"),
        ({"blkio_weight": 1001}, "blkio_weight"),
        ({"device_read_bps": ["/dev/null:1m"]}, "not a block device"),
        ({"device_read_bps": ["/dev/nosuch:1m"]}, "no such file"),
        ({"device_read_bps": "/dev/sda:1m"}, "list of strings"),
    ],
)
def test_bad_limits_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        limits.resources(options, Host())


def test_processor_limits() -> None:
    assert limits.resources({"cpus": 0.5}, Host()) == {"cpu": {"quota": 50_000, "period": 100_000}}
    given = {
        "cpu_shares": 512,
        "cpu_period": 50_000,
        "cpu_quota": 25_000,
        "cpuset_cpus": "0",
        "cpuset_mems": "0",
    }
    expected = {"shares": 512, "quota": 25_000, "period": 50_000, "cpus": "0", "mems": "0"}
    assert limits.resources(given, Host()) == {"cpu": expected}
    assert limits.resources({"pids_limit": 100}, Host()) == {"pids": {"limit": 100}}
    assert limits.resources({"pids_limit": -5, "cpus": 0}, Host()) == {}
