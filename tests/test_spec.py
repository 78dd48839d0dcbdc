"""From options to `config.json`: docker's meaning of each option, in OCI's words."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import jsonschema
import pytest
import referencing
import referencing.jsonschema
from hypothesis import given
from hypothesis import strategies as st
from pycontain import ContainerOptions, InvalidOption, RootFilesystem, bind, tmpfs_mount
from pycontain.errors import Unsupported
from pycontain.runtime import confinement, spec
from pycontain.runtime.command import DEFAULT_PATH, NoImage
from pycontain.runtime.host import Device, Host

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMAS = Path(__file__).parent / "data" / "runtime-spec"
ID = "0123456789abcdef" * 4
DIRECTORY = "/var/lib/pycontain/containers/" + ID
LAYERS = RootFilesystem(["/layers/top", "/layers/base"])


class Machine(Host):
    """A machine that is known beforehand."""

    environ: Mapping[str, str] = {"FROM_CALLER": "yes"}
    directory = "/home/me"
    hostname = "machine"
    processors = 4

    def __init__(self, files: Mapping[str, str] | None = None) -> None:
        self.files = files or {}

    def exists(self, path: str) -> bool:
        return not path.startswith("/missing")

    def read(self, option: str, path: str) -> str:
        return self.files[path]

    def read_if_there(self, path: str) -> str:
        return self.files.get(path, "")

    def devices(self, option: str, path: str) -> list[Device]:
        return [Device(path, "b" if "sd" in path else "c", 8, 16, 0o660, 0, 6)]


class Image(NoImage):
    env = ("PATH=/image/bin", "LANG=C", "EMPTY=")
    cmd = ("serve", "--all")
    entrypoint = ("/entry",)
    workdir = "/srv"
    user = "web"
    volumes = ("/data",)
    stop_signal = "SIGQUIT"


def prepare(
    args: Any = ("true",), image: Any = None, root: Any = LAYERS, host: Any = None, **options: Any
) -> Any:
    return spec.config(
        args, options, image or NoImage(), root, id=ID, directory=DIRECTORY, host=host or Machine()
    )


def document(args: Any = ("true",), **rest: Any) -> Any:
    return json.loads(prepare(args, **rest).config)


def mount_at(config: Any, destination: str) -> Any:
    (found,) = [mount for mount in config["mounts"] if mount["destination"] == destination]
    return found


def annotation(config: Any, name: str) -> Any:
    return config["annotations"].get(f"io.pycontain.{name}")


@cache
def validator() -> jsonschema.Draft4Validator:
    def load(uri: str) -> referencing.Resource[Any]:
        name = uri.rsplit("/", 1)[-1]
        contents = json.loads((SCHEMAS / name).read_text())
        return referencing.Resource.from_contents(
            contents, default_specification=referencing.jsonschema.DRAFT4
        )

    registry: Any = referencing.Registry(retrieve=load)  # type: ignore[call-arg]
    schema = json.loads((SCHEMAS / "config-schema.json").read_text())
    schema.pop("id", None)
    return jsonschema.Draft4Validator(schema, registry=registry)


EVERYTHING: dict[str, Any] = {
    "env": {"A": "1"},
    "workdir": "/w",
    "user": "1000:1000",
    "hostname": "web",
    "domainname": "lan",
    "name": "web-1",
    "entrypoint": "/bin/sh -c",
    "mounts": [bind("/src", "/dst"), "type=tmpfs,target=/t"],
    "volumes": ["/a:/b:ro"],
    "tmpfs": ["/run:size=64m"],
    "read_only": True,
    "network": "none",
    "memory": "512m",
    "memory_swap": "1g",
    "memory_reservation": "256m",
    "memory_swappiness": 10,
    "cpus": 1.5,
    "cpu_shares": 512,
    "cpuset_cpus": "0-1",
    "cpuset_mems": "0",
    "pids_limit": 100,
    "blkio_weight": 500,
    "blkio_weight_device": ["/dev/sda:100"],
    "device_read_bps": ["/dev/sda:1mb"],
    "device_write_bps": ["/dev/sda:1mb"],
    "device_read_iops": ["/dev/sda:10"],
    "device_write_iops": ["/dev/sda:10"],
    "ulimits": ["nofile=1024:-1"],
    "cap_add": ["NET_ADMIN"],
    "cap_drop": ["CHOWN"],
    "security_opt": ["no-new-privileges"],
    "devices": ["/dev/fuse"],
    "device_cgroup_rules": ["c 42:* rmw"],
    "init": True,
    "pid": "private",
    "ipc": "shareable",
    "uts": "private",
    "userns": "auto",
    "cgroupns": "private",
    "cgroup_parent": "/batch",
    "shm_size": "128m",
    "sysctls": {"net.core.somaxconn": 1024},
    "stop_signal": "SIGINT",
    "stop_timeout": 5,
    "labels": ["a=b"],
    "platform": "linux/amd64",
    "pull": "never",
    "oom_kill_disable": False,
    "oom_score_adj": 100,
    "group_add": [10],
    "tty": True,
    "stdin": True,
    "remove": True,
}


@pytest.mark.parametrize(
    "options",
    [
        {},
        EVERYTHING,
        {"privileged": True, "devices": ["/dev/fuse"]},
        {"network": "host", "pid": "host", "ipc": "host", "uts": "host"},
        {"userns": "host", "cgroupns": "host", "ipc": "none"},
    ],
)
def test_the_document_is_a_valid_oci_configuration(options: dict[str, Any]) -> None:
    for image in (NoImage(), Image()):
        for root in (
            LAYERS,
            RootFilesystem(["/skeleton"], [("/usr", "/usr")]),
            RootFilesystem(directory="/tree"),
        ):
            validator().validate(document(image=image, root=root, **options))


def test_the_schema_refuses_what_is_wrong() -> None:
    config = document()
    config["linux"]["namespaces"].append({"type": "nonsense"})
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(config)


def test_the_options_declared_are_the_options_taken() -> None:
    assert set(get_type_hints(ContainerOptions)) == spec.OPTIONS
    with pytest.raises(InvalidOption, match="unknown option `memori`") as caught:
        prepare(memori="1g")
    assert caught.value.hint == "did you mean `memory`?"


def test_an_option_that_is_none_was_not_given() -> None:
    assert prepare(**dict.fromkeys(spec.OPTIONS)) == prepare()


def test_flags_are_true_or_false() -> None:
    with pytest.raises(InvalidOption, match="privileged"):
        prepare(privileged="false")


# --- the command


@pytest.mark.parametrize(
    ("args", "options", "expected"),
    [
        ((), {}, ["/entry", "serve", "--all"]),
        (["ls"], {}, ["/entry", "ls"]),
        ("ls 'a b'", {}, ["/entry", "ls", "a b"]),
        (["ls"], {"entrypoint": ""}, ["ls"]),
        (["ls"], {"entrypoint": []}, ["ls"]),
        ((), {"entrypoint": "/other -x"}, ["/other", "-x"]),
        (["y"], {"entrypoint": ["/other one"]}, ["/other one", "y"]),
    ],
)
def test_entrypoint_and_command(args: Any, options: dict[str, Any], expected: list[str]) -> None:
    prepared = prepare(args, image=Image(), **options)
    assert list(prepared.args) == expected
    assert json.loads(prepared.config)["process"]["args"] == expected


@pytest.mark.parametrize(
    ("args", "options"), [((), {}), ((), {"entrypoint": ""}), ("'", {}), ([""], {}), (["a\0"], {})]
)
def test_without_a_command_nothing_starts(args: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        prepare(args, **options)
    if options:
        with pytest.raises(InvalidOption, match="no command"):
            prepare(args, image=Image(), **options)


def test_variables_come_in_dockers_order() -> None:
    host = Machine({"vars": "LANG=de\nFILE=1\nNOT_SET\n"})
    env = document(
        image=Image(), host=host, tty=True, env_file="vars", env=["FILE=2", "FROM_CALLER", "EMPTY"]
    )["process"]["env"]
    assert env == [
        "PATH=/image/bin",
        f"HOSTNAME={ID[:12]}",
        "TERM=xterm",
        "LANG=de",
        "FILE=2",
        "FROM_CALLER=yes",
    ]
    assert document()["process"]["env"] == [f"PATH={DEFAULT_PATH}", f"HOSTNAME={ID[:12]}"]


@given(
    st.dictionaries(
        st.text("ABC_1", min_size=1), st.text(st.characters(codec="utf-8", exclude_characters="\0"))
    )
)
def test_any_text_survives_in_the_environment(env: dict[str, str]) -> None:
    found = document(env=env)["process"]["env"]
    assert [f"{name}={text}" for name, text in env.items()] == found[2:]


def test_what_is_not_utf8_is_refused_by_name() -> None:
    with pytest.raises(InvalidOption, match=r"UTF-8.*BAD"):
        prepare(env={"BAD": "\udcff"})


def test_user_and_directory() -> None:
    config = document(image=Image())
    assert config["process"]["cwd"] == "/srv"
    assert annotation(config, "user") == "web"
    config = document(image=Image(), user="1000:100", workdir="/a/../b/", group_add=["10", 20])
    assert config["process"]["user"] == {"uid": 1000, "gid": 100, "additionalGids": [10, 20]}
    assert annotation(config, "user") == "1000:100"
    assert config["process"]["cwd"] == "/b"
    assert annotation(document(image=Image(), user=0), "user") == "0"
    assert annotation(document(), "user") is None
    with pytest.raises(InvalidOption, match="workdir"):
        prepare(workdir="b")
    with pytest.raises(Unsupported, match="wheel"):
        prepare(group_add=["wheel"])


def test_how_it_is_stopped() -> None:
    assert prepare().stop_signal == 15
    assert prepare().stop_timeout == 10.0
    assert prepare(image=Image()).stop_signal == 3
    assert prepare(image=Image(), stop_signal="INT", stop_timeout="1m").stop_signal == 2
    assert prepare(stop_timeout="1m").stop_timeout == 60.0
    assert prepare(stop_timeout=-1).stop_timeout == float("inf")


# --- files


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


def test_anonymous_volumes_are_directories_of_the_container() -> None:
    prepared = prepare(image=Image(), volumes=["/cache"])
    volumes = json.loads(annotation(json.loads(prepared.config), "volumes"))
    assert volumes == {"/cache": f"{DIRECTORY}/volumes/0", "/data": f"{DIRECTORY}/volumes/1"}
    assert prepared.directories[2:] == (f"{DIRECTORY}/volumes", *volumes.values())
    assert annotation(document(image=Image(), tmpfs=["/data"]), "volumes") is None


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


# --- what it may do


def test_default_confinement() -> None:
    config = document()
    capabilities = config["process"]["capabilities"]
    assert set(capabilities) == {"bounding", "effective", "permitted"}
    assert capabilities["bounding"] == list(confinement.DEFAULT_CAPABILITIES)
    assert annotation(config, "seccomp") == "default"
    assert annotation(config, "privileged") is None
    assert "/proc/kcore" in config["linux"]["maskedPaths"]
    assert "/proc/sys" in config["linux"]["readonlyPaths"]
    assert config["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert "ro" in mount_at(config, "/sys")["options"]
    assert "ro" in mount_at(config, "/sys/fs/cgroup")["options"]
    assert {"type": "user"} in config["linux"]["namespaces"]
    assert {"type": "time"} in config["linux"]["namespaces"]


def test_another_user_than_root_has_no_capabilities_in_effect() -> None:
    assert set(document(user="1000")["process"]["capabilities"]) == {"bounding"}
    assert set(document(user="1000", cap_add=["ALL"])["process"]["capabilities"]) == {"bounding"}


def test_privileged() -> None:
    config = document(privileged=True)
    assert config["process"]["capabilities"]["effective"] == list(confinement.CAPABILITIES)
    assert annotation(config, "privileged") == "true"
    assert annotation(config, "seccomp") is None
    assert "maskedPaths" not in config["linux"]
    assert config["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "ro" not in mount_at(config, "/sys")["options"]
    assert {"type": "user"} not in config["linux"]["namespaces"]


def test_security_options_take_effect() -> None:
    host = Machine({"/p.json": '{"defaultAction":"SCMP_ACT_ALLOW"}', "/bad.json": "{"})
    config = document(security_opt=["no-new-privileges", "systempaths=unconfined"])
    assert config["process"]["noNewPrivileges"] is True
    assert "maskedPaths" not in config["linux"]
    assert annotation(document(security_opt=["seccomp=unconfined"]), "seccomp") is None
    assert (
        annotation(document(host=host, security_opt=["seccomp=/p.json"]), "seccomp") == host.files["/p.json"]
    )
    assert "ro" not in mount_at(document(security_opt=["writable-cgroups=true"]), "/sys/fs/cgroup")["options"]
    with pytest.raises(InvalidOption, match="not JSON"):
        prepare(host=host, security_opt=["seccomp=/bad.json"])


def test_devices_are_made_and_allowed() -> None:
    config = document(devices=["/dev/fuse:/dev/f:rw"], device_cgroup_rules=["c 42:* r"])
    number = {"type": "c", "major": 8, "minor": 16, "fileMode": 0o660, "uid": 0, "gid": 6}
    assert config["linux"]["devices"] == [{"path": "/dev/f", "hostPath": "/dev/fuse", **number}]
    assert config["linux"]["resources"]["devices"][-2:] == [
        {"allow": True, "type": "c", "major": 8, "minor": 16, "access": "rw"},
        {"allow": True, "type": "c", "major": 42, "access": "r"},
    ]


def test_the_rest_of_the_options() -> None:
    prepared = prepare(**EVERYTHING)
    config = json.loads(prepared.config)
    resources = config["linux"]["resources"]
    assert resources["memory"]["limit"] == 512 << 20
    assert resources["blockIO"]["throttleReadBpsDevice"] == [{"major": 8, "minor": 16, "rate": 1 << 20}]
    assert resources["blockIO"]["weightDevice"] == [{"major": 8, "minor": 16, "weight": 100}]
    assert config["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": (1 << 64) - 1}]
    assert config["process"]["oomScoreAdj"] == 100
    assert config["linux"]["sysctl"]["net.core.somaxconn"] == "1024"
    assert config["linux"]["cgroupsPath"] == "/batch"
    assert annotation(config, "init") == "true"
    assert (prepared.name, prepared.labels, prepared.terminal) == ("web-1", {"a": "b"}, True)


def test_one_container_does_not_leak_into_the_next() -> None:
    before = prepare().config
    prepare(**EVERYTHING)
    prepare(privileged=True)
    assert prepare().config == before


def test_importing_it_imports_next_to_nothing() -> None:
    program = (
        "import sys; old = set(sys.modules); import pycontain.runtime.spec; print(*set(sys.modules) - old)"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    heavy = {
        "typing",
        "re",
        "json",
        "pathlib",
        "dataclasses",
        "enum",
        "msgspec",
        "shlex",
        "csv",
        "pycontain.engine",
    }
    assert not heavy & set(output.split())
