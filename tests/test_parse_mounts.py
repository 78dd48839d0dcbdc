"""Docker's grammars of mounts and devices: what is understood, and what is refused by name and value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycontain import InvalidOption, Mount, RootFilesystem, Unsupported, bind, tmpfs_mount
from pycontain.runtime import devices, mounts

if TYPE_CHECKING:
    from pathlib import Path

# --- mounts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/src:/dst", Mount("bind", "/src", "/dst", ("rbind", "rw", "rprivate"), True)),
        ("./src:/dst/", Mount("bind", "./src", "/dst", ("rbind", "rw", "rprivate"), True)),
        ("/src:/dst:ro,z,rslave", Mount("bind", "/src", "/dst", ("rbind", "ro", "rslave"), True)),
        ("/src://a/../dst:cached", Mount("bind", "/src", "/dst", ("rbind", "rw", "rprivate"), True)),
        ("/data", Mount("volume", "", "/data")),
        ("data:/d", Mount("volume", "data", "/d")),
        ("da.t-a_1:/d:ro,nocopy,Z", Mount("volume", "da.t-a_1", "/d", ("ro", "nocopy"))),
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
        "data:/b:rslave",
        "/a:/b\0",
    ],
)
def test_bad_volumes_are_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="volumes"):
        mounts.volume(text)


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
        (
            "type=bind,src=/a,dst=/b,ro,bind-recursive=writable",
            Mount("bind", "/a", "/b", ("rbind", "ro", "rprivate", "writable-below")),
        ),
        ("type=bind,src=/a,dst=/b,bind-nonrecursive", Mount("bind", "/a", "/b", ("bind", "rw", "rprivate"))),
        ('type=bind,"source=/a,b",target=/c', Mount("bind", "/a,b", "/c", ("rbind", "rw", "rprivate"))),
        (
            "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=0700",
            Mount("tmpfs", "tmpfs", "/t", ("noexec", "nosuid", "nodev", "size=1048576", "mode=700")),
        ),
        ("target=/v", Mount("volume", "", "/v")),
        ("src=data,dst=/v,ro,volume-nocopy", Mount("volume", "data", "/v", ("ro", "nocopy"))),
        (
            "src=data,dst=/v,volume-label=a=b,volume-label=c,volume-driver=local,volume-subpath=x/y",
            Mount("volume", "data", "/v", ("label=a=b", "label=c=", "subpath=x/y")),
        ),
        (
            '"volume-opt=o=size=1m,mode=700",type=volume,dst=/v,volume-opt=type=tmpfs',
            Mount("volume", "", "/v", ("opt=o=size=1m,mode=700", "opt=type=tmpfs")),
        ),
        ("type=image,source=busybox,target=/i", Mount("image", "busybox", "/i")),
        ("type=image,src=busybox,dst=/i,subpath=etc", Mount("image", "busybox", "/i", ("subpath=etc",))),
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
        "type=volume,src=data,dst=/v,volume-subpath=../x",
        "type=volume,src=data,dst=/v,volume-subpath=/x",
        "type=volume,src=data,dst=/v,subpath=x",
        "type=image,dst=/v",
        "type=tmpfs,target=/b,bind-propagation=rslave",
        "type=tmpfs,target=/b,tmpfs-mode=9",
        "type=tmpfs,target=/b,tmpfs-size=1x",
    ],
)
def test_bad_mounts_are_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="mount"):
        mounts.mount(text)


@pytest.mark.parametrize("text", ["type=npipe,source=x,target=/d", "target=/d,volume-driver=nfs"])
def test_mounts_that_cannot_be_had_say_so(text: str) -> None:
    with pytest.raises(Unsupported) as caught:
        mounts.mount(text)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["a", "-a", "a" * 256, "a b", "ä" * 3])
def test_bad_names_of_volumes_are_refused(name: str) -> None:
    with pytest.raises(InvalidOption, match="no name of a volume") as caught:
        mounts.volume(f"{name}:/d")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ()),
        ({"type": "none", "o": "bind,ro", "device": "/a/"}, ("type=none", "device=/a", "bind", "ro")),
        ({"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, ("type=tmpfs", "size=1m")),
        ({"type": "ext4", "device": "/dev/vdb"}, ("type=ext4", "device=/dev/vdb")),
    ],
)
def test_driver_options(options: dict[str, str], expected: tuple[str, ...]) -> None:
    assert mounts.driver_options(options) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"type": "none"},
        {"device": "/a"},
        {"o": "bind"},
        {"foo": "bar"},
        {"type": "none", "device": "/a"},
        {"type": "tmpfs", "device": "tmpfs", "o": "foo"},
    ],
)
def test_bad_driver_options_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(InvalidOption):
        mounts.driver_options(options)


@pytest.mark.parametrize(
    "options",
    [
        {"type": "nfs", "device": ":/export", "o": "addr=10.0.0.1"},
        {"type": "ext4", "device": "/disk.img", "o": "loop"},
        {"size": "1g"},
    ],
)
def test_driver_options_that_cannot_be_had_say_so(options: dict[str, str]) -> None:
    with pytest.raises(Unsupported) as caught:
        mounts.driver_options(options)
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


def test_a_root_directory_is_read_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mounts.rootfs("tree") == RootFilesystem(lower=[f"{tmp_path}/tree"])
    assert mounts.rootfs("/srv/tree:rw") == RootFilesystem(directory="/srv/tree")


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
    assert devices.throttle("device_read_bps", "/dev/sda:1mb") == ("/dev/sda", 1 << 20)
    assert devices.throttle("device_read_iops", "/dev/sda:1000") == ("/dev/sda", 1000)
    assert devices.weight("/dev/sda:500") == ("/dev/sda", 500)
    for text in ("/dev/sda", "sda:1", "/dev/sda:1x", "/dev/sda:-1", "/dev/sda:1:2"):
        with pytest.raises(InvalidOption, match="device_read_bps"):
            devices.throttle("device_read_bps", text)
    for text in ("/dev/sda", "sda:100", "/dev/sda:5", "/dev/sda:1001", "/dev/sda:1m"):
        with pytest.raises(InvalidOption, match="blkio_weight_device"):
            devices.weight(text)
