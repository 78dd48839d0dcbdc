"""`save`: archives that others read, that are the same each time, and that are whole or not there."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import containers
import pytest
import root_filesystems
from image_archives import digest, docker_files, layer, oci_image, oci_manifest, tar
from pycontain import Engine, ImageNotFound, InvalidOption, StoreError, Unsupported

if TYPE_CHECKING:
    from pathlib import Path

    from pycontain.images import Image


@pytest.fixture
def own(default_engine: Engine) -> Engine:
    """That of the command line, too."""
    return default_engine


def add(engine: Engine, files: dict[str, bytes]) -> Image:
    (image,) = engine.images.load(io.BytesIO(tar(files)))
    return image


def saved(engine: Engine, *names: str) -> dict[str, bytes]:
    """The entries of an archive, in their order."""
    target = io.BytesIO()
    engine.images.save(names, target)
    target.seek(0)
    with tarfile.open(fileobj=target) as archive:
        members = archive.getmembers()
        return {
            member.name: file.read() if (file := archive.extractfile(member)) else b"" for member in members
        }


def document(entries: dict[str, bytes], name: str) -> Any:
    return json.loads(entries[name])


def test_archive_is_dockers_and_an_oci_layout(own: Engine) -> None:
    image = add(own, docker_files([layer("a"), layer("b")], "hello:1", "registry.lan/a/b:c"))
    entries = saved(own, "hello:1")
    assert list(entries) == sorted(entries)
    (listed,) = document(entries, "manifest.json")
    assert listed["RepoTags"] == ["hello:1"]
    assert listed["Config"] == f"blobs/sha256/{image.id[7:]}"
    assert [entries[name] for name in listed["Layers"]] == [layer("a"), layer("b")]
    (descriptor,) = document(entries, "index.json")["manifests"]
    assert descriptor["annotations"] == {
        "io.containerd.image.name": "docker.io/library/hello:1",
        "org.opencontainers.image.ref.name": "1",
    }
    manifest = document(entries, "blobs/sha256/" + descriptor["digest"][7:])
    assert manifest["config"]["digest"] == image.id
    assert [one["digest"] for one in manifest["layers"]] == [digest(layer("a")), digest(layer("b"))]
    assert document(entries, "oci-layout") == {"imageLayoutVersion": "1.0.0"}
    assert document(entries, "repositories") == {"hello": {"1": digest(layer("b"))[7:]}}
    for name, content in entries.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(content).hexdigest() == name.removeprefix("blobs/sha256/")


def test_layers_and_the_manifest_are_as_they_came(own: Engine) -> None:
    manifest, blobs = oci_manifest([layer("a"), layer("b")])
    add(own, oci_image([layer("a"), layer("b")], "hello:1"))
    entries = saved(own, "hello:1")
    (descriptor,) = document(entries, "index.json")["manifests"]
    assert descriptor["digest"] == digest(manifest)
    assert blobs.items() <= entries.items()


def test_the_same_images_give_the_same_bytes(own: Engine, tmp_path: Path) -> None:
    add(own, docker_files([layer("a")], "one:1", "one:2"))
    add(own, docker_files([layer("a"), layer("b")], "two:1"))
    first, second = io.BytesIO(), io.BytesIO()
    own.images.save(["one:1", "two:1"], first)
    time.sleep(1.1)  # a time in it would differ
    own.images.save(["two:1", "one:1"], second)
    assert first.getvalue() == second.getvalue()
    own.images.save(["two:1", "one:1"], tmp_path / "file.tar")
    assert (tmp_path / "file.tar").read_bytes() == first.getvalue()
    with tarfile.open(tmp_path / "file.tar") as archive:
        assert {(one.mtime, one.uid, one.gid, one.uname) for one in archive} == {(0, 0, 0, "")}


def test_what_is_saved_loads_again(own: Engine, tmp_path: Path) -> None:
    one = add(own, docker_files([layer("a")], "one:1", "one:2"))
    two = add(own, oci_image([layer("a"), layer("b")], "two:1"))
    own.images.save(["one", "two:1"], tmp_path / "saved.tar")
    with Engine(tmp_path / "other") as other:
        loaded = other.images.load(tmp_path / "saved.tar")
        assert {image.id: image.tags for image in loaded} == {one.id: ("one:1", "one:2"), two.id: ("two:1",)}
        target = io.BytesIO()
        other.images.save(["one", "two:1"], target)
        assert len(target.getvalue()) == (tmp_path / "saved.tar").stat().st_size


def test_several_images_share_their_layers(own: Engine) -> None:
    for name in ("one:1", "two:1"):
        add(own, docker_files([layer("shared"), layer(name)], name))
    entries = saved(own, "one:1", "two:1", "one:1")
    assert sum(content == layer("shared") for content in entries.values()) == 1
    assert len(document(entries, "manifest.json")) == 2


def test_repository_stands_for_its_tags_and_an_id_for_no_name(own: Engine) -> None:
    image = add(own, docker_files([layer("a")], "hello:1", "hello:2", "other:1"))
    (listed,) = document(saved(own, "hello"), "manifest.json")
    assert listed["RepoTags"] == ["hello:1", "hello:2"]
    for name in (image.id, image.id[7:19]):
        entries = saved(own, name)
        assert document(entries, "manifest.json")[0]["RepoTags"] is None
        assert "annotations" not in document(entries, "index.json")["manifests"][0]
        assert "repositories" not in entries
    assert document(saved(own, "other", image.id), "manifest.json")[0]["RepoTags"] == ["other:1"]


def test_what_is_not_here_is_refused_before_anything_is_written(own: Engine, tmp_path: Path) -> None:
    add(own, docker_files([layer("a")], "hello:1"))
    for names, error in (
        (["hello:1", "nosuch"], ImageNotFound),
        ([], InvalidOption),
        (["host"], ImageNotFound),
    ):
        with pytest.raises(error):
            own.images.save(names, tmp_path / "saved.tar")
    with pytest.raises(Unsupported, match="linux/s390x"):
        own.images.save("hello:1", tmp_path / "saved.tar", platform="linux/s390x")
    with pytest.raises(ImageNotFound, match="no such directory"):
        own.images.save("hello:1", tmp_path / "nosuch" / "saved.tar")
    assert os.listdir(tmp_path) == ["root"]


def test_archive_is_whole_or_not_there(own: Engine, tmp_path: Path) -> None:
    add(own, docker_files([layer("a")], "hello:1"))
    target = tmp_path / "saved.tar"
    target.write_bytes(b"before")
    blob = f"{own._paths.blobs}/{digest(layer('a'))[7:]}"
    os.truncate(blob, 100)
    with pytest.raises(StoreError, match="has 100 bytes"):
        own.images.save("hello:1", target)
    os.unlink(blob)
    with pytest.raises(StoreError, match=r"cannot read .*: no such file"):
        own.images.save("hello:1", target)
    assert target.read_bytes() == b"before"
    assert sorted(os.listdir(tmp_path)) == ["root", "saved.tar"]


def test_full_disk_is_told(own: Engine) -> None:
    add(own, docker_files([layer("a")], "hello:1"))
    with pytest.raises(StoreError, match="`/dev/full`: no space left on device"):
        own.images.save("hello:1", "/dev/full")


def test_command_writes_to_a_pipe_and_not_to_a_terminal(own: Engine, tmp_path: Path) -> None:
    add(own, docker_files([layer("a", b"a" * 300_000)], "hello:1"))
    expected = io.BytesIO()
    own.images.save("hello:1", expected)
    command = [str(containers.installed()), "save", "hello:1"]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout == expected.getvalue()
    subprocess.run([*command, "-o", str(tmp_path / "saved.tar")], check=True)
    assert (tmp_path / "saved.tar").read_bytes() == expected.getvalue()
    with (tmp_path / "appended.tar").open("ab") as file:
        subprocess.run(command, stdout=file, check=True)
    assert (tmp_path / "appended.tar").read_bytes() == expected.getvalue()
    controller, terminal = pty.openpty()
    refused = subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, text=True, check=False)
    os.close(controller)
    os.close(terminal)
    assert refused.returncode == 1
    assert "refusing to save to a terminal" in refused.stderr


def test_image_that_is_removed_meanwhile_is_saved_whole(own: Engine) -> None:
    content = layer("a", os.urandom(3_000_000))
    image = add(own, docker_files([content], "hello:1"))
    reading, writing = os.pipe()
    with open(reading, "rb") as source, ThreadPoolExecutor(1) as pool:

        def save() -> None:
            with open(writing, "wb") as target:
                own.images.save("hello:1", target)

        saving = pool.submit(save)
        beginning = source.read(1000)  # the rest does not fit into the pipe
        assert image.id in own.images.remove("hello:1").deleted
        archive = beginning + source.read()
        saving.result()
    assert own.images.load(io.BytesIO(archive)) == (image,)
    assert os.listdir(own._paths.layers) == [digest(content)[7:]]


def test_killed_save_leaves_nothing(own: Engine, tmp_path: Path) -> None:
    add(own, docker_files([layer("a", os.urandom(30_000_000))], "hello:1"))
    directory = tmp_path / "target"
    directory.mkdir()
    command = [str(containers.installed()), "save", "hello:1", "-o", str(directory / "saved.tar")]
    statuses = set()
    for turn in range(12):
        process = subprocess.Popen(command)
        time.sleep(0.03 + turn * 0.02)
        process.kill()
        statuses.add(process.wait())
        assert os.listdir(directory) in ([], ["saved.tar"])
        if os.listdir(directory):
            with tarfile.open(directory / "saved.tar") as archive:
                assert "manifest.json" in archive.getnames()
            os.unlink(directory / "saved.tar")
    assert -signal.SIGKILL in statuses
    subprocess.run(command, check=True)


def test_skopeo_reads_it_as_dockers_and_as_the_ocis(own: Engine, tmp_path: Path) -> None:
    manifest, blobs = oci_manifest([layer("a"), layer("b")])
    image = add(own, oci_image([layer("a"), layer("b")], "hello:1"))
    own.images.save("hello:1", tmp_path / "saved.tar")
    root_filesystems.by_skopeo(f"docker-archive:{tmp_path}/saved.tar", f"dir:{tmp_path}/docker")
    converted = json.loads((tmp_path / "docker/manifest.json").read_bytes())
    assert converted["config"]["digest"] == image.id
    root_filesystems.by_skopeo(f"oci-archive:{tmp_path}/saved.tar:1", f"dir:{tmp_path}/oci")
    assert (tmp_path / "oci/manifest.json").read_bytes() == manifest
    for name, content in blobs.items():
        copied = tmp_path / "oci" / name.removeprefix("blobs/sha256/")
        assert not copied.exists() or copied.read_bytes() == content


@pytest.mark.root
def test_podman_loads_it(
    own: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if shutil.which("podman") is None:
        pytest.skip("no podman on this machine")
    settings = tmp_path / "containers.conf"
    settings.write_text("[containers]\ndefault_ulimits = []\n")
    monkeypatch.setenv("CONTAINERS_CONF", str(settings))
    image = add(own, oci_image([layer("a"), layer("b")], "hello:1"))
    own.images.save("hello:1", tmp_path / "saved.tar")
    run = tempfile.mkdtemp()  # podman takes no long path for it
    request.addfinalizer(lambda: shutil.rmtree(run))
    podman = [
        "podman",
        "--root",
        f"{tmp_path}/podman",
        "--runroot",
        run,
        "--storage-driver",
        "vfs",
    ]
    loaded = subprocess.run(
        [*podman, "load", "-i", tmp_path / "saved.tar"], check=False, capture_output=True, text=True
    )
    assert loaded.returncode == 0, loaded.stderr
    command = [*podman, "images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert listed.split() == [image.id, "docker.io/library/hello:1"]


@pytest.mark.root
def test_docker_loads_it(own: Engine, tmp_path: Path, docker: list[str]) -> None:
    plain = add(own, docker_files([layer("p")], "plain:1"))
    packed = add(own, oci_image([layer("a"), layer("b")], "packed:1"))
    own.images.save(["plain:1", "packed:1"], tmp_path / "saved.tar")
    loaded = subprocess.run(
        [*docker, "load", "-i", tmp_path / "saved.tar"], capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    command = [*docker, "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert set(listed.splitlines()) >= {f"plain:1 {plain.id}", f"packed:1 {packed.id}"}
    again = subprocess.run([*docker, "save", "packed:1"], check=True, capture_output=True).stdout
    (image,) = own.images.load(io.BytesIO(again))
    assert image.id == packed.id
