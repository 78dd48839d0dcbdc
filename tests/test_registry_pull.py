"""What is in a registry is here after a pull, whoever put it there; and no more is moved than has to be."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pycontain
import pytest
from image_archives import ARCHITECTURE, OCI, descriptor, digest, layer, tar
from interposed import Interposed, Rule, until
from registries import DOCKER, Packed, gzipped, zstandard

if TYPE_CHECKING:
    from containers import Cli
    from pycontain import Engine, Progress
    from registries import Registry

BLOBS = r"GET /v2/.*/blobs/.*"


def files(engine: Engine, name: str) -> dict[str, bytes]:
    """The regular files of an image, by name."""
    found: dict[str, bytes] = {}
    start = engine.images.for_start(name)
    for directory in reversed(start.root.lower[:-1]):  # below lie the mount points
        for entry in os.scandir(directory):
            found[entry.name] = Path(entry.path).read_bytes()
    return found


def layer_blobs(server: Interposed, layers: list[Packed]) -> list[str]:
    """Which of these layers were asked for, in any order, as often as they were."""
    digests = {digest(one.data) for one in layers}
    return sorted(name for one in server.asked(BLOBS) if (name := one.path.rpartition("/")[2]) in digests)


@pytest.mark.parametrize("docker", [False, True], ids=["OCI", "docker"])
def test_layers_configuration_and_names_are_here_afterwards(
    fresh: Engine, registry: Registry, docker: bool
) -> None:
    layers = [gzipped(layer("a", b"1"), docker=docker), gzipped(layer("b", b"2"), docker=docker)]
    found = registry.put_image("pull/plain", "1", layers, docker=docker, config={"Cmd": ["/x"]})
    image = fresh.images.pull(f"{registry.host}/pull/plain:1")
    assert image.tags == (f"{registry.host}/pull/plain:1",)
    assert image.digests == (f"{registry.host}/pull/plain@{found}",)
    assert image.layers == tuple(digest(one.plain) for one in layers)
    assert image.config.cmd == ("/x",)
    assert files(fresh, image.id) == {"a": b"1", "b": b"2"}


def test_layers_compressed_by_zstd_and_not_at_all(fresh: Engine, registry: Registry) -> None:
    plain = layer("b", b"2")
    layers = [zstandard(layer("a", b"1")), Packed(plain, plain, f"{OCI}.layer.v1.tar")]
    registry.put_image("pull/zstd", "1", layers)
    fresh.images.pull(f"{registry.host}/pull/zstd:1")
    assert files(fresh, f"{registry.host}/pull/zstd:1") == {"a": b"1", "b": b"2"}


def test_by_digest_it_has_that_name_alone(fresh: Engine, registry: Registry) -> None:
    found = registry.put_image("pull/digest", "1", [gzipped(layer())])
    image = fresh.images.pull(f"{registry.host}/pull/digest@{found}")
    assert image.tags == ()
    assert image.digests == (f"{registry.host}/pull/digest@{found}",)


def put_index(registry: Registry, repository: str, tag: str, platforms: dict[str, str]) -> str:
    """An index with an image for each platform, whose only file names it."""
    members = []
    for platform, text in platforms.items():
        os_, architecture, *variant = platform.split("/")
        shown = {"os": os_, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        manifest, kind = registry.put_parts(
            repository, [gzipped(layer("platform", text.encode()))], architecture=architecture
        )
        registry.put_manifest(repository, digest(manifest), manifest, kind)
        members.append(descriptor(manifest, kind, platform=shown))
    kind = f"{OCI}.index.v1+json"
    index = {"schemaVersion": 2, "mediaType": kind, "manifests": members}
    return registry.put_manifest(repository, tag, json.dumps(index).encode(), kind)


def test_of_an_index_comes_what_is_for_this_machine(fresh: Engine, registry: Registry) -> None:
    other = "arm64" if ARCHITECTURE == "amd64" else "amd64"
    found = put_index(
        registry, "pull/index", "1", {f"linux/{other}": "other", f"linux/{ARCHITECTURE}": "own"}
    )
    image = fresh.images.pull(f"{registry.host}/pull/index:1")
    assert files(fresh, image.id) == {"platform": b"own"}
    assert image.digests == (f"{registry.host}/pull/index@{found}",)


def test_platform_chooses_and_a_missing_one_names_those_that_there_are(
    fresh: Engine, registry: Registry
) -> None:
    put_index(registry, "pull/arms", "1", {"linux/arm/v6": "v6", "linux/arm/v7": "v7", "linux/arm64": "64"})
    name = f"{registry.host}/pull/arms:1"

    def layers(platform: str) -> tuple[str, ...]:
        return fresh.images.pull(name, platform=platform).layers

    assert layers("linux/arm/v7") == (digest(layer("platform", b"v7")),)
    assert layers("linux/arm/v6") == (digest(layer("platform", b"v6")),)
    assert layers("arm64") == layers("linux/arm64/v8") == (digest(layer("platform", b"64")),)
    with pytest.raises(pycontain.Unsupported, match="no image for linux/s390x") as caught:
        fresh.images.pull(name, platform="linux/s390x")
    assert caught.value.hint is not None
    assert "linux/arm/v6, linux/arm/v7, linux/arm64" in caught.value.hint


def test_run_fetches_the_platform_that_it_is_for(
    fresh: Engine, registry: Registry, busybox_layer: bytes
) -> None:
    other = "arm64" if ARCHITECTURE == "amd64" else "amd64"
    put_index(registry, "pull/both", "1", {f"linux/{other}": "x"})
    name = f"{registry.host}/pull/both:1"
    fresh.images.pull(name, platform=other)
    with pytest.raises(pycontain.Unsupported, match=f"is for linux/{other}"):
        fresh.run(name, ["true"])
    registry.put_image("pull/both", "1", [gzipped(busybox_layer)])
    run = fresh.run(name, ["echo", "here"], platform=f"linux/{ARCHITECTURE}", pull="missing", text=True)
    assert run.stdout == "here\n"


def test_second_pull_moves_nothing_and_says_so(fresh: Engine, registry: Registry) -> None:
    layers = [gzipped(layer("a")), gzipped(layer("b"))]
    registry.put_image("pull/twice", "1", layers)
    with Interposed(registry.host) as server:
        name = f"{server.host}/pull/twice:1"
        steps: list[Progress] = []
        fresh.images.pull(name)
        before = len(server.asked(BLOBS))
        fresh.images.pull(name, progress=steps.append)
        assert len(server.asked(BLOBS)) == before == 3
    assert {step.phase for step in steps[1:3]} == {"Already exists"}
    assert steps[-1].phase == f"Status: Image is up to date for {name}"


def test_of_a_new_version_only_the_layer_that_changed_is_moved(fresh: Engine, registry: Registry) -> None:
    common = [gzipped(layer("a", os.urandom(1000))), gzipped(layer("b"))]
    old, new = (gzipped(layer("c", text)) for text in (b"old", b"new"))
    registry.put_image("pull/version", "1", [*common, old])
    registry.put_image("pull/version", "2", [*common, new])
    with Interposed(registry.host) as server:
        fresh.images.pull(f"{server.host}/pull/version:1")
        assert layer_blobs(server, [*common, old, new]) == sorted(digest(x.data) for x in [*common, old])
        server.requests.clear()
        fresh.images.pull(f"{server.host}/pull/version:2")
        assert layer_blobs(server, [*common, old, new]) == [digest(new.data)]
        assert files(fresh, f"{server.host}/pull/version:2")["c"] == b"new"


def test_concurrent_pulls_of_a_layer_move_it_once(fresh: Engine, fresh_cli: Cli, registry: Registry) -> None:
    """Two threads and another process, while the download is held up."""
    packed = gzipped(layer("big", os.urandom(1 << 20)))
    registry.put_image("pull/once", "1", [packed])
    with Interposed(registry.host, Rule(rf"GET .*/blobs/{digest(packed.data)}", slow=0.06)) as server:
        name = f"{server.host}/pull/once:1"
        steps: list[Progress] = []
        threads = [
            threading.Thread(target=fresh.images.pull, args=(name,), kwargs={"progress": steps.append})
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        until(lambda: layer_blobs(server, [packed]))
        done = fresh_cli("pull", name)
        for thread in threads:
            thread.join()
        assert done.returncode == 0, done.stderr
        assert layer_blobs(server, [packed]) == [digest(packed.data)]
    assert files(fresh, name)["big"] == packed.plain[512 : 512 + (1 << 20)]
    assert {"Waiting", "Already exists", "Pull complete"} <= {step.phase for step in steps}


def test_progress_tells_of_every_byte_of_a_layer(fresh: Engine, registry: Registry) -> None:
    packed = gzipped(layer("big", os.urandom(3 << 20)))
    registry.put_image("pull/progress", "1", [packed])
    steps: list[Progress] = []
    fresh.images.pull(f"{registry.host}/pull/progress:1", progress=steps.append)
    phases = [step.phase for step in steps if step.layer == digest(packed.data)[7:19]]
    assert list(dict.fromkeys(phases)) == [
        "Pulling fs layer",
        "Downloading",
        "Download complete",
        "Pull complete",
    ]
    moving = [step for step in steps if step.phase == "Downloading"]
    assert [step.done for step in moving] == sorted(step.done for step in moving)
    assert {step.total for step in moving} == {len(packed.data)}


def test_command_prints_what_dockers_prints(fresh_cli: Cli, registry: Registry) -> None:
    packed = gzipped(layer())
    found = registry.put_image("pull/cli", "latest", [packed])
    name, short = f"{registry.host}/pull/cli", digest(packed.data)[7:19]
    done = fresh_cli("pull", name)
    assert done.stdout.decode().splitlines() == [
        "Using default tag: latest",
        "latest: Pulling from pull/cli",
        f"{short}: Pulling fs layer",
        f"{short}: Download complete",
        f"{short}: Pull complete",
        f"Digest: {found}",
        f"Status: Downloaded newer image for {name}:latest",
        f"{name}:latest",
    ]
    assert fresh_cli("pull", "-q", f"{name}:latest").stdout.decode() == f"{name}:latest\n"
    missing = fresh_cli("pull", f"{name}:2")
    assert missing.returncode == 1
    assert f"no `pull/cli:2` in registry `{registry.host}`" in missing.stderr.decode()


def test_on_a_terminal_there_are_bars(fresh_cli: Cli, registry: Registry) -> None:
    packed = gzipped(layer("big", os.urandom(2 << 20)))
    registry.put_image("pull/bars", "1", [packed])
    with Interposed(registry.host, Rule("GET .*/blobs/.*", slow=0.02)) as server:
        name = f"{server.host}/pull/bars:1"
        master, slave = os.openpty()
        command = [str(fresh_cli.program), "pull", name]
        environment = {**fresh_cli.environment, "TERM": "xterm", "COLUMNS": "80"}
        with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
            os.close(slave)
            seen = b""
            with contextlib.suppress(OSError):  # EIO: the other side is closed
                while data := os.read(master, 1 << 16):
                    seen += data
        os.close(master)
    assert process.returncode == 0
    text = seen.decode()
    short = digest(packed.data)[7:19]
    assert re.search(rf"{short}: Downloading \[=*> *\] +[0-9.]+[kM]B/2.1MB", text)
    assert f"{short}: Pull complete" in text
    shown = [re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", line) for line in text.split("\r\n")]
    assert shown[-2:] == [name, ""]
    assert shown[-3] == f"Status: Downloaded newer image for {name}"
    assert max(map(len, "\r".join(shown).split("\r"))) <= 80


def test_all_tags(fresh: Engine, fresh_cli: Cli, registry: Registry) -> None:
    for tag in ("1", "2", "three"):
        registry.put_image("pull/tags", tag, [gzipped(layer("a", tag.encode()))])
    name = f"{registry.host}/pull/tags"
    assert fresh_cli("pull", "--all-tags", name).stdout.decode().splitlines()[-1] == name
    assert {tag for image in fresh.images.list() for tag in image.tags} == {
        f"{name}:1",
        f"{name}:2",
        f"{name}:three",
    }
    with pytest.raises(pycontain.InvalidOption, match="is one image"):
        fresh.images.pull_all(f"{name}:1")


def test_run_fetches_an_image_that_is_not_here(
    fresh: Engine, fresh_cli: Cli, registry: Registry, busybox_layer: bytes
) -> None:
    registry.put_image("pull/run", "1", [gzipped(busybox_layer)])
    name = f"{registry.host}/pull/run:1"
    assert fresh_cli.run("--pull", "never", name, "echo", "hi").returncode == 125
    first = fresh_cli.run(name, "echo", "hi")
    assert (first.returncode, first.stdout) == (0, b"hi\n"), first.stderr
    assert first.stderr.decode().startswith(f"Unable to find image '{name}' locally\n")
    assert f"Downloaded newer image for {name}" in first.stderr.decode()
    second = fresh_cli.run(name, "echo", "hi")
    assert (second.stdout, second.stderr) == (b"hi\n", b"")
    assert fresh_cli("rmi", name).returncode == 0
    quiet = fresh_cli.run("--quiet", name, "echo", "hi")
    assert (quiet.stdout, quiet.stderr) == (b"hi\n", b"")
    registry.put_image("pull/run", "1", [gzipped(busybox_layer), gzipped(layer("new"))])
    always = fresh_cli.run("--pull", "always", name, "cat", "/new")
    assert always.stdout == b"hello\n"
    with Interposed(registry.host) as server:
        assert fresh.run(f"{server.host}/pull/run:1", "cat /new").stdout == b"hello\n"
        with pytest.raises(pycontain.ImageNotFound):
            fresh.run(f"{server.host}/pull/run:2", "true", pull="never")
        assert not server.asked(".*manifests/2")


def test_image_host_is_in_no_registry(fresh: Engine) -> None:
    with pytest.raises(pycontain.InvalidOption, match="this machine's own"):
        fresh.images.pull("host")


def test_manifest_inspect_shows_what_the_registry_has(fresh_cli: Cli, registry: Registry) -> None:
    packed = gzipped(layer())
    found = registry.put_image("pull/inspect", "1", [packed])
    shown = json.loads(fresh_cli("manifest", "inspect", f"{registry.host}/pull/inspect:1").stdout)
    assert shown == json.loads(registry.manifest("pull/inspect", "1")[1])
    (verbose,) = [
        json.loads(fresh_cli("manifest", "inspect", "-v", f"{registry.host}/pull/inspect:1").stdout)
    ]
    assert verbose["Descriptor"]["digest"] == found
    assert verbose["Descriptor"]["platform"] == {"architecture": ARCHITECTURE, "os": "linux"}


def test_search_finds_names_in_the_catalogue(fresh_cli: Cli, registry: Registry) -> None:
    for name in ("search/apple", "search/pear"):
        registry.put_image(name, "1", [gzipped(layer())])
    listed = fresh_cli("search", f"{registry.host}/search/a", "--format", "{{.Name}}").stdout.decode()
    assert listed.splitlines() == [f"{registry.host}/search/apple"]
    header, row = fresh_cli("search", f"{registry.host}/pear").stdout.decode().splitlines()
    assert header.split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert row.split() == [f"{registry.host}/search/pear", "0"]
    limited = fresh_cli("search", "--limit", "1", f"{registry.host}/search/").stdout.decode()
    assert len(limited.splitlines()) == 2


def test_what_is_not_compressed_well_costs_no_memory_worth_telling(
    fresh: Engine, registry: Registry, tmp_path: Path
) -> None:
    """A layer of 100 MB goes through a process that holds 120 MB at most."""
    big = tar({f"f{number}": os.urandom(1 << 20) * 10 for number in range(10)})
    registry.put_image("pull/big", "1", [gzipped(big)])
    script = (
        "import sys, resource; from pycontain import Engine\n"
        "with Engine(sys.argv[1]) as engine:\n"
        "    engine.images.pull(sys.argv[2])\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    peak = next(int(line.split()[1]) for line in lines if line.startswith('VmHWM'))\n"
        "print(peak + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "elsewhere"), f"{registry.host}/pull/big:1"]
    done = subprocess.run(arguments, capture_output=True, check=True)
    assert int(done.stdout) < 120 << 10


def test_manifest_list_of_docker(fresh: Engine, registry: Registry) -> None:
    manifest, kind = registry.put_parts("pull/list", [gzipped(layer(), docker=True)], docker=True)
    registry.put_manifest("pull/list", digest(manifest), manifest, kind)
    member = descriptor(manifest, kind, platform={"os": "linux", "architecture": ARCHITECTURE})
    listed = f"{DOCKER}.distribution.manifest.list.v2+json"
    index = {"schemaVersion": 2, "mediaType": listed, "manifests": [member]}
    registry.put_manifest("pull/list", "1", json.dumps(index).encode(), listed)
    assert fresh.images.pull(f"{registry.host}/pull/list:1").layers == (digest(layer()),)
