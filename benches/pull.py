"""Pulls from a registry on this machine: ours beside docker, podman, skopeo, and curl with tar.

usage: pull.py [--quick] [--archives DIRECTORY] [--results DIRECTORY] [--without NAME ...]

Two images: a Python application of five layers, and Debian, one layer. Every pull begins with an empty store
on a fresh ext4 of its own (see unpack.py for why); the registry's blobs are in the page cache. Registry and
rivals run in mount and network namespaces of the bench's own. Needs root.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import setting
from harness import Contestant, Report, SampleError, say
from local_registry import Layer, Registry, application, blobs, layer
from unpack import Archives, FreshFileSystem

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

RIVALS = ("docker", "podman", "skopeo", "curl")

NOTES = [
    "Each pull goes into an empty store on a fresh ext4 on a sparse file; the registry is on loopback.",
    "pycontain, docker, podman and skopeo are timed as whole programs; dockerd runs before.",
    "pycontain checks every digest and keeps the compressed layers too. It leaves a process behind that"
    " writes all of it to disk; docker, podman and skopeo leave that to the kernel.",
    "skopeo copies into an OCI layout and unpacks nothing. curl and tar take one layer after the other and"
    " check no digest; `synced` has a `sync -f` at the end.",
]


class Pulls:
    """Ways to pull one image into a directory."""

    def __init__(self, name: str, layers: list[Layer], repository: str) -> None:
        self.name = name
        self._urls = blobs(layers, repository)
        self._options = {"gzip": "-xz", "zstd": "-x --zstd"}[layers[0].compression]

    def ours(self, directory: str) -> None:
        """`pycontain pull`."""
        program = f"{os.path.dirname(sys.executable)}/pycontain"
        _run([program, "pull", "--quiet", self.name], {"PYCONTAIN_ROOT": f"{directory}/root"})

    def warm(self, directory: str) -> None:
        """The same by a Python process that has everything imported."""
        from pycontain import Engine

        with Engine(f"{directory}/root") as engine:
            engine.images.pull(self.name)

    def podman(self, directory: str) -> None:
        """`podman pull`, into overlay storage."""
        with open(f"{directory}/storage.conf", "w") as file:
            file.write(
                f'[storage]\ndriver = "overlay"\ngraphroot = "{directory}/s"\nrunroot = "{directory}/r"\n'
            )
        limits = {resource.RLIMIT_NOFILE: "nofile", resource.RLIMIT_NPROC: "nproc"}
        ulimits = [f"{name}={min(16384, abs(resource.getrlimit(of)[1]))}" for of, name in limits.items()]
        with open(f"{directory}/containers.conf", "w") as file:
            file.write(f"[containers]\ndefault_ulimits = {json.dumps(ulimits)}\n")
        environment = {
            "CONTAINERS_CONF": f"{directory}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{directory}/storage.conf",
        }
        # it keeps its storage mounted: in a mount namespace that goes with it
        isolated = ["unshare", "--mount", "--propagation", "private"]
        command = [*isolated, "podman", "--tmpdir", f"{directory}/t", "--cgroup-manager", "cgroupfs"]
        _run([*command, "pull", "--quiet", "--tls-verify=false", self.name], environment)

    def skopeo(self, directory: str) -> None:
        """`skopeo copy` into an OCI layout."""
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]
        _run([*command, f"docker://{self.name}", f"oci:{directory}/layout:1"])

    def curl(self, directory: str, *, synced: bool) -> None:
        """`curl | tar`, one layer after the other."""
        for number, url in enumerate(self._urls):
            target = f"{directory}/{number}"
            os.mkdir(target)
            _run(["sh", "-c", f'curl -sf "$1" | tar {self._options} -C "$2"', "sh", url, target])
        if synced:
            _run(["sync", "-f", directory])


class Docker:
    """dockerd with its data on the fresh file system."""

    def __init__(self, scratch: str) -> None:
        self._base = scratch
        self._client = ["docker", "--host", f"unix://{scratch}/docker.sock"]

    def sample(self, fresh: FreshFileSystem, name: str) -> float:
        """Seconds of `docker pull`; the daemon's start and end are not counted."""
        with fresh as directory:
            command = ["setpriv", "--pdeathsig", "TERM", "dockerd", *self._client[1:]]
            command += ["--data-root", f"{directory}/data", "--exec-root", f"{self._base}/docker"]
            command += ["--pidfile", f"{self._base}/docker.pid", "--bridge=none", "--iptables=false"]
            with open(f"{self._base}/dockerd.log", "ab") as log:
                daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                self._wait(daemon)
                began = time.perf_counter()
                _run([*self._client, "pull", "--quiet", name])
                return time.perf_counter() - began
            finally:
                daemon.terminate()
                daemon.wait()

    def _wait(self, daemon: subprocess.Popen[bytes]) -> None:
        for _ in range(300):
            if subprocess.run([*self._client, "version"], check=False, capture_output=True).returncode == 0:
                return
            if daemon.poll() is not None:
                break
            time.sleep(0.1)
        with open(f"{self._base}/dockerd.log") as log:
            raise SampleError(f"dockerd did not come up: {log.read().strip().splitlines()[-1:]}")


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    merged = {**os.environ, **(environment or {})}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=merged)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise SampleError(f"`{' '.join(command[:3])} …` ended with {done.returncode} and said: {said[-1]}")


