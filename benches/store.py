"""The store: `images` with 1,000 tags as a process, and `save` of a Debian, beside docker, podman and skopeo.

usage: store.py [--quick] [--archives DIRECTORY] [--results DIRECTORY]

Archives are as for unpack.py. docker and podman keep what they make in a scratch directory; dockerd has mount
and network namespaces of its own. Needs root.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import setting
from harness import Contestant, Report, SampleError, say
from rivals import version
from unpack import Archives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = f"{os.path.dirname(sys.executable)}/pycontain"
TAGS = 1000

NOTES = [
    "Times are of whole processes, started one after the other; output goes to /dev/null or to a file.",
    "`images`: one image with 1,000 tags; for pycontain also 1,000 images with a tag each.",
    "`save`: a Debian of one layer, compressed by gzip. pycontain and `skopeo copy` to an OCI archive write"
    " the compressed layer; docker, podman and skopeo's docker archives have the tar.",
    "Files are written anew each time and not synced.",
]


def timed(command: list[str], environment: dict[str, str], clean: Callable[[], None] | None = None) -> float:
    """Milliseconds of the process; `clean` is not counted."""
    if clean is not None:
        clean()
    began = time.perf_counter()
    done = subprocess.run(
        command, check=False, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    took = (time.perf_counter() - began) * 1e3
    if done.returncode != 0:
        raise SampleError(f"`{' '.join(command)}`: {done.stderr.decode(errors='replace').strip()}")
    return took


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise SampleError(f"`{' '.join(command[:6])}`: {done.stderr.strip()[-300:]}")


class Bench:
    """Who takes part, and how each is called."""

    def __init__(self, report: Report, scratch: str, archives: Archives) -> None:
        self._report = report
        self._scratch = scratch
        self._archives = archives
        self.environment = {**os.environ, "PYCONTAIN_ROOT": f"{scratch}/pycontain"}

    def measure_images(self, clients: dict[str, list[str]], *, rounds: int) -> None:
        """A list for people, of a thousand."""
        many = {**self.environment, "PYCONTAIN_ROOT": f"{self._scratch}/many"}
        contestants = [
            self._contestant("pycontain images", [PROGRAM, "images"]),
            Contestant(
                f"pycontain images, {TAGS} images", functools.partial(timed, [PROGRAM, "images"], many)
            ),
            self._contestant("python3 -c pass", [sys.executable, "-c", "pass"]),
        ]
        contestants += [
            self._contestant(f"{name} images", [*client, "images"]) for name, client in clients.items()
        ]
        self._report.measure(f"images, {TAGS} tags", contestants, rounds=rounds)

    def measure_save(self, clients: dict[str, list[str]], *, rounds: int) -> None:
        """An archive, into a new file."""
        target, layout = f"{self._scratch}/saved.tar", f"{self._scratch}/layout"
        contestants = [
            self._contestant("pycontain save", [PROGRAM, "save", "-o", target, "debian:1"], target)
        ]
        if shutil.which("skopeo") is None:
            self._report.miss("skopeo copy", "`skopeo` is not installed")
        else:
            skopeo = ["skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{layout}:debian"]
            run([PROGRAM, "save", "-o", target, "debian:1"], self.environment)
            run([*skopeo[:-1], f"oci-archive:{target}:1", skopeo[-1]])
            contestants += [
                self._contestant(f"skopeo copy to {kind}", [*skopeo, f"{kind}:{target}:debian:1"], target)
                for kind in ("oci-archive", "docker-archive")
            ]
        contestants += [
            self._contestant(f"{name} save", [*client, "save", "-o", target, "debian:1"], target)
            for name, client in clients.items()
        ]
        self._report.measure("save, 67 MB compressed", contestants, rounds=rounds, warm_up=1, pause=0.2)

    def fill(self) -> None:
        """The images of pycontain."""
        import pycontain

        with pycontain.Engine(self.environment["PYCONTAIN_ROOT"]) as engine:
            engine.images.import_(self._archives.gzip, "debian:1")
            for number in range(TAGS - 1):
                engine.images.tag("debian:1", tag(number))
        with pycontain.Engine(f"{self._scratch}/many") as engine:
            engine.images.load(many_images(f"{self._scratch}/many.tar"))

    @contextlib.contextmanager
    def docker(self) -> Iterator[dict[str, list[str]]]:
        """A docker client whose daemon has the same image; none, and a line in the report, without one."""
        if missing := [name for name in ("dockerd", "docker", "setpriv") if shutil.which(name) is None]:
            self._report.miss("docker", f"`{missing[0]}` is not installed")
            yield {}
            return
        base = f"{self._scratch}/docker"
        os.mkdir(base)
        daemon = [
            "setpriv",
            "--pdeathsig",
            "TERM",
            "dockerd",
            "--host",
            f"unix://{base}/socket",
            "--bridge=none",
        ]
        daemon += ["--data-root", f"{base}/data", "--exec-root", f"{base}/exec", "--pidfile", f"{base}/pid"]
        isolated = ["unshare", "--mount", "--net", "--propagation", "private", *daemon]
        with open(f"{base}/log", "wb") as log:
            process = subprocess.Popen(isolated, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        client = ["docker", "--host", f"unix://{base}/socket"]
        try:
            self._wait_for(client, process)
            run([*client, "import", self._archives.tar, "debian:1"])
            tag_by_api(f"{base}/socket")
            yield {"docker": client}
        except SampleError as error:
            self._report.miss("docker", str(error))
            yield {}
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()

    def podman(self) -> dict[str, list[str]]:
        """A podman that has the same image."""
        if shutil.which("podman") is None:
            self._report.miss("podman", "`podman` is not installed")
            return {}
        base = f"{self._scratch}/podman"
        client = [
            "podman",
            "--root",
            f"{base}/storage",
            "--runroot",
            f"{base}/run",
            "--events-backend",
            "file",
        ]
        try:
            run([*client, "import", self._archives.tar, "docker.io/library/debian:1"])
            names = [f"docker.io/{tag(number)}" for number in range(TAGS - 1)]
            run([*client, "tag", "docker.io/library/debian:1", *names])
        except SampleError as error:
            self._report.miss("podman", str(error))
            return {}
        return {"podman": client}

    def _contestant(self, name: str, command: list[str], target: str | None = None) -> Contestant:
        def clean() -> None:
            if target is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(target)
                os.sync()  # what the one before wrote is not this one's to wait for

        return Contestant(name, functools.partial(timed, command, self.environment, clean))

    @staticmethod
    def _wait_for(client: list[str], process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + 60
        while subprocess.run([*client, "version"], capture_output=True, check=False).returncode:
            if process.poll() is not None or time.monotonic() > until:
                raise SampleError("dockerd did not come up")
            time.sleep(0.1)


def tag(number: int) -> str:
    return f"team/app{number % 50}:v{number}"


def tag_by_api(path: str) -> None:
    """A thousand client processes would take a minute."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    for number in range(TAGS - 1):
        repository, _, name = tag(number).partition(":")
        connection.request("POST", f"/images/debian:1/tag?repo={repository}&tag={name}")
        response = connection.getresponse()
        response.read()
        if response.status != 201:
            raise SampleError(f"dockerd does not tag: {response.status}")
    connection.close()


