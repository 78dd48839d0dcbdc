"""Docker's grammars: what is understood, and what is refused by name, value and what is allowed."""

from __future__ import annotations

import contextlib
import datetime
import os
import pickle
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycontain import InvalidOption, Mount, RootFilesystem, Unsupported, Usage, bind, tmpfs_mount
from pycontain.runtime import confinement, devices, environment, limits, mounts, namespaces, sizes
from pycontain.runtime.host import Host

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


# --- sizes, durations, processors, signals


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (0, 0),
        (512, 512),
        ("0", 0),
        ("512", 512),
        ("512b", 512),
        ("1k", KIB),
        ("512m", 512 * MIB),
        ("512M", 512 * MIB),
        ("10kb", 10 * KIB),
        ("10KiB", 10 * KIB),
        ("1 gb", GIB),
        ("1.5g", GIB + GIB // 2),
        (".5g", GIB // 2),
        ("1.g", GIB),
        ("0.5", 0),
        ("2t", 2 << 40),
        ("1p", 1 << 50),
    ],
)
def test_sizes_are_powers_of_1024(text: int | str, number: int) -> None:
    assert sizes.size("memory", text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "m",
        ".",
        ".m",
        "-1",
        " 1",
        "1  k",
        "1x",
        "1ib",
        "1bb",
        "1kk",
        "1.5.2g",
        "0x10",
        "9e",
        "9000000p",
        "١",
        *(-1, 1 << 63, 1.5, True, None),
    ],
)
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(InvalidOption, match="`memory`"):
        sizes.size("memory", text)  # type: ignore[arg-type]


@given(st.integers(0, (1 << 63) - 1))
def test_every_number_of_bytes_is_its_own_size(number: int) -> None:
    assert sizes.size("memory", number) == sizes.size("memory", str(number)) == number


@given(st.integers(0, 8000), st.sampled_from("kmgtp"), st.sampled_from(["", "b", "ib", "B", "iB"]))
def test_the_spelling_of_a_unit_does_not_matter(number: int, unit: str, tail: str) -> None:
    expected = number * 1024 ** ("kmgtp".index(unit) + 1)
    assert sizes.size("memory", f"{number}{unit}{tail}") == expected
    assert sizes.size("memory", f"{number} {unit.upper()}{tail}") == expected


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_an_invalid_option(text: str) -> None:
    with contextlib.suppress(InvalidOption):
        assert 0 <= sizes.size("memory", text) < 1 << 63


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (10, 10.0),
        (0.25, 0.25),
        ("10", 10.0),
        ("10s", 10.0),
        ("1m30s", 90.0),
        ("1.5h", 5400.0),
        ("300ms", 0.3),
        (datetime.timedelta(minutes=2), 120.0),
    ],
)
def test_durations(value: float | str | datetime.timedelta, seconds: float) -> None:
    assert sizes.seconds("stop_timeout", value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "s", "10 s", "1x", "1.2.3s", "-1s", -1, True, "1s2", datetime.timedelta(-1)]
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match="stop_timeout"):
        sizes.seconds("stop_timeout", value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "billionths"),
    [
        (1, 10**9),
        (1.5, 1_500_000_000),
        ("0.25", 250_000_000),
        (".5", 500_000_000),
        ("2.", 2 * 10**9),
        ("1/2", 5 * 10**8),
    ],
)
def test_processors_are_counted_in_billionths(value: float | str, billionths: int) -> None:
    assert sizes.cpus(value) == billionths


@pytest.mark.parametrize(
    "value", ["", ".", "x", "-1", "1/3", "1/0", " 1", float("nan"), "0.0000000001", "1.2.3", True]
)
def test_what_is_no_number_of_processors_is_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match="cpus"):
        sizes.cpus(value)  # type: ignore[arg-type]


def test_lists_of_processors() -> None:
    assert sizes.ranges("cpuset_cpus", "0") == [(0, 0)]
    assert sizes.ranges("cpuset_cpus", "0-1, 4,6-7") == [(0, 1), (4, 4), (6, 7)]


@pytest.mark.parametrize("value", ["", "a", "3-1", "0-", "-1", "0,,1", "0-1-2"])
def test_bad_lists_of_processors_are_refused(value: str) -> None:
    with pytest.raises(InvalidOption, match="cpuset_cpus"):
        sizes.ranges("cpuset_cpus", value)


