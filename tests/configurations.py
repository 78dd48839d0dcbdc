"""Makes `config.json` for tests, on a machine that is known beforehand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pycontain import RootFilesystem, bind
from pycontain.runtime import spec
from pycontain.runtime.command import NoImage
from pycontain.runtime.host import Device, Host

if TYPE_CHECKING:
    from collections.abc import Mapping

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
