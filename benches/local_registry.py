"""Debian's docker-registry on this machine's loopback, and the two images that are pulled from it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import io
import json
import os
import platform
import shutil
import subprocess
import sysconfig
import tarfile
import time
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import SampleError

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1:5000"  # in the network namespace of the bench nobody else has it
OCI = "application/vnd.oci.image"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_SMALL, _MIDDLE, _LARGE = 1 << 20, 8 << 20, 50 << 20


@dataclass(frozen=True)
class Layer:
    """A layer: its tar, and the file of what it is sent as.

    Attributes:
        diff_id: digest of the tar.
        size: bytes of the tar.
        path: the compressed file.
        compression: `gzip` or `zstd`.
    """

    diff_id: str
    size: int
    path: str
    compression: str


def layer(tar: str, compression: str) -> Layer:
    """The layer of a tar; compressed beside it, once."""
    with open(tar, "rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    packed = f"{tar}.{'gz' if compression == 'gzip' else 'zst'}"
    if not os.path.exists(packed):
        if compression == "zstd":
            subprocess.run(["zstd", "-q", "-o", f"{packed}.part", tar], check=True)
        else:
            with open(tar, "rb") as source, gzip.open(f"{packed}.part", "wb", 6) as target:
                while piece := source.read(1 << 20):
                    target.write(piece)
        os.rename(f"{packed}.part", packed)
    return Layer(f"sha256:{digest}", os.path.getsize(tar), packed, compression)


def application(directory: str, debian: str) -> list[str]:
    """The tars of a Python application: Debian, Python's library in two layers, settings, the application."""
    os.makedirs(directory, exist_ok=True)
    library = sysconfig.get_paths()["stdlib"]
    files = sorted(_files(library), key=lambda path: hashlib.sha256(path.encode()).digest())
    made = [debian]
    for number, most in enumerate((_LARGE, _MIDDLE, _SMALL, _SMALL // 4), 1):
        tar = f"{directory}/application-{number}.tar"
        chosen: list[str] = []
        size = 0
        while files and size < most:
            size += os.path.getsize(files[-1])
            chosen.append(files.pop())
        if not os.path.exists(tar):
            _pack(tar, library, chosen, number)
        made.append(tar)
    return made


class Registry:
    """The registry; its data go into a scratch directory.

    Raises:
        FileNotFoundError: it is not installed.
    """

    def __init__(self, scratch: str) -> None:
        config = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": f"{scratch}/registry"}},
            "http": {"addr": HOST},
        }
        with open(f"{scratch}/registry.yml", "w") as file:
            json.dump(config, file)  # which YAML is, too
        command = ["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", file.name]
        self._data = f"{scratch}/registry/docker"
        with open(f"{scratch}/registry.log", "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(200):
            with contextlib.suppress(OSError):
                self._ask("GET", "/v2/")
                return
            time.sleep(0.05)
        raise SampleError("docker-registry did not come up")

    def put(self, repository: str, tag: str, layers: list[Layer]) -> str:
        """An image of these layers; its name."""
        config = json.dumps(
            {
                "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
                "os": "linux",
                "config": {"Cmd": ["/bin/true"]},
                "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in layers]},
                "history": [{"created_by": "a bench"} for _ in layers],
            }
        ).encode()
        descriptors = [
            {"mediaType": f"{OCI}.layer.v1.tar+{one.compression}", **self._blob(repository, _read(one.path))}
            for one in layers
        ]
        described = {"mediaType": f"{OCI}.config.v1+json", **self._blob(repository, config)}
        kind = f"{OCI}.manifest.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": described, "layers": descriptors}
        path = f"/v2/{repository}/manifests/{tag}"
        self._ask("PUT", path, json.dumps(manifest).encode(), {"Content-Type": kind})
        return f"{HOST}/{repository}:{tag}"

    def empty(self) -> None:
        """Let it forget all images: it keeps nothing in memory."""
        shutil.rmtree(self._data, ignore_errors=True)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _blob(self, repository: str, data: bytes) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        location = self._ask("POST", f"/v2/{repository}/blobs/uploads/")
        place = urllib.parse.urlsplit(location)
        self._ask("PUT", f"{place.path}?{place.query}&digest={digest}", data)
        return {"digest": digest, "size": len(data)}

    def _ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> str:
        with contextlib.closing(http.client.HTTPConnection(HOST)) as connection:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 300:
                raise SampleError(f"docker-registry answered {answer.status} to {method} {path}: {text!r}")
            return answer.headers.get("location", "")


def blobs(layers: list[Layer], repository: str) -> list[str]:
    """The URLs of the layers."""
    digests = [hashlib.sha256(_read(one.path)).hexdigest() for one in layers]
    return [f"http://{HOST}/v2/{repository}/blobs/sha256:{digest}" for digest in digests]


def _files(directory: str) -> Iterator[str]:
    for place, names, files in os.walk(directory):
        names[:] = [name for name in names if name not in {"site-packages", "__pycache__"}]
        yield from (path for name in files if os.path.isfile(path := f"{place}/{name}"))


def _pack(tar: str, library: str, files: list[str], number: int) -> None:
    with tarfile.open(f"{tar}.part", "w") as archive:
        for path in sorted(files):
            member = tarfile.TarInfo(f"opt/{number}/{os.path.relpath(path, library)}")
            data = _read(path)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    os.rename(f"{tar}.part", tar)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