@pytest.mark.parametrize("known", list(signal.Signals))
def test_signals_have_the_numbers_of_this_system(known: signal.Signals) -> None:
    spellings: list[str | int] = [
        known.name,
        known.name.lower(),
        known.name.removeprefix("SIG"),
        str(int(known)),
        int(known),
    ]
    assert {sizes.signal_number("stop_signal", spelling) for spelling in spellings} == {int(known)}


def test_real_time_signals_count_from_either_end() -> None:
    assert sizes.signal_number("stop_signal", "SIGRTMIN+3") == signal.SIGRTMIN + 3
    assert sizes.signal_number("stop_signal", "RTMAX-2") == signal.SIGRTMAX - 2


@pytest.mark.parametrize("value", ["", "SIGNOPE", "0", "65", -1, "RTMIN-1", "RTMIN+31", "RTMAX+1"])
def test_unknown_signals_are_refused(value: str | int) -> None:
    with pytest.raises(InvalidOption, match="stop_signal"):
        sizes.signal_number("stop_signal", value)


# --- environment and labels


def test_a_variable_without_a_value_comes_from_the_caller() -> None:
    found = environment.variables("env", ["A=1", "B", "C", "D=x=y", "E="], {"B": "2"})
    assert found == {"A": "1", "B": "2", "C": None, "D": "x=y", "E": ""}
    assert environment.variables("env", {"A": "1", "B": None, "C": None}, {"B": "2"}) == {
        "A": "1",
        "B": "2",
        "C": None,
    }


@pytest.mark.parametrize("value", [["=x"], [""], "A=1", ["A=\0"], {"A": 1}, {"A=B": "c"}, [1], 5])
def test_bad_variables_are_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match="env"):
        environment.variables("env", value, {})  # type: ignore[arg-type]


def test_env_files_have_comments_and_keep_their_values_as_they_stand() -> None:
    text = "\ufeff# comment\n\n  A=1 # no comment\r\nB='quoted'\n\tC\nD=\n"
    assert environment.file_lines("env_file", "f", text) == ["A=1 # no comment", "B='quoted'", "C", "D="]


@pytest.mark.parametrize("text", ["=1\n", "A B=1\n", "A =1\n"])
def test_bad_env_files_are_refused_by_line(text: str) -> None:
    with pytest.raises(InvalidOption, match=r"f:2"):
        environment.file_lines("env_file", "f", "X=1\n" + text)


def test_a_label_without_a_value_is_empty() -> None:
    assert environment.labels("labels", ["a=b=c", "d"]) == {"a": "b=c", "d": ""}
    assert environment.labels("labels", {"a": "b"}) == {"a": "b"}
    with pytest.raises(InvalidOption, match="labels"):
        environment.labels("labels", ["=x"])


# --- mounts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/src:/dst", Mount("bind", "/src", "/dst", ("rbind", "rw", "rprivate"), True)),
        ("./src:/dst/", Mount("bind", "./src", "/dst", ("rbind", "rw", "rprivate"), True)),
        ("/src:/dst:ro,z,rslave", Mount("bind", "/src", "/dst", ("rbind", "ro", "rslave"), True)),
        ("/src://a/../dst:cached", Mount("bind", "/src", "/dst", ("rbind", "rw", "rprivate"), True)),
        ("/data", Mount("volume", "", "/data")),
    ],
)
def test_short_volume_syntax(text: str, expected: Mount) -> None:
    assert mounts.volume(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "/a:",
        ":/a",
        "/a:b",
        "/a:/",
        "a",
        "/",
        "/a:/b:ro:rw",
        "/a:/b:foo",
        "/a:/b:ro,rw",
        "/a:/b:z,Z",
        "a/b:/c",
        "/a:/b:slave,rslave",
        "/a:/b\0",
    ],
)
def test_bad_volumes_are_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="volumes"):
        mounts.volume(text)