def many_images(path: str) -> str:
    """An archive of a thousand images: each with a configuration of 5 kB, all of one layer."""
    import hashlib
    import io
    import tarfile

    layer = bytes(10240)
    diff_id = "sha256:" + hashlib.sha256(layer).hexdigest()
    step = {"created": "2026-01-02T03:04:05.123456789Z", "created_by": "x" * 200, "empty_layer": True}
    files, listed = {"layer.tar": layer}, []
    for number in range(TAGS):
        document = {
            "os": "linux",
            "created": f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z",
            "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Labels": {"number": str(number)}},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [step] * 16,
        }
        data = json.dumps(document).encode()
        name = hashlib.sha256(data).hexdigest() + ".json"
        files[name] = data
        listed.append({"Config": name, "RepoTags": [tag(number)], "Layers": ["layer.tar"]})
    files["manifest.json"] = json.dumps(listed).encode()
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def main() -> int:
    parser = setting.parser(
        "Measure the store's commands, ours beside the rivals'.", "few rounds: a minute instead of four"
    )
    Archives.add_argument(parser)
    given = parser.parse_args()
    if os.geteuid() != 0:
        say("cannot measure: docker, podman and their storage need root")
        return 0
    archives = Archives.of(given)
    if archives is None:
        return 0
    report = Report("store", "The store's commands", list(NOTES))
    for program in "docker dockerd podman skopeo".split():
        if (found := version(program)) is not None:
            report.versions[program] = found
    with setting.scratch_directory() as scratch:
        bench = Bench(report, scratch, archives)
        bench.fill()
        clients = bench.podman()
        with bench.docker() as docker:
            clients = docker | clients
            bench.measure_images(clients, rounds=10 if given.quick else 60)
            bench.measure_save(clients, rounds=3 if given.quick else 15)
    setting.write(report, given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
