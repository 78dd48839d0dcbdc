"""Debian's `docker-registry` on a loopback port, and images put into it without the client that is tested."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from containers import seconds
from image_archives import OCI, configuration, descriptor, digest

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

USER, PASSWORD = "someone", "pass: word"
DOCKER = "application/vnd.docker"


@dataclass(frozen=True)
class Registry:
    """A registry that runs; requests of the tests' own go straight to it."""

    host: str
    directory: Path
    context: ssl.SSLContext | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request; status, headers in lower case, body."""
        connection = (
            http.client.HTTPSConnection(self.host, context=self.context, timeout=seconds(20))
            if self.context
            else http.client.HTTPConnection(self.host, timeout=seconds(20))
        )
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers={**self.headers, **(headers or {})})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()

    def put_blob(self, repository: str, data: bytes) -> None:
        status, headers, _ = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202
        place = urllib.parse.urlsplit(headers["location"])
        query = f"{place.query}&digest={digest(data)}"
        status, _, body = self.ask("PUT", f"{place.path}?{query}", data)
        assert status == 201, body

    def put_manifest(self, repository: str, tag: str, manifest: bytes, media_type: str) -> str:
        path = f"/v2/{repository}/manifests/{tag}"
        status, _, body = self.ask("PUT", path, manifest, {"Content-Type": media_type})
        assert status == 201, body
        return digest(manifest)

    def put_image(
        self,
        repository: str,
        tag: str,
        layers: list[Packed],
        *,
        docker: bool = False,
        **config: Any,
    ) -> str:
        """An image of these layers; the digest of its manifest."""
        manifest, media_type = self.put_parts(repository, layers, docker=docker, **config)
        return self.put_manifest(repository, tag, manifest, media_type)

    def put_parts(
        self, repository: str, layers: list[Packed], *, docker: bool = False, **config: Any
    ) -> tuple[bytes, str]:
        """All of an image but its manifest, which is returned with its media type."""
        document = configuration([layer.plain for layer in layers], **config)
        for data in (document, *(layer.data for layer in layers)):
            self.put_blob(repository, data)
        kind = f"{DOCKER}.distribution.manifest.v2+json" if docker else f"{OCI}.manifest.v1+json"
        config_type = f"{DOCKER}.container.image.v1+json" if docker else f"{OCI}.config.v1+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": descriptor(document, config_type),
            "layers": [descriptor(layer.data, layer.media_type) for layer in layers],
        }
        return json.dumps(manifest).encode(), kind

    def manifest(self, repository: str, tag: str) -> tuple[str, bytes]:
        """Digest and bytes of what is there."""
        accept = f"{OCI}.manifest.v1+json, {OCI}.index.v1+json, {DOCKER}.distribution.manifest.v2+json"
        status, _, body = self.ask("GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": accept})
        assert status == 200, body
        return digest(body), body


@dataclass(frozen=True)
class Packed:
    """A layer: its tar, and what it is sent as."""

    plain: bytes
    data: bytes
    media_type: str


def gzipped(plain: bytes, *, docker: bool = False) -> Packed:
    import gzip

    kind = f"{DOCKER}.image.rootfs.diff.tar.gzip" if docker else f"{OCI}.layer.v1.tar+gzip"
    return Packed(plain, gzip.compress(plain, mtime=0), kind)


def zstandard(plain: bytes) -> Packed:
    if shutil.which("zstd") is None:
        pytest.skip("no zstd on this machine")
    packed = subprocess.run(["zstd", "-q", "-c"], input=plain, capture_output=True, check=True).stdout
    return Packed(plain, packed, f"{OCI}.layer.v1.tar+zstd")


@contextlib.contextmanager
def running(
    directory: Path,
    *,
    auth: dict[str, Any] | None = None,
    certificates: tuple[Path, Path] | None = None,
    client_ca: Path | None = None,
    host: str = "127.0.0.1",
    **known: Any,
) -> Iterator[Registry]:
    """A registry with this authentication, and TLS by certificate and key; its data are in `directory`."""
    if shutil.which("docker-registry") is None:
        pytest.skip("no docker-registry on this machine (Debian's package)")
    directory.mkdir(exist_ok=True)
    port = _free_port()
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "not one"},
    }
    if auth:
        config["auth"] = auth
    if certificates:
        config["http"]["tls"] = {"certificate": str(certificates[0]), "key": str(certificates[1])}
    if client_ca:
        config["http"]["tls"]["clientcas"] = [str(client_ca)]
    file = directory / "config.yml"
    file.write_text(json.dumps(config))  # which YAML is, too
    log = (directory / "log").open("wb")
    # it goes with these tests, however they end
    command = ["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", str(file)]
    with log, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
        try:
            _wait(port, process, directory / "log")
            yield Registry(f"{host}:{port}", directory, **known)
        finally:
            process.kill()


def htpasswd(directory: Path) -> dict[str, Any]:
    """Authentication by name and password: `USER`, `PASSWORD`."""
    if shutil.which("htpasswd") is None:
        pytest.skip("no htpasswd on this machine (Debian's package apache2-utils)")
    made = subprocess.run(["htpasswd", "-Bbn", USER, PASSWORD], capture_output=True, check=True).stdout
    file = directory / "htpasswd"
    file.write_bytes(made)
    return {"htpasswd": {"realm": "a registry", "path": str(file)}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + seconds(20)
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.02)