def test_named_volumes_are_refused_with_the_way_out() -> None:
    with pytest.raises(Unsupported) as caught:
        mounts.volume("data:/var/lib/data")
    assert caught.value.hint == "give a directory of the host: `./data:/var/lib/data`"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type=bind,source=/a,target=/b", Mount("bind", "/a", "/b", ("rbind", "rw", "rprivate"))),
        ("type=bind,src=a,dst=/b,ro", Mount("bind", "a", "/b", ("rbind", "ro", "rprivate"))),
        (
            "TYPE=BIND,source=/a,destination=/b,readonly=0",
            Mount("bind", "/a", "/b", ("rbind", "rw", "rprivate")),
        ),
        (
            "type=bind,src=/a,dst=/b,readonly=true,bind-propagation=rshared,bind-recursive=disabled",
            Mount("bind", "/a", "/b", ("bind", "ro", "rshared")),
        ),
        ("type=bind,src=/a,dst=/b,bind-nonrecursive", Mount("bind", "/a", "/b", ("bind", "rw", "rprivate"))),
        ('type=bind,"source=/a,b",target=/c', Mount("bind", "/a,b", "/c", ("rbind", "rw", "rprivate"))),
        (
            "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=0700",
            Mount("tmpfs", "tmpfs", "/t", ("noexec", "nosuid", "nodev", "size=1048576", "mode=700")),
        ),
        ("target=/v", Mount("volume", "", "/v")),
    ],
)
def test_long_mount_syntax(text: str, expected: Mount) -> None:
    assert mounts.mount(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "type=foo,target=/b",
        "type=bind,source=/a",
        "type=bind,target=/b",
        "type=bind,source=,target=/b",
        "type=bind,source=/a,target=b",
        "type=bind,source=/a,target=/",
        "type=bind,source=/a,target=/b,foo",
        "type=bind,source=/a,target=/b,foo=1",
        "type=bind,source=/a,target=/b,readonly=maybe",
        "type=bind,source=/a,target=/b,readonly=",
        "type=bind,source=/a,target=/b,tmpfs-size=1",
        "type=bind,source=/a,target=/b,volume-nocopy",
        "type=bind,source=/a,target=/b,bind-propagation=foo",
        "type=bind,source=/a,target=/b,bind-recursive=foo",
        "type=bind,source=/a,target=/b,bind-recursive=readonly",
        'type=bind,source=/a,target=/b,"x',
        " type=bind,source=/a,target=/b",
        "type=tmpfs,target=/b,source=/c",
        "type=tmpfs,target=/b,bind-propagation=rslave",
        "type=tmpfs,target=/b,tmpfs-mode=9",
        "type=tmpfs,target=/b,tmpfs-size=1x",
    ],
)
def test_bad_mounts_are_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="mount"):
        mounts.mount(text)


@pytest.mark.parametrize(
    "text", ["type=volume,source=data,target=/d", "target=/d,ro", "type=image,source=x,target=/d"]
)
def test_mounts_that_are_not_there_yet_say_so(text: str) -> None:
    with pytest.raises(Unsupported) as caught:
        mounts.mount(text)
    assert caught.value.hint


@given(
    st.text(st.characters(codec="utf-8", exclude_characters='\0"\r\n'), min_size=1).filter(
        lambda s: s.strip("/.")
    )
)
def test_a_quoted_field_may_hold_any_path(name: str) -> None:
    mount = mounts.mount(f'type=bind,"source=/{name}",target=/x')
    assert mount.source == f"/{name}"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("/run", ("noexec", "nosuid", "nodev")),
        ("/run:rw,size=64m,mode=1777", ("noexec", "nosuid", "nodev", "rw", "size=64m", "mode=1777")),
        ("/run:exec,suid", ("nodev", "exec", "suid")),
        ("/run:noexec", ("nosuid", "nodev", "noexec")),
    ],
)
def test_tmpfs_is_without_devices_and_programs_unless_asked(text: str, options: tuple[str, ...]) -> None:
    assert mounts.tmpfs(text) == Mount("tmpfs", "tmpfs", "/run", options)


@pytest.mark.parametrize("text", ["run", "", "/", "/run:foo", "/run:size=", "/run:foo=1"])
def test_bad_tmpfs_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="tmpfs"):
        mounts.tmpfs(text)


