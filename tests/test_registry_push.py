"""What was pushed is in the registry, to the byte; others read it, and nothing is sent twice."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

import pycontain
import pytest
from image_archives import OCI, digest, docker_files, layer, tar
from interposed import Answer, Interposed, Request, Rule
from registries import DOCKER, gzipped, zstandard
from test_registry_pull import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from containers import Cli
    from pycontain import Engine, Progress
    from registries import Registry

SENT = r"(PUT|PATCH) .*/blobs/uploads/.*"


def imported(engine: Engine, name: str, *parts: bytes) -> str:
    """An image out of an archive of `docker save`, whose layers are plain tars."""
    import io

    engine.images.load(io.BytesIO(tar(docker_files(list(parts), name))))
    return name


@pytest.mark.parametrize("docker", [False, True], ids=["OCI", "docker"])
def test_what_was_pulled_keeps_its_digest(fresh: Engine, registry: Registry, docker: bool) -> None:
    layers = [gzipped(layer("a"), docker=docker), zstandard(layer("b"))][: 1 if docker else 2]
    original = registry.put_image("push/from", "1", layers, docker=docker)
    fresh.images.pull(f"{registry.host}/push/from:1")
    fresh.images.tag(f"{registry.host}/push/from:1", f"{registry.host}/push/to:2")
    assert fresh.images.push(f"{registry.host}/push/to:2") == original
    assert registry.manifest("push/to", "2") == registry.manifest("push/from", "1")
    assert f"{registry.host}/push/to@{original}" in fresh.images.get(f"{registry.host}/push/to:2").digests


def test_plain_layers_are_compressed_once_and_the_digest_stays(fresh: Engine, registry: Registry) -> None:
    parts = [layer("a", os.urandom(1 << 20)), layer("b")]
    name = imported(fresh, f"{registry.host}/push/plain:1", *parts)
    first: list[Progress] = []
    second: list[Progress] = []
    found = fresh.images.push(name, progress=first.append)
    assert fresh.images.push(name, progress=second.append) == found
    assert "Compressing" in {step.phase for step in first}
    assert {step.phase for step in second if step.total} == {"Layer already exists"}
    told, manifest = registry.manifest("push/plain", "1")
    assert told == found
    document = json.loads(manifest)
    assert document["mediaType"] == f"{OCI}.manifest.v1+json"
    for one, plain in zip(document["layers"], parts, strict=True):
        status, _, data = registry.ask("GET", f"/v2/push/plain/blobs/{one['digest']}")
        assert (status, len(data)) == (200, one["size"])
        assert gzip.decompress(data) == plain


def test_it_can_be_pulled_into_another_store(fresh: Engine, registry: Registry, tmp_path: Path) -> None:
    name = imported(fresh, f"{registry.host}/push/there:1", layer("a", b"1"), layer("b", b"2"))
    fresh.images.push(name)
    with pycontain.Engine(tmp_path / "elsewhere") as other:
        image = other.images.pull(name)
        assert image == fresh.images.get(name)
        assert files(other, name) == {"a": b"1", "b": b"2"}


def test_layer_of_another_repository_is_mounted(fresh: Engine, registry: Registry) -> None:
    packed = gzipped(layer("a", os.urandom(1000)))
    registry.put_image("push/source", "1", [packed])
    with Interposed(registry.host) as server:
        fresh.images.pull(f"{server.host}/push/source:1")
        fresh.images.tag(f"{server.host}/push/source:1", f"{server.host}/push/mounted:1")
        steps: list[Progress] = []
        fresh.images.push(f"{server.host}/push/mounted:1", progress=steps.append)
        assert "Mounted from push/source" in {step.phase for step in steps}
        # the configuration alone
        assert len(server.asked(SENT)) == 1
        status, _, data = registry.ask("GET", f"/v2/push/mounted/blobs/{digest(packed.data)}")
        assert (status, data) == (200, packed.data)


@pytest.fixture
def big(fresh: Engine) -> bytes:
    """A layer that is sent in two chunks."""
    return layer("big", os.urandom(40 << 20))


FAULTS = {
    "busy": Rule("PATCH .*", Answer(503), times=2),
    "lost at the end": Rule("PUT .*/blobs/.*", Answer(502), times=1),
    "begun badly": Rule("POST .*", Answer(500), times=2),
    "session gone": Rule("PATCH .*", Answer(504), times=1),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_upload_in_chunks_survives(fresh: Engine, registry: Registry, big: bytes, fault: str) -> None:
    with Interposed(registry.host, Rule(**vars(FAULTS[fault]))) as server:
        name = imported(fresh, f"{server.host}/push/{fault.replace(' ', '-')}:1", big)
        found = fresh.images.push(name)
        assert not server.rules[0].times
    assert registry.manifest(f"push/{fault.replace(' ', '-')}", "1")[0] == found


class Resumable:
    """Uploads as the specification has them; docker-registry begins anew after any chunk that went wrong."""

    def __init__(self, *, lose: int) -> None:
        self.data = bytearray()
        self.lose = lose

    def __call__(self, request: Request) -> Answer:
        session = {"Location": "/v2/push/chunks/blobs/uploads/session?state=1"}
        if request.method == "POST":
            self.data.clear()
            return Answer(202, session)
        if request.method == "PATCH":
            assert request.headers["content-range"].startswith(f"{len(self.data)}-")
            self.data += request.body
        if self.data:
            session["Range"] = f"0-{len(self.data) - 1}"
        if request.method == "PUT":
            self.data += request.body
            return Answer(201 if f"digest=sha256%3A{digest(bytes(self.data))[7:]}" in request.path else 400)
        if request.method == "PATCH" and self.lose:
            self.lose -= 1
            return Answer(503)  # and yet it has the chunk
        return Answer(204 if request.method == "GET" else 202, session)


def test_upload_goes_on_where_it_broke(fresh: Engine, big: bytes) -> None:
    uploads = Resumable(lose=1)
    rules = (
        Rule("(POST|PATCH|PUT|GET) .*/uploads/.*", uploads),
        Rule("PUT .*/manifests/1", Answer(201)),
    )
    with Interposed(None, *rules) as server:
        fresh.images.push(imported(fresh, f"{server.host}/push/chunks:1", big))
        sent = [int(one.headers["content-length"]) for one in server.asked("PATCH .*")]
        (asked,) = server.asked("GET .*/uploads/.*")
    assert asked.path.endswith("/session?state=1")
    assert sent[0] == 32 << 20
    assert sum(sent) < 41 << 20  # nothing twice


def test_all_tags_of_a_repository_are_sent(fresh: Engine, fresh_cli: Cli, registry: Registry) -> None:
    for tag in ("1", "2"):
        imported(fresh, f"{registry.host}/push/tags:{tag}", layer("a", tag.encode()))
    done = fresh_cli("push", "--all-tags", f"{registry.host}/push/tags")
    assert done.returncode == 0, done.stderr
    status, _, listed = registry.ask("GET", "/v2/push/tags/tags/list")
    assert (status, sorted(json.loads(listed)["tags"])) == (200, ["1", "2"])
    assert fresh_cli("push", "-a", f"{registry.host}/push/none").returncode == 1


def test_command_prints_what_dockers_prints(fresh: Engine, fresh_cli: Cli, registry: Registry) -> None:
    name, short = f"{registry.host}/push/cli", digest(layer())[7:19]
    imported(fresh, name, layer())
    first = fresh_cli("push", name).stdout.decode().splitlines()
    found, manifest = registry.manifest("push/cli", "latest")
    assert first == [
        "Using default tag: latest",
        f"The push refers to repository [{name}]",
        f"{short}: Preparing",
        f"{short}: Pushed",
        f"latest: digest: {found} size: {len(manifest)}",
    ]
    assert f"{short}: Layer already exists" in fresh_cli("push", name).stdout.decode()
    assert fresh_cli("push", "-q", name).stdout.decode() == f"{name}:latest\n"
    missing = fresh_cli("push", f"{registry.host}/push/missing")
    assert (missing.returncode, b"no such image" in missing.stderr) == (1, True)
    assert b"makes the digest itself" in fresh_cli("push", f"{name}@sha256:{'0' * 64}").stderr


def test_registry_that_does_not_take_it_says_why(fresh: Engine, registry: Registry) -> None:
    refusal = json.dumps({"errors": [{"code": "DENIED", "message": "quota is used up"}]}).encode()
    with Interposed(registry.host, Rule("POST .*", Answer(403, {}, refusal))) as server:
        name = imported(fresh, f"{server.host}/push/refused:1", layer())
        with pytest.raises(pycontain.Unauthorized, match="quota is used up"):
            fresh.images.push(name)


UPLOADS = {
    "no address": (Answer(202, {"Location": "http://[bad"}), r"wants uploads at `http://\[bad`, which is no"),
    "mounted from nowhere": (Answer(201), r"answered 201 \(created\) to `POST "),
}


@pytest.mark.parametrize("case", UPLOADS)
def test_bad_beginning_of_an_upload_is_told_of(fresh: Engine, registry: Registry, case: str) -> None:
    answer, says = UPLOADS[case]
    with Interposed(registry.host, Rule("POST .*", answer)) as server:
        name = imported(fresh, f"{server.host}/push/{case.replace(' ', '-')}:1", layer("a", os.urandom(9)))
        with pytest.raises(pycontain.RegistryError, match=says):
            fresh.images.push(name)


def test_layer_that_another_push_compresses_meanwhile_is_sent(fresh: Engine, registry: Registry) -> None:
    name = imported(fresh, f"{registry.host}/push/twice:1", layer("a", os.urandom(1000)))
    others: list[str] = []

    def push(step: Progress) -> None:
        if step.phase == "Preparing":
            others.append(fresh.images.push(name))

    assert fresh.images.push(name, progress=push) == others[0]


def skopeo(*words: str) -> str:
    """What it prints."""
    if shutil.which("skopeo") is None:
        pytest.skip("no skopeo on this machine")
    command = ["skopeo", "--insecure-policy", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_skopeo_reads_what_we_push(fresh: Engine, registry: Registry, tmp_path: Path) -> None:
    parts = [layer("a", b"1"), layer("b", b"2")]
    found = fresh.images.push(imported(fresh, f"{registry.host}/push/skopeo:1", *parts))
    source = f"docker://{registry.host}/push/skopeo:1"
    shown = json.loads(skopeo("inspect", "--tls-verify=false", source))
    assert shown["Digest"] == found
    config = json.loads(skopeo("inspect", "--tls-verify=false", "--config", source))
    assert config["rootfs"]["diff_ids"] == [digest(one) for one in parts]
    skopeo("copy", "--src-tls-verify=false", "--quiet", source, f"oci:{tmp_path}/layout:1")
    assert (tmp_path / "layout/blobs/sha256" / found[7:]).exists()


@pytest.mark.parametrize("kind", ["oci", "v2s2"])
def test_we_read_what_skopeo_pushes(
    fresh: Engine, registry: Registry, docker_archive: Path, kind: str
) -> None:
    target = f"docker://{registry.host}/push/by-skopeo:{kind}"
    source = f"docker-archive:{docker_archive}"
    skopeo("copy", "--quiet", "--dest-tls-verify=false", "--format", kind, source, target)
    image = fresh.images.pull(f"{registry.host}/push/by-skopeo:{kind}")
    shown = json.loads(skopeo("inspect", "--tls-verify=false", target))
    assert image.digests == (f"{registry.host}/push/by-skopeo@{shown['Digest']}",)
    assert fresh.run(image.id, network="none").stdout == b"archive\n"
    media_types = {
        one["mediaType"] for one in json.loads(registry.manifest("push/by-skopeo", kind)[1])["layers"]
    }
    assert all(one.startswith(DOCKER if kind == "v2s2" else OCI) for one in media_types)


@pytest.fixture
def short_directory() -> Iterator[str]:
    """Podman takes no more than 50 characters."""
    with tempfile.TemporaryDirectory(prefix="podman") as directory:
        yield directory


@pytest.mark.root
def test_podman_reads_what_we_push_and_we_read_what_it_pushes(
    fresh: Engine, registry: Registry, short_directory: str
) -> None:
    if shutil.which("podman") is None:
        pytest.skip("no podman on this machine")

    def podman(*words: str) -> str:
        place = ["--root", f"{short_directory}/root", "--runroot", f"{short_directory}/run"]
        command = ["podman", *place, "--storage-driver", "vfs", *words]
        environment = {name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    name = imported(fresh, f"{registry.host}/push/podman:1", layer("a", b"1"), layer("b", b"2"))
    found = fresh.images.push(name)
    podman("pull", "--quiet", "--tls-verify=false", name)
    assert podman("image", "inspect", "--format", "{{.Digest}}", name) == found
    assert "sha256:" + podman("image", "inspect", "--format", "{{.Id}}", name) == fresh.images.get(name).id
    other = f"{registry.host}/push/podman:2"
    podman("push", "--quiet", "--tls-verify=false", name, other)
    fresh.images.remove(name)
    image = fresh.images.pull(other)
    assert image.layers == (digest(layer("a", b"1")), digest(layer("b", b"2")))
    assert files(fresh, image.id) == {"a": b"1", "b": b"2"}
