"""The options of a container: docker's long flags, with `_` for `-`.

`run`, `start`, `create` and `container` take the same ones.
A *size* is an int of bytes or a string such as `"512m"` (b, k, m, g, t, p; powers of 1024).
A *time* is seconds as float or int, a `timedelta`, or a string such as `"1m30s"`.
A *path* is a str or an `os.PathLike`. A list of strings has docker's syntax in each of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence  # noqa: TC003 - get_type_hints looks them up here
from datetime import timedelta
from typing import TypedDict

from pycontain.types import MemoryFile, Mount  # noqa: TC001 - as above

Size = int | str
Duration = float | str | timedelta
Path = str | os.PathLike[str]


class ContainerOptions(TypedDict, total=False):
    """Every option of a container; all of them may be left out."""

    # --- the command and its surroundings
    entrypoint: str | Sequence[str] | None
    """Instead of the image's; the image's command is dropped then. A str is split as a shell would; `""` or
    `[]`: none.
    """
    env: Mapping[str, str | None] | Iterable[str]
    """`{"K": "V"}` or `["K=V"]`. None, or `"K"` alone: as in the caller's environment, where it is unset:
    removed.
    """
    env_file: Path | Iterable[Path]
    """Files of `K=V` lines; `env` wins over them."""
    workdir: Path
    """Absolute path in the container, which must exist. Default: the image's, made if missing; else `/`."""
    user: str | int
    """`name`, `uid`, `name:group` or `uid:gid`, looked up in the container. Default: the image's, else
    root.
    """
    group_add: Iterable[str | int]
    """Supplementary groups, by number."""
    tty: bool
    """Give the command a terminal."""
    stdin: bool
    """Keep its standard input open."""
    init: bool
    """Run an init as process 1, which forwards signals and reaps orphans."""
    stop_signal: str | int
    """Name or number. Default: the image's, else SIGTERM."""
    stop_timeout: Duration
    """How long a stop waits before it kills. Default: 10 s."""
    remove: bool
    """Remove the container when it ends; always so with `run`."""
    restart: str
    """Start it again when it ends: `no` (default), `on-failure[:N]`, `always`, `unless-stopped`."""
    log_driver: str
    """`json-file` (default) or `none`."""
    log_opt: Mapping[str, str] | Iterable[str]
    """`{"max-size": "10m", "max-file": "3"}`: a file of that size is followed by another, so many stay."""
    health_cmd: str
    """A shell's command that succeeds while all is well; else the image's."""
    health_interval: Duration
    """From one such probe to the next. Default: the image's, else 30 s."""
    health_timeout: Duration
    """The most that one may take. Default: the image's, else 30 s."""
    health_retries: int
    """So many failures in a row make it unhealthy. Default: the image's, else 3."""
    health_start_period: Duration
    """For so long failures do not count. Default: the image's, else 0."""
    health_start_interval: Duration
    """From one probe to the next in that time. Default: 5 s."""
    no_healthcheck: bool
    """No probes, whatever the image says."""
    cidfile: Path
    """A file that is made, and gets the container's id."""

    # --- names and labels
    name: str
    """`[a-zA-Z0-9][a-zA-Z0-9_.-]+`, unique in its engine."""
    hostname: str
    """Default: the first 12 digits of the container's id."""
    domainname: str
    """The NIS domain name."""
    labels: Mapping[str, str] | Iterable[str]
    """`{"k": "v"}` or `["k=v"]`."""
    label_file: Path | Iterable[Path]
    """Files of `k=v` lines; `labels` wins over them."""

    annotations: Mapping[str, str] | Iterable[str]
    """As `labels`, and of the container alone: `inspect` shows them, nothing goes by them."""

    # --- the image
    platform: str
    """`os[/arch[/variant]]`."""
    pull: str
    """`missing` (default), `always` or `never`."""
    rootfs: Path
    """A directory instead of an image: below a writable layer, or with `:rw` after it, itself."""

    # --- files
    mounts: Iterable[Mount | str]
    """`bind(...)`, `volume_mount(...)`, `image_mount(...)`, `tmpfs_mount(...)`, or `type=bind,...`."""
    volumes: Iterable[str] | Mapping[str, str]
    """Docker's short form: `/on/host:/inside:ro`, `name:/inside`, `/inside`; or `{"name": "/inside:ro"}`."""
    volumes_from: Iterable[str]
    """Containers whose binds and volumes it gets as well: `web`, `web:ro`."""
    volume_driver: str
    """`local`: there is no other."""
    tmpfs: Iterable[str] | Mapping[str, str]
    """`/run:size=64m,mode=1777`, or `{"/run": "size=64m"}`."""
    secrets: Iterable[MemoryFile | str] | Mapping[str, Path]
    """`secret(...)`, or `id=NAME,src=FILE` and `id=NAME,env=VAR` with `target=`, `uid=`, `gid=`, `mode=`; or
    `{"name": "file"}`. Files in memory below /run/secrets, read at each start.
    """
    configs: Iterable[MemoryFile | str] | Mapping[str, Path]
    """The same of what need not be secret: `config_file(...)`, `src=FILE,target=PATH`, or `{"/target":
    "file"}`.
    """
    read_only: bool
    """The root file system cannot be written."""
    shm_size: Size
    """Of /dev/shm. Default: 64 MiB."""

    # --- memory
    memory: Size
    """The most it may hold; at least 6 MiB."""
    memory_swap: Size
    """Memory and swap together; -1: as much swap as there is. Default: twice `memory`."""
    memory_reservation: Size
    """What it is pushed back to when the host runs short."""
    memory_swappiness: int
    """0 to 100; -1: the host's."""
    oom_kill_disable: bool
    """Let it wait when its memory is used up, instead of killing it (cgroup v1 only)."""
    oom_score_adj: int
    """-1000 to 1000."""

    # --- processors, processes
    cpus: float | str
    """How many processors' worth of time: `1.5`."""
    cpu_period: int
    """Microseconds, 1000 to 1000000."""
    cpu_quota: int
    """Microseconds in each period; -1: no limit."""
    cpu_shares: int
    """Relative weight; 1024 is the usual."""
    cpuset_cpus: str
    """`0-3,5`."""
    cpuset_mems: str
    """`0-1`."""
    pids_limit: int
    """Processes and threads; 0 or -1: no limit."""
    ulimits: Mapping[str, int | tuple[int, int]] | Iterable[str]
    """`{"nofile": (1024, 2048)}` or `["nofile=1024:2048"]`: soft, hard; -1: no limit."""

    # --- block devices
    blkio_weight: int
    """10 to 1000; 0: none."""
    blkio_weight_device: Iterable[str]
    """`/dev/sda:500`."""
    device_read_bps: Iterable[str]
    """`/dev/sda:1mb`, bytes per second."""
    device_write_bps: Iterable[str]
    """`/dev/sda:1mb`, bytes per second."""
    device_read_iops: Iterable[str]
    """`/dev/sda:1000`, operations per second."""
    device_write_iops: Iterable[str]
    """`/dev/sda:1000`, operations per second."""

    # --- what it may do
    cap_add: Iterable[str]
    """`NET_ADMIN`, `CAP_NET_ADMIN` or `ALL`."""
    cap_drop: Iterable[str]
    """The same names."""
    security_opt: Iterable[str]
    """`no-new-privileges`, `seccomp=unconfined`, `seccomp=FILE`, `systempaths=unconfined`,
    `writable-cgroups=true`.
    """
    privileged: bool
    """All capabilities and devices, nothing masked, the host's user namespace: as root on the host."""
    devices: Iterable[str]
    """`/dev/on/host[:/dev/inside][:rwm]`."""
    device_cgroup_rules: Iterable[str]
    """`c 42:* rmw`."""
    sysctls: Mapping[str, str | int] | Iterable[str]
    """`{"net.core.somaxconn": 1024}` or `["net.core.somaxconn=1024"]`."""

    # --- namespaces
    network: str
    """`bridge` (default; an ordinary user's is `none`), `host`, the name of a network, or `container:NAME`:
    that of another container, with its files for names.
    """
    aliases: Iterable[str]
    """Further names of it in its network, beside its own and its id."""
    ip: str
    """Its IPv4 address; else the next that is free."""
    ip6: str
    """Its IPv6 address."""
    mac_address: str
    """Default: made from its address."""
    ports: Mapping[int | str, object] | Iterable[str | int]
    """Its ports that the host passes on: `{80: 8080, "53/udp": 0, 443: ("127.0.0.1", 8443)}` (0: any that is
    free), or docker's `["8080:80", "127.0.0.1::53/udp"]`.
    """
    publish_all: bool
    """Pass on all its ports that its image or `expose` names, at free ports of the host."""
    expose: Iterable[str | int]
    """Ports that it serves: `80`, `"53/udp"`, `"8000-8009"`."""
    dns: Iterable[str]
    """Addresses of name servers, in place of the host's."""
    dns_search: Iterable[str]
    """Domains in which it looks up short names, in place of the host's; `.`: none."""
    dns_options: Iterable[str]
    """Of resolv.conf(5), in place of the host's: `ndots:2`."""
    add_host: Mapping[str, str] | Iterable[str]
    """Lines of its /etc/hosts: `{"db": "10.0.0.5"}` or `["db:10.0.0.5"]`; `host-gateway` is this machine."""
    links: Mapping[str, str] | Iterable[str]
    """Names by which it alone knows other containers of its network: `{"db-1": "db"}` or `["db-1:db"]`."""
    pid: str
    """`private` (default), `host`, or `container:NAME`."""
    ipc: str
    """`private` (default), `shareable`, `host`, `none` (private, without /dev/shm), or `container:NAME`."""
    uts: str
    """`private` (default) or `host`."""
    userns: str
    """`auto` (default: 65,536 ids of its own) or `host`, which `privileged`, `pid="host"` and
    `network="host"` imply. Who joins a namespace of another container has the user namespace of that.
    """
    cgroupns: str
    """`private` (default) or `host`."""
    cgroup_parent: str
    """The cgroup to be made below."""


class Updates(TypedDict, total=False):
    """Those that can be changed of a container that is there: see `ContainerOptions`."""

    memory: Size
    memory_swap: Size
    memory_reservation: Size
    cpus: float | str
    cpu_period: int
    cpu_quota: int
    cpu_shares: int
    cpuset_cpus: str
    cpuset_mems: str
    pids_limit: int
    blkio_weight: int
    restart: str