def test_the_makers_of_mounts() -> None:
    assert bind("site", "/srv", read_only=True) == Mount("bind", "site", "/srv", ("rbind", "ro", "rprivate"))
    assert bind("/a", "/b", propagation="slave", recursive=False).options == ("bind", "rw", "slave")
    assert tmpfs_mount("/t", size="1m", mode=0o700).options == (
        *("noexec", "nosuid", "nodev"),
        *("size=1048576", "mode=700"),
    )
    with pytest.raises(InvalidOption):
        bind("/a", "b")


def test_a_root_directory_is_read_or_written() -> None:
    assert mounts.rootfs("tree", "/home") == RootFilesystem(lower=["/home/tree"])
    assert mounts.rootfs("/srv/tree:rw", "/home") == RootFilesystem(directory="/srv/tree")


# --- devices


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/dev/x", ("/dev/x", "/dev/x", "rwm")),
        ("/dev/x:r", ("/dev/x", "/dev/x", "r")),
        ("/dev/x:/dev/y", ("/dev/x", "/dev/y", "rwm")),
        ("/dev/x:/dev/y:rw", ("/dev/x", "/dev/y", "rw")),
    ],
)
def test_devices(text: str, expected: tuple[str, str, str]) -> None:
    assert devices.device(text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "/dev/x:", "/dev/x:y", "/dev/x:/dev/y:z", "/dev/x:/dev/y:rr", "/a:/b:r:w"]
)
def test_bad_devices_are_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="devices"):
        devices.device(text)


def test_device_rules() -> None:
    assert devices.cgroup_rule("c 42:* rmw") == {"allow": True, "type": "c", "major": 42, "access": "rmw"}
    for text in ("c 1:3", "x 1:3 r", "c 1 r", "c a:b r", "c 1:3 rr", "c 1:3 x", "c -1:3 r"):
        with pytest.raises(InvalidOption, match="device_cgroup_rules"):
            devices.cgroup_rule(text)


def test_rates_and_weights() -> None:
    assert devices.throttle("device_read_bps", "/dev/sda:1mb") == ("/dev/sda", MIB)
    assert devices.throttle("device_read_iops", "/dev/sda:1000") == ("/dev/sda", 1000)
    assert devices.weight("/dev/sda:500") == ("/dev/sda", 500)
    for text in ("/dev/sda", "sda:1", "/dev/sda:1x", "/dev/sda:-1", "/dev/sda:1:2"):
        with pytest.raises(InvalidOption, match="device_read_bps"):
            devices.throttle("device_read_bps", text)
    for text in ("/dev/sda", "sda:100", "/dev/sda:5", "/dev/sda:1001", "/dev/sda:1m"):
        with pytest.raises(InvalidOption, match="blkio_weight_device"):
            devices.weight(text)


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
        ("pid", "container:web", Unsupported),
        ("ipc", "foo", InvalidOption),
        ("uts", "none", InvalidOption),
        ("userns", "foo", InvalidOption),
        ("cgroupns", "foo", InvalidOption),
        ("network", "bridge", Unsupported),
        ("network", "front", Unsupported),
        ("network", "container:web", Unsupported),
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
        ({"pids_limit": -2}, "pids_limit"),
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
    assert limits.resources({"pids_limit": -1, "cpus": 0}, Host()) == {}


# --- values


def test_values_are_frozen_and_compare_by_content() -> None:
    usage = Usage(0.021, 9_437_184)
    assert usage == Usage(cpu=0.021, memory_peak=9_437_184)
    assert usage != Usage()
    assert hash(usage) == hash(Usage(0.021, 9_437_184))
    assert repr(usage) == "Usage(cpu=0.021 s, memory_peak=9_437_184 B)"
    assert pickle.loads(pickle.dumps(usage)) == usage
    with pytest.raises(AttributeError, match="frozen"):
        usage.cpu = 1.0
    with pytest.raises(AttributeError, match="frozen"):
        del usage.cpu


def test_a_root_has_either_layers_or_a_directory() -> None:
    with pytest.raises(ValueError, match="either"):
        RootFilesystem()
    with pytest.raises(ValueError, match="either"):
        RootFilesystem(["/a"], directory="/b")


def test_this_host_knows_its_devices() -> None:
    (null,) = Host().devices("devices", "/dev/null")
    assert (null.type, null.major, null.minor) == ("c", 1, 3)
    assert null.mode == os.stat("/dev/null").st_mode & 0o777
