"""The rivals: how each starts `true` in the same root file system with the same limits, and what it needs.

Whatever a rival keeps is below one scratch directory. Those that need it run in a private mount namespace, in
which /sys/fs/cgroup has the v1 hierarchies only: crun refuses the hybrid layout, and podman makes plain
directories there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import SampleError
from subject import SPAWN, WARM, Subject
from workload import COMMAND, IMAGE, MEMORY, MEMORY_BYTES, PIDS

if TYPE_CHECKING:
    from collections.abc import Callable

CGROUP_PARENT = "pycontain-bench"
CGROUPS = "/sys/fs/cgroup"
PODMAN_IMAGE = f"localhost/{IMAGE}"
LIMITS = f"--memory {MEMORY} --pids-limit {PIDS}".split()
DOCKER_RUN = ["run", "--network", "none", *LIMITS]
PODMAN_RUN = [*DOCKER_RUN, f"--cgroup-parent=/{CGROUP_PARENT}"]
PODMAN_RUN_BRIDGED = ["run", "--publish", "80", *LIMITS, f"--cgroup-parent=/{CGROUP_PARENT}"]

# Arguments: a scratch directory, the command. A machine of pure v2 has nothing to hide.
VIEW = """
set -e
hierarchies=$(awk '$3 == "cgroup" { print $2 }' /proc/mounts)
if [ -n "$hierarchies" ]; then
    mkdir -p "$1"
    mount -t tmpfs -o mode=755 cgroups "$1"
    for hierarchy in $hierarchies; do
        mkdir -p "$1/${hierarchy#/sys/fs/cgroup/}"
        mount --bind "$hierarchy" "$1/${hierarchy#/sys/fs/cgroup/}"
    done
    mount --rbind "$1" /sys/fs/cgroup
