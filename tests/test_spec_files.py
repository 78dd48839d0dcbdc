"""From options to `config.json`: the root, what is mounted, and the files that are made for a container."""

from __future__ import annotations

import json

import pytest
from configurations import DIRECTORY, ID, Image, Machine, annotation, document, mount_at, prepare
from pycontain import InvalidOption, RootFilesystem, bind, tmpfs_mount


def test_the_root_is_an_overlay_topmost_layer_first() -> None:
    prepared = prepare(remove=True)
    config = json.loads(prepared.config)
    assert config["mounts"][0] == {
        "destination": "/",
        "type": "overlay",
        "source": "overlay",
        "options": [
            "lowerdir+=/layers/top",
            "lowerdir+=/layers/base",
            f"upperdir={DIRECTORY}/upper",
            f"workdir={DIRECTORY}/work",
            "volatile",
        ],
    }
    assert config["root"] == {"path": f"{DIRECTORY}/upper", "readonly": False}
    assert prepared.directories == (f"{DIRECTORY}/upper", f"{DIRECTORY}/work")
    assert "volatile" not in document()["mounts"][0]["options"]
    assert document(read_only=True)["root"]["readonly"] is True


def test_the_host_as_an_image_has_one_overlay_per_directory() -> None:
    prepared = prepare(root=RootFilesystem(["/skeleton"], [("/usr", "/usr"), ("/etc", "/etc")]), remove=True)
    config = json.loads(prepared.config)
    assert [mount["destination"] for mount in config["mounts"][:4]] == ["/", "/usr", "/etc", "/proc"]
    assert config["mounts"][1]["options"] == [
        "lowerdir+=/usr",
        f"upperdir={DIRECTORY}/upper/usr",
        f"workdir={DIRECTORY}/work-usr",
        "volatile",
    ]
    assert prepared.directories[2:4] == (f"{DIRECTORY}/upper/usr", f"{DIRECTORY}/work-usr")


def test_a_directory_can_be_the_root_itself() -> None:
    prepared = prepare(root=RootFilesystem(directory="/tree"))
    config = json.loads(prepared.config)
    assert config["mounts"][0]["type"] == "bind"
    assert config["mounts"][0]["source"] == config["root"]["path"] == "/tree"
    assert config["mounts"][0]["options"] == ["rbind", "rw"]
    assert prepared.directories == ()


def test_mounts_come_after_the_defaults_by_depth() -> None:
    config = document(
        mounts=[bind("deep", "/srv/a/b", read_only=True), tmpfs_mount("/srv")],
        volumes={"./v": "/srv/a:ro"},
        tmpfs={"/run": "size=64m"},
    )
    own = [mount["destination"] for mount in config["mounts"][8:]]
    assert own == ["/srv", "/run", "/srv/a", "/srv/a/b"]
    assert mount_at(config, "/srv/a/b")["source"] == "/home/me/deep"
    assert mount_at(config, "/srv/a/b")["options"] == ["rbind", "ro", "rprivate"]
    assert mount_at(config, "/srv/a")["source"] == "/home/me/v"
    for target in ("/proc", "/proc/sys", "/proc/sys/kernel/pid_max"):
        with pytest.raises(InvalidOption, match=f"cannot mount on `{target}` for `tmpfs`"):
            prepare(tmpfs=[target])
    with pytest.raises(InvalidOption, match="duplicate mount point `/srv`"):
        prepare(tmpfs=["/srv"], volumes=["/a:/srv/"])


def test_a_mount_of_ones_own_takes_the_place_of_a_default() -> None:
    config = document(tmpfs=["/dev/shm:size=1m"])
    assert "size=1m" in mount_at(config, "/dev/shm")["options"]
    destinations = [mount["destination"] for mount in document(volumes=["/dev:/dev"])["mounts"]]
    assert [place for place in destinations if place.startswith("/dev")] == ["/dev"]
    files = json.loads(annotation(document(volumes=["/my/hosts:/etc/hosts"]), "files"))
    assert set(files) == {"/etc/hostname", "/etc/resolv.conf"}


def test_a_missing_source_is_an_error_or_a_new_directory() -> None:
    assert prepare(volumes=["/missing/dir:/a", "/there:/b"]).missing_sources == ("/missing/dir",)
    for mount in ("type=bind,source=/missing,target=/a", bind("/missing", "/a")):
        with pytest.raises(InvalidOption, match="cannot mount `/missing` on `/a`"):
            prepare(mounts=[mount])


def test_volumes_are_directories_of_the_store() -> None:
    prepared = prepare(image=Image(), volumes=["cache:/cache:ro,nocopy"])
    config = json.loads(prepared.config)
    named, own = prepared.volumes
    assert (named.name, named.anonymous, own.anonymous) == ("cache", False, True)
    assert own.labels == {"com.docker.volume.anonymous": ""}
    place = mount_at(config, "/cache")
    assert (place["source"], place["options"]) == ("/var/lib/pycontain/volumes/cache/_data", ["ro", "nocopy"])
    assert mount_at(config, "/data")["source"] == f"/var/lib/pycontain/volumes/{own.name}/_data"
    assert len(own.name) == 64
    assert prepare(image=Image(), tmpfs=["/data"]).volumes == ()


def test_dev_shm() -> None:
    assert "size=67108864" in mount_at(document(), "/dev/shm")["options"]
    assert "size=1048576" in mount_at(document(shm_size="1m"), "/dev/shm")["options"]
    assert mount_at(document(ipc="host"), "/dev/shm")["type"] == "bind"
    assert "/dev/shm" not in [mount["destination"] for mount in document(ipc="none")["mounts"]]


def test_names_and_hosts_file_without_a_network() -> None:
    config = document()
    files = json.loads(annotation(config, "files"))
    assert config["hostname"] == ID[:12]
    assert files["/etc/hostname"] == f"{ID[:12]}\n"
    assert files["/etc/hosts"].splitlines()[0] == "127.0.0.1\tlocalhost"
    assert files["/etc/hosts"].splitlines()[1] == "::1\tlocalhost ip6-localhost ip6-loopback"
    assert files["/etc/hosts"].splitlines()[-1] == f"127.0.0.1\t{ID[:12]}"
    config = document(hostname="web", domainname="lan")
    assert (config["hostname"], config["domainname"]) == ("web", "lan")
    assert json.loads(annotation(config, "files"))["/etc/hosts"].endswith("127.0.0.1\tweb.lan web\n")
    files = json.loads(annotation(document(hostname="web.lan"), "files"))
    assert files["/etc/hosts"].endswith("127.0.0.1\tweb.lan web\n")


def test_with_the_hosts_network_come_its_names() -> None:
    host = Machine({"/etc/hosts": "10.0.0.1 peer\n", "/etc/resolv.conf": "nameserver 10.0.0.2\n"})
    config = document(host=host, network="host")
    files = json.loads(annotation(config, "files"))
    assert files["/etc/hosts"] == "10.0.0.1 peer\n"
    assert files["/etc/resolv.conf"] == "nameserver 10.0.0.2\n"
    assert config["hostname"] == "machine"
    assert "sysctl" not in config["linux"]
    config = document(host=host, uts="host")
    assert "hostname" not in config
    assert "HOSTNAME=machine" in config["process"]["env"]
    with pytest.raises(InvalidOption, match="uts=host"):
        prepare(uts="host", hostname="web")