def timed(pull: Callable[[str], None], fresh: FreshFileSystem, before: Callable[[str], None] | None) -> float:
    """Seconds of one pull; `before` comes first, and is not counted."""
    with fresh as directory:
        if before is not None:
            before(directory)
            _run(["sync", "-f", directory])
        began = time.perf_counter()
        pull(directory)
        return time.perf_counter() - began


def peak_megabytes(pull: Callable[[str], None], fresh: FreshFileSystem) -> float:
    """What the pulling program and all its children, the launcher among them, hold at most at one time."""
    import threading

    ended = threading.Event()
    most = 0

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.01):
            most = max(most, sum(_resident(pid) for pid in _descendants(os.getpid())))

    watcher = threading.Thread(target=watch)
    with fresh as directory:
        watcher.start()
        try:
            pull(directory)
        finally:
            ended.set()
            watcher.join()
    return most / 1024


def _descendants(pid: int) -> list[int]:
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                children = [int(child) for child in file.read().split()]
        except OSError:
            continue
        for child in children:
            found += [child]
            try:
                found += _descendants(child)
            except OSError:
                continue
    return found


def _resident(pid: int) -> int:
    """Kilobytes; memory that processes share is counted once for each."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("VmRSS")), 0)
    except OSError:
        return 0


def measure(report: Report, given: argparse.Namespace, scratch: str) -> None:
    """All tables."""
    rounds = 3 if given.quick else 12
    fresh = FreshFileSystem(scratch)
    archives = Archives(os.path.abspath(given.archives))
    archives.make()
    registry = Registry(scratch)
    try:
        debian = [layer(archives.tar, "gzip")]
        tars = application(archives.directory, archives.tar)
        app = [layer(tar, "gzip") for tar in tars]
        formats = {"gzip": app}
        if shutil.which("zstd"):
            formats["zstd"] = [layer(tar, "zstd") for tar in tars]
        for title, repository, layers in (("Python application", "app", app), ("Debian", "debian", debian)):
            pulls = Pulls(registry.put(repository, "1", layers), layers, repository)
            report.measure(
                f"{title}, {len(layers)} layers, {_megabytes(layers)}",
                contestants(report, pulls, fresh, scratch, given.without),
                rounds=rounds,
                warm_up=1,
                pause=0.1,
                unit="s",
            )
        by_format = {
            name: Pulls(registry.put(f"app-{name}", "1", layers), layers, f"app-{name}")
            for name, layers in formats.items()
        }
        own(report, by_format, registry, app, fresh, rounds)
        pushes(report, by_format["gzip"], registry, scratch, rounds)
    finally:
        registry.close()


def contestants(
    report: Report, pulls: Pulls, fresh: FreshFileSystem, scratch: str, without: list[str]
) -> list[Contestant]:
    """Whoever is installed."""

    def contestant(name: str, pull: Callable[[str], None]) -> Contestant:
        return Contestant(name, functools.partial(timed, pull, fresh, None), rest=0.1)

    found = [
        contestant("pycontain pull", pulls.ours),
        contestant("pycontain, in a warm process", pulls.warm),
    ]
    for name in RIVALS:
        if name in without or shutil.which("dockerd" if name == "docker" else name) is None:
            report.miss(name, "left out" if name in without else "not installed")
        elif name == "docker":
            found.append(
                Contestant("docker pull", functools.partial(Docker(scratch).sample, fresh, pulls.name))
            )
        elif name == "podman":
            found.append(contestant("podman pull", pulls.podman))
        elif name == "skopeo":
            found.append(contestant("skopeo copy, not unpacked", pulls.skopeo))
        else:
            for synced in (False, True):
                pull = functools.partial(pulls.curl, synced=synced)
                found.append(contestant("curl | tar -xz" + ", synced" * synced, pull))
    return found


def own(
    report: Report,
    by_format: dict[str, Pulls],
    registry: Registry,
    layers: list[Layer],
    fresh: FreshFileSystem,
    rounds: int,
) -> None:
    """Ours alone: formats, a new version, memory."""
    gzip = by_format["gzip"]
    report.measure(
        "Python application, by compression",
        [
            Contestant(f"pycontain pull, {name}", functools.partial(timed, pulls.ours, fresh, None))
            for name, pulls in by_format.items()
        ],
        rounds=rounds,
        warm_up=1,
        pause=0.1,
        unit="s",
    )
    before = Pulls(registry.put("app-gzip", "0", layers[:-1]), layers[:-1], "app-gzip")
    report.measure(
        "Python application, when all of it or its last layer is new",
        [
            Contestant("pycontain pull, all", functools.partial(timed, gzip.ours, fresh, None)),
            Contestant("pycontain pull, last layer", functools.partial(timed, gzip.ours, fresh, before.ours)),
            Contestant("pycontain pull, nothing", functools.partial(timed, gzip.ours, fresh, gzip.ours)),
        ],
        rounds=rounds,
        warm_up=1,
        pause=0.1,
        unit="s",
    )
    report.measure(
        "Memory of all processes of a pull, at most",
        [
            Contestant(f"pycontain pull, {name}", functools.partial(peak_megabytes, pulls.ours, fresh))
            for name, pulls in by_format.items()
        ],
        rounds=min(rounds, 3),
        warm_up=0,
        unit="MB",
    )


def pushes(report: Report, pulls: Pulls, registry: Registry, scratch: str, rounds: int) -> None:
    """The way back, to a registry that has nothing; comes last, as it forgets what is pulled above."""
    store = f"{scratch}/pushed"
    os.mkdir(store)
    pulls.ours(store)
    program = f"{os.path.dirname(sys.executable)}/pycontain"
    ours = [program, "push", "--quiet", pulls.name]

    def contestant(name: str, command: list[str]) -> Contestant:
        def push() -> float:
            registry.empty()
            os.sync()
            began = time.perf_counter()
            _run(command, {"PYCONTAIN_ROOT": f"{store}/root"})
            return time.perf_counter() - began

        return Contestant(name, push, rest=0.1)

    contestants = [contestant("pycontain push", ours)]
    if shutil.which("skopeo") is None:
        report.miss("skopeo copy of a layout", "not installed")
    else:
        pulls.skopeo(store)
        skopeo = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
        contestants.append(
            contestant(
                "skopeo copy of a layout", [*skopeo, f"oci:{store}/layout:1", f"docker://{pulls.name}"]
            )
        )
    report.measure(
        "Push of the Python application", contestants, rounds=rounds, warm_up=1, pause=0.1, unit="s"
    )


def _megabytes(layers: list[Layer]) -> str:
    packed = sum(os.path.getsize(one.path) for one in layers)
    plain = sum(one.size for one in layers)
    return f"{packed / 1e6:.0f} MB by {layers[0].compression}, {plain / 1e6:.0f} MB unpacked"


def main() -> int:
    """Measure, if there is what it takes."""
    parser = setting.parser("Measure pulls, ours beside the rivals'.", "few rounds: three minutes")
    where = "where debian.tar and the application are or go"
    parser.add_argument("--archives", default=setting.BUILD, help=where)
    parser.add_argument("--without", nargs="+", default=[], choices=RIVALS, help="leave out")
    given = parser.parse_args()
    if os.geteuid() != 0:
        say("cannot measure: mounting a fresh ext4 needs root")
        return 0
    if shutil.which("docker-registry") is None:
        say("cannot measure: docker-registry is not installed")
        return 0
    setting.isolate(network=True)
    report = Report("pull", "Pulls from a registry on this machine", list(NOTES))
    for name in ("docker", "podman", "skopeo", "curl"):
        if shutil.which(name):
            said = subprocess.run([name, "--version"], check=False, capture_output=True, text=True).stdout
            report.versions[name] = said.replace("version", "").split()[1].rstrip(",")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        os.environ.pop(name, None)
    with setting.scratch_directory() as scratch:
        os.environ["DOCKER_CONFIG"] = os.environ["XDG_CONFIG_HOME"] = f"{scratch}/config"
        os.mkdir(f"{scratch}/config")
        with open(f"{scratch}/config/config.json", "w") as file:
            file.write("{}\n")
        measure(report, given, scratch)
    setting.write(report, given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