fi
mount -t tmpfs -o mode=1777 shm /dev/shm
shift
exec "$@"
"""


class Unavailable(Exception):
    """A rival cannot take part; the text says why."""


@dataclass(frozen=True)
class Place:
    """Where the rivals find what they run, and keep what they make.

    Attributes:
        scratch: removed in the end.
        root_file_system: the directory that they start `true` in.
        archive: a tar of it.
        build: kept for the next time.
    """

    scratch: str
    root_file_system: str
    archive: str
    build: str

    def view(self, command: list[str], *, network: bool = False) -> list[str]:
        """The command in a mount namespace of its own; with `network`, in such a network namespace too."""
        namespaces = ["--net"] if network else []
        isolated = ["unshare", "--mount", "--propagation", "private", *namespaces]
        return [*isolated, "sh", "-c", VIEW, "view", f"{self.scratch}/cgroups", *command]


def floor(place: Place) -> Subject:
    """The least C program that does what the kernel has to; see its head."""
    need("gcc")
    source, program = f"{os.path.dirname(os.path.abspath(__file__))}/floor.c", f"{place.build}/floor"
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        os.makedirs(place.build, exist_ok=True)
        run(["gcc", "-O2", "-Wall", "-Wextra", "-o", program, source])
    uppers = f"{place.scratch}/floor"
    os.makedirs(uppers, exist_ok=True)
    return Subject([program, place.root_file_system, uppers, "/bin/true"])


def oci_runtime(place: Place, program: str) -> Subject:
    """`crun run`, `runc run`: a bundle without an overlay, a seccomp profile or a user namespace."""
    path, runtime = bundle(place, program, COMMAND)
    return Subject(place.view([*SPAWN, *runtime, "run", "--bundle", path, f"{program}-{{}}"]))


def bundle(place: Place, program: str, command: list[str]) -> tuple[str, list[str]]:
    """A new bundle for the command, and how the runtime is called that keeps its state there."""
    need(program)
    bundle = tempfile.mkdtemp(prefix=f"{program}-", dir=place.scratch)
    run([program, "spec"], cwd=bundle)
    with open(f"{bundle}/config.json") as file:
        config = json.load(file)
    config["root"] = {"path": place.root_file_system, "readonly": True}
    config["process"] |= {"terminal": False, "args": command}
    config["process"].pop("rlimits", None)
    limits = {"memory": {"limit": MEMORY_BYTES}, "pids": {"limit": PIDS}}
    config["linux"].setdefault("resources", {}).update(limits)
    # Each bundle has its own, for the end of a container kills what is in its cgroup. Without a path it would
    # be nested in the bench's.
    config["linux"]["cgroupsPath"] = f"/{CGROUP_PARENT}/{os.path.basename(bundle)}"
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(config, file)
    return bundle, [program, "--root", f"{bundle}/state"]


def bubblewrap(place: Place) -> Subject:
    """`bwrap --unshare-all`: no overlay, no cgroup, no seccomp profile."""
    need("bwrap")
    sandbox = f"bwrap --unshare-all --bind {place.root_file_system} / --proc /proc --dev /dev".split()
    return Subject([*SPAWN, *sandbox, *COMMAND])


def podman(place: Place, runtime: str, *, bridge: bool = False) -> Subject:
    """`podman run --rm` as root, its storage in the scratch directory."""
    client, environment = podman_client(place, runtime)
    run = PODMAN_RUN_BRIDGED if bridge else PODMAN_RUN
    return Subject(place.view([*SPAWN, *client, *run, "--rm", PODMAN_IMAGE, *COMMAND]), environment)


def podman_client(place: Place, runtime: str) -> tuple[list[str], dict[str, str]]:
    """How podman is called, in which environment; it has the image then."""
    need("podman")
    need(runtime)
    base = f"{place.scratch}/podman"
    os.makedirs(base, exist_ok=True)
    # its own defaults, a million of each, fail where the hard limits may not be raised
    ulimits = []
    for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        hard = resource.getrlimit(number)[1]
        limit = 16384 if hard < 0 else min(hard, 16384)
        ulimits.append(f"{name}={limit}:{limit}")
    with open(f"{base}/containers.conf", "w") as file:
        file.write(f"[containers]\ndefault_ulimits = {json.dumps(ulimits)}\n")
    with open(f"{base}/storage.conf", "w") as file:
        file.write(f'[storage]\ndriver = "overlay"\ngraphroot = "{base}/storage"\nrunroot = "{base}/run"\n')
    environment = {
        **os.environ,
        "CONTAINERS_CONF": f"{base}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{base}/storage.conf",
    }
    client = ["podman", "--tmpdir", f"{base}/tmp", "--cgroup-manager", "cgroupfs"]
    client += ["--events-backend", "file", "--runtime", runtime]
    if not os.path.exists(f"{base}/storage"):
        run(place.view([*client, "import", place.archive, PODMAN_IMAGE]), env=environment)
    return client, environment


class Dockerd:
    """A local dockerd in mount and network namespaces of its own, its data in the scratch directory.

    Args:
        place: what it runs, and where it keeps what.
        bridge: it has its default bridge.
    """

    def __init__(self, place: Place, *, bridge: bool = False) -> None:
        for program in ("dockerd", "docker", "setpriv"):
            need(program)
        self._base = f"{place.scratch}/docker"
        self.socket = f"{self._base}/docker.sock"
        self._log_path = f"{self._base}/log"
        os.makedirs(self._base)
        # else it would outlive a bench that is killed
        command = [
            "setpriv",
            "--pdeathsig",
            "TERM",
            "dockerd",
            "--host",
            f"unix://{self.socket}",
            "--data-root",
            f"{self._base}/data",
        ]
        command += ["--exec-root", f"{self._base}/exec", "--pidfile", f"{self._base}/pid"]
        command += ["--cgroup-parent", f"/{CGROUP_PARENT}", *([] if bridge else ["--bridge=none"])]
        with open(self._log_path, "wb") as log:
            self._process = subprocess.Popen(
                place.view(command, network=True), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait()
            run([*self.command, "import", place.archive, IMAGE])
        except BaseException:
            self.close()
            raise

    def python(self, act: str = "run", *options: str) -> Subject:
        """A warm docker-py that does an act of warm.py's."""
        if importlib.util.find_spec("docker") is None:
            raise Unavailable("the Python package `docker` is not installed")
        return Subject([*WARM, "docker", self.socket, "--act", act, *options])

    def client(self) -> Subject:
        """`docker run --rm --network none`."""
        return Subject([*SPAWN, *self.command, *DOCKER_RUN, "--rm", IMAGE, *COMMAND])

    def close(self) -> None:
        """Stop it, and with it its containerd."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def command(self) -> list[str]:
        """How docker is called."""
        return ["docker", "--host", f"unix://{self.socket}"]

    def _wait(self) -> None:
        for _ in range(300):
            answer = subprocess.run([*self.command, "version"], check=False, capture_output=True)
            if answer.returncode == 0:
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        with open(self._log_path) as log:
            said = log.read().strip().splitlines() or ["nothing"]
        raise Unavailable(f"dockerd did not come up and said last: {said[-1]}")


def attempt(start: Callable[[], Subject]) -> Subject:
    """The subject, after a first life cycle, which shows whether it works.

    Raises:
        Unavailable: it does not.
    """
    subject = start()
    try:
        subject.once()
    except SampleError as error:
        subject.close()
        raise Unavailable(f"{error}; see above") from error
    return subject


def version(program: str) -> str | None:
    """The first line of `program --version`, without its name."""
    if shutil.which(program) is None:
        return None
    said = subprocess.run([program, "--version"], check=False, capture_output=True, text=True).stdout
    words = said.strip().partition("\n")[0].replace("version", "").split()
    return " ".join(words[1:3]).split(",")[0] if words else None


def remove_leftovers() -> None:
    """Remove the cgroups that rivals leave below their parent."""
    pure_v2 = os.path.exists(f"{CGROUPS}/cgroup.controllers")
    hierarchies = [CGROUPS] if pure_v2 else [entry.path for entry in os.scandir(CGROUPS) if entry.is_dir()]
    for hierarchy in hierarchies:
        for directory, _, _ in os.walk(f"{hierarchy}/{CGROUP_PARENT}", topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)


def need(program: str) -> None:
    """Raises Unavailable without it."""
    if os.geteuid() != 0 and program != "bwrap":
        raise Unavailable("needs root")
    if shutil.which(program) is None:
        raise Unavailable(f"`{program}` is not installed")


def run(command: list[str], *, cwd: str | None = None, env: dict[str, str] | None = None) -> str:
    """What it says, without the line feed at the end.

    Raises:
        Unavailable: it failed.
    """
    done = subprocess.run(command, check=False, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise Unavailable(f"`{' '.join(command[-4:])}` ended with {done.returncode} and said: {said[-1]}")
    return done.stdout.rstrip()
