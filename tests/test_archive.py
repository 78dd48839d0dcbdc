"""Archives of images: those that docker, skopeo and umoci write, and those that lie."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_archives import (
    OCI,
    blob,
    configuration,
    descriptor,
    digest,
    docker_files,
    layer,
    nothing_left,
    oci_files,
    oci_image,
    oci_manifest,
    tar,
)
from pycontain.errors import ImageInvalid, ImageNotFound, StoreError, Unsupported
from pycontain.images import archive, entries
from pycontain.images.archive import load
from pycontain.images.importing import import_file_system

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pycontain.images.store import Store
    from pycontain.paths import Paths

MANIFEST = f"{OCI}.manifest.v1+json"
INDEX = f"{OCI}.index.v1+json"


def load_files(store: Store, files: dict[str, bytes]) -> list[Any]:
    return load(store, io.BytesIO(tar(files)))


def test_docker_archive_gives_its_images_with_their_names(store: Store, paths: Paths) -> None:
    layers = [layer("low"), layer("top")]
    (image,) = load_files(store, docker_files(layers, "hello:1", "registry.example:5000/a/b:c"))
    assert image.tags == ("hello:1", "registry.example:5000/a/b:c")
    assert image.diff_ids == tuple(digest(one) for one in layers)
    assert os.path.isfile(image.layers[0] + "/top")
    assert os.path.isfile(image.layers[1] + "/low")
    assert os.listdir(paths.staging) == []


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_archive_may_be_compressed_as_a_whole(
    store: Store, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(compress(tar(docker_files([layer()], "hello"))))
    (image,) = load(store, path)
    assert image.tags == ("hello:latest",)


def test_archive_may_come_through_a_pipe(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(tar(docker_files([tar({"big": bytes(3_000_000)})], "hello")))
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
        assert cat.stdout
        (image,) = load(store, cat.stdout)
    assert os.path.getsize(image.layers[0] + "/big") == 3_000_000


def test_layer_may_be_a_link_to_another_entry(store: Store) -> None:
    data = layer()
    files = docker_files([data, data], "hello")
    names = json.loads(files["manifest.json"])[0]["Layers"]
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if name == names[1]:
                member.type, member.linkname = tarfile.SYMTYPE, "../" + names[0]
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    target.seek(0)
    (image,) = load(store, target)
    assert image.diff_ids == (digest(data), digest(data))
    assert len(image.layers) == 1


def test_oci_archive_and_directory_give_the_same_image(store: Store, tmp_path: Path) -> None:
    files = oci_image([layer()], "registry.example/hello:1")
    (image,) = load(store, written(tmp_path / "layout", files))
    assert image.tags == ("registry.example/hello:1",)
    assert load_files(store, files) == [image]


def test_oci_archive_may_name_the_digest_that_its_manifest_has(store: Store) -> None:
    files = oci_image([layer()])
    (listed,) = json.loads(files["index.json"])["manifests"]
    name = f"registry.example/hello@{listed['digest']}"
    listed["annotations"] = {"io.containerd.image.name": name}
    (image,) = load_files(store, edited(files, "index.json", manifests=[listed]))
    assert image.digests == (name,)


def test_mere_tag_in_an_oci_archive_names_nothing(store: Store) -> None:
    (image,) = load_files(store, oci_image([layer()], "latest"))
    assert image.tags == ()


def test_archive_of_both_layouts_takes_names_from_docker(store: Store) -> None:
    config = configuration([layer()])
    both = oci_image([layer()], "wrong:1") | blob(config) | blob(layer())
    manifest = [
        {
            "Config": f"blobs/sha256/{digest(config)[7:]}",
            "RepoTags": ["right:1"],
            "Layers": [f"blobs/sha256/{digest(layer())[7:]}"],
            "LayerSources": {digest(layer()): descriptor(layer(), f"{OCI}.layer.v1.tar")},
        }
    ]
    (image,) = load_files(store, both | {"manifest.json": json.dumps(manifest).encode()})
    assert image.tags == ("right:1",)


def test_nested_index_gives_the_image_for_this_machine(store: Store) -> None:
    here, blobs = oci_manifest([layer("here")])
    there, more = oci_manifest([layer("there")], architecture="s390x")
    attestation = {"os": "unknown", "architecture": "unknown"}
    inner = json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [
                descriptor(there, MANIFEST, platform={"os": "linux", "architecture": "s390x"}),
                descriptor(b"{}", MANIFEST, platform=attestation),
                descriptor(here, MANIFEST),
            ],
        }
    ).encode()
    annotations = {"io.containerd.image.name": "docker.io/library/hello:1"}
    files = oci_files([descriptor(inner, INDEX, annotations=annotations)], {**blobs, **more, **blob(inner)})
    (image,) = load_files(store, files)
    assert image.tags == ("hello:1",)
    assert os.path.isfile(image.layers[0] + "/here")


def test_archive_for_other_machines_only_is_refused_with_their_names(store: Store, paths: Paths) -> None:
    manifest, blobs = oci_manifest([layer()], architecture="s390x")
    platform = {"os": "linux", "architecture": "s390x"}
    with pytest.raises(Unsupported, match="linux/s390x") as refused:
        load_files(store, oci_files([descriptor(manifest, MANIFEST, platform=platform)], blobs))
    assert refused.value.hint
    assert nothing_left(paths)


def test_layer_compressed_by_zstd(store: Store) -> None:
    if not shutil.which("zstd"):
        pytest.skip("zstd is not installed")
    packed = subprocess.run(["zstd", "-c"], input=layer(), stdout=subprocess.PIPE, check=True).stdout
    config = configuration([layer()])
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": descriptor(config, f"{OCI}.config.v1+json"),
            "layers": [descriptor(packed, f"{OCI}.layer.v1.tar+zstd")],
        }
    ).encode()
    blobs = {**blob(config), **blob(packed), **blob(manifest)}
    (image,) = load_files(store, oci_files([descriptor(manifest, MANIFEST)], blobs))
    assert os.path.isfile(image.layers[0] + "/hello")


def whiteout_layers() -> list[bytes]:
    return [tar({"a": b"1", "b": b"2"}), tar({".wh.a": b""})]


@pytest.mark.root
def test_whiteout_in_a_layer_becomes_what_overlayfs_understands(store: Store) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: device nodes")
    (image,) = load_files(store, docker_files(whiteout_layers(), "hello"))
    assert os.lstat(image.layers[0] + "/a").st_rdev == 0
    assert os.path.isfile(image.layers[1] + "/a")


def replaced(files: dict[str, bytes], ending: str, change: Callable[[bytes], bytes]) -> dict[str, bytes]:
    (name,) = [name for name in files if name.endswith(ending)]
    return {**files, name: change(files[name])}


def edited(files: dict[str, bytes], ending: str, **members: Any) -> dict[str, bytes]:
    def change(data: bytes) -> bytes:
        document = json.loads(data)
        (document[0] if isinstance(document, list) else document).update(members)
        return json.dumps(document).encode()

    return replaced(files, ending, change)


DOCKER = docker_files([layer()], "hello")
CONFIG = next(name for name in DOCKER if name.endswith(".json") and name != "manifest.json")


def oci_of_manifest(**members: Any) -> dict[str, bytes]:
    manifest, blobs = oci_manifest([layer()])
    changed = json.dumps(json.loads(manifest) | members).encode()
    return oci_files([descriptor(changed, members.get("mediaType", MANIFEST))], blobs | blob(changed))


def oci_with_layer_type(media_type: str) -> dict[str, bytes]:
    return oci_image([layer()], layer_type=media_type)


def deep_index() -> dict[str, bytes]:
    manifest, blobs = oci_manifest([layer()])
    inner = descriptor(manifest, MANIFEST)
    for _ in range(12):
        index = json.dumps({"schemaVersion": 2, "manifests": [inner]}).encode()
        blobs |= blob(index)
        inner = descriptor(index, INDEX)
    return oci_files([inner], blobs)


def wrong_size() -> dict[str, bytes]:
    manifest, blobs = oci_manifest([layer()])
    return oci_files([{**descriptor(manifest, MANIFEST), "size": len(manifest) + 1}], blobs)


def wrong_blob(start: bytes) -> dict[str, bytes]:
    files = oci_image([layer()])
    (name,) = [name for name, data in files.items() if data.startswith(start)]
    data = bytearray(files[name])
    data[-1] ^= 1
    return {**files, name: bytes(data)}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "not a tar|manifest.json"),
        ({"etc/passwd": b"root"}, "neither `manifest.json` nor `index.json`"),
        ({"manifest.json": b"[]"}, "no image"),
        ({"manifest.json": b"{"}, "`manifest.json` is not valid"),
        ({"manifest.json": b"[[" * 100_000}, "`manifest.json` is not valid"),
        ({"manifest.json": b'[{"Config": 1}]'}, r"\$\[0\].Config"),
        ({"manifest.json": DOCKER["manifest.json"]}, f"`{CONFIG}` is missing"),
        (replaced(DOCKER, "layer.tar", lambda _: layer("other")), "diff id"),
        (replaced(DOCKER, "layer.tar", lambda data: data[:600]), "layer.tar"),
        (replaced(DOCKER, CONFIG, lambda data: data + b" "), "not what its name says"),
        (edited(DOCKER, "manifest.json", Layers=[]), "1 diff ids for 0 layers"),
        (edited(DOCKER, "manifest.json", Layers=["../../etc/passwd"]), "`../../etc/passwd` is missing"),
        (edited(DOCKER, "manifest.json", RepoTags=["UPPER"]), "must be lowercase"),
        (edited(DOCKER, "manifest.json", RepoTags=[f"pinned@{digest(b'other')}"]), "by its registry"),
        (oci_image([layer()], f"pinned:1@{digest(b'other')}"), "by its registry"),
        (edited(DOCKER, "manifest.json", RepoTags=["sha256:" + "0" * 64]), "digest algorithm as name"),
        (edited(DOCKER, "manifest.json", RepoTags=["docker.io/library/host:latest"]), "this machine's own"),
        (docker_files([layer()], rootfs={"type": "layers", "diff_ids": ["../../x"]}), "not a sha256 digest"),
        (docker_files([layer()], rootfs={"type": "tree"}), "not `layers`"),
        (docker_files([layer()], config={"Env": "A=1"}), "Env"),
        (docker_files([layer()], config={"Healthcheck": {"Test": "x"}}), "Test"),
        ({**oci_image([layer()]), "oci-layout": b'{"imageLayoutVersion": "2.0.0"}'}, "version 2.0.0"),
        (oci_files([], {}), "no image"),
        (oci_files([{"digest": "sha256:../..", "size": 1}], {}), "not a sha256 digest"),
        (oci_files([{"digest": "sha256:" + "0" * 64, "size": -1}], {}), "negative"),
        (oci_files([{"digest": "sha256:" + "0" * 64, "size": 1}], {}), "is missing"),
        (
            oci_files([descriptor(b"{}", "application/vnd.docker.distribution.manifest.v1+json")], {}),
            "schema 1",
        ),
        (oci_files([descriptor(b'{"schemaVersion":1}', "")], blob(b'{"schemaVersion":1}')), "schema 1"),
        (oci_files([descriptor(b"{}", "text/plain")], {}), "text/plain"),
        (wrong_size(), "bytes, not"),
        (wrong_blob(b'{"schemaVersion": 2, "mediaType"'), "not what its name says"),
        (wrong_blob(b'{"architecture"'), "not what its name says"),
        (wrong_blob(b"\x1f\x8b"), "blobs/sha256/"),
        (oci_of_manifest(layers=[]), "1 diff ids for 0 layers"),
        (
            oci_of_manifest(config=descriptor(b"{}", "application/vnd.oci.empty.v1+json")),
            "no container image",
        ),
        (oci_with_layer_type(f"{OCI}.layer.nondistributable.v1.tar+gzip"), "elsewhere"),
        (oci_with_layer_type("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), "elsewhere"),
        (oci_with_layer_type("application/x-squashfs"), "x-squashfs"),
        (deep_index(), "nested too deeply"),
    ],
)
def test_archive_that_lies_is_refused_with_the_reason_and_leaves_nothing(
    store: Store, paths: Paths, files: dict[str, bytes], reason: str
) -> None:
    with pytest.raises(ImageInvalid, match=reason):
        load_files(store, files)
    assert nothing_left(paths)
    assert store.list() == []


def test_second_image_that_is_invalid_takes_the_first_along(store: Store, paths: Paths) -> None:
    good, bad = docker_files([layer("good")], "good"), docker_files([layer("bad")], "bad")
    bad = {name.replace("0000/", "0001/"): data for name, data in bad.items()}
    bad = edited(bad, "manifest.json", Layers=[next(name for name in bad if name.endswith("layer.tar"))])
    bad = replaced(bad, "layer.tar", lambda _: layer("other"))
    manifest = json.loads(good["manifest.json"]) + json.loads(bad["manifest.json"])
    with pytest.raises(ImageInvalid, match="diff id"):
        load_files(store, {**good, **bad, "manifest.json": json.dumps(manifest).encode()})
    assert nothing_left(paths)
    assert store.list() == []


def test_links_in_a_circle_are_refused(store: Store) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, other in (("manifest.json", "x"), ("x", "manifest.json")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, other
            archive.addfile(member)
    target.seek(0)
    with pytest.raises(ImageInvalid, match="leads to itself"):
        load(store, target)


def negative(member: tarfile.TarInfo) -> bytes:
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12  # base 256: -1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("type", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, b"S"])
def test_header_with_a_negative_size_is_refused(store: Store, type: bytes) -> None:
    member = tarfile.TarInfo("x")
    member.type = type
    start = tar({"first": b"1"})[:1024]
    with pytest.raises(ImageInvalid):
        load(store, io.BytesIO(start + negative(member) + bytes(2048)))


WHOLE = tar(docker_files([layer()], "hello"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255), st.booleans())
def test_damaged_archive_is_loaded_right_or_refused(
    store: Store, paths: Paths, at: int, byte: int, cut: bool
) -> None:
    damaged = WHOLE[:at] if cut else WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    try:
        images = load(store, io.BytesIO(damaged))
    except (ImageInvalid, Unsupported):
        pass
    else:
        for image in images:
            assert image.diff_ids == (digest(layer()),)
            store.remove(image.id, force=True)
    assert nothing_left(paths)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_truncated_compression_is_refused(
    store: Store, paths: Paths, compress: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(ImageInvalid, match=r"truncated|damaged"):
        load(store, io.BytesIO(compress(WHOLE)[:-20]))
    assert nothing_left(paths)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_archive_that_decompresses_to_too_much_is_refused(
    store: Store, paths: Paths, monkeypatch: pytest.MonkeyPatch, compress: Callable[[bytes], bytes]
) -> None:
    files = {**docker_files([layer()], "hello"), "zeros": bytes(8 << 20)}
    packed = compress(tar(files))
    assert load_compressed(store, packed) == ["hello:latest"]  # the floor lets so little pass
    monkeypatch.setattr(entries, "_EXPANSION_FLOOR", 1 << 20)
    monkeypatch.setattr(entries, "_EXPANSION", 50)
    with pytest.raises(ImageInvalid, match=f"more than {max(50 * len(packed), 1 << 20)} bytes"):
        load_compressed(store, packed)
    monkeypatch.setattr(entries, "_MOST_BYTES", len(packed) - 1)
    with pytest.raises(ImageInvalid, match=f"more than {len(packed) - 1} bytes"):
        load_compressed(store, packed)
    assert os.listdir(paths.staging) == []


def load_compressed(store: Store, packed: bytes) -> list[str]:
    return [tag for image in load(store, io.BytesIO(packed)) for tag in image.tags]


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_what_does_not_begin_like_an_archive_is_not_read_on(
    store: Store, compress: Callable[[bytes], bytes]
) -> None:
    source = io.BytesIO(compress(os.urandom(8 << 20)))
    with pytest.raises(ImageInvalid, match="not a tar"):
        load(store, source)
    assert compress is not bytes or source.tell() < 1 << 20
    with pytest.raises(ImageInvalid, match="has neither"):
        load(store, "/dev/zero")


def test_what_cannot_be_read_is_refused_with_the_reason(store: Store) -> None:
    with pytest.raises(ImageInvalid, match="cannot read the archive: input/output error"):
        load(store, "/proc/self/mem")
    with pytest.raises(ImageInvalid, match="cannot read the archive"), open("/proc/self/mem", "rb") as memory:
        import_file_system(store, memory)


@pytest.mark.root
def test_disk_that_is_too_full_for_the_archive_is_named(store: Store, paths: Paths) -> None:
    os.mkdir(paths.root)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", paths.root], check=True)
    try:
        with pytest.raises(StoreError, match=r"cannot spool the archive in .*: no space left on device"):
            load_files(store, docker_files([layer("a", os.urandom(3 << 20))]))
        assert nothing_left(paths)
    finally:
        store.close()
        subprocess.run(["umount", paths.root], check=True)


def test_archive_of_too_many_entries_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "_MOST_ENTRIES", 2)
    with pytest.raises(ImageInvalid, match="more than 2 entries"):
        load_files(store, DOCKER)


def test_archive_of_too_many_names_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_MOST_NAMES", 2)
    files = docker_files([layer()], "a", "b", "c")
    with pytest.raises(ImageInvalid, match="more than 2 names"):
        load_files(store, files)
    (image,) = load_files(store, edited(files, "manifest.json", RepoTags=["a", "b"]))
    assert image.tags == ("a:latest", "b:latest")


def written(directory: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


def test_directory_in_dockers_layout_may_have_links_within(store: Store, tmp_path: Path) -> None:
    layout = written(tmp_path / "layout", DOCKER)
    (layout / CONFIG).rename(layout / "other")
    (layout / CONFIG).symlink_to("other")
    assert load(store, layout)[0].tags == ("hello:latest",)


@pytest.mark.parametrize("member", ["Config", "Layers"])
@pytest.mark.parametrize("way", ["parent", "absolute", "link", "nul"])
def test_nothing_outside_a_directory_is_read(store: Store, tmp_path: Path, member: str, way: str) -> None:
    listed = json.loads(DOCKER["manifest.json"])[0]
    entry = listed["Config"] if member == "Config" else listed["Layers"][0]
    name = {"parent": "../outside", "absolute": str(tmp_path / "outside"), "link": "a/link", "nul": "a\0"}[
        way
    ]
    files = edited(DOCKER, "manifest.json", **{member: name if member == "Config" else [name]})
    layout = written(tmp_path / "layout", files)
    (tmp_path / "outside").write_bytes(files[entry])
    (layout / "a").mkdir()
    (layout / "a" / "link").symlink_to("../../outside")
    with pytest.raises(ImageInvalid, match="is missing in"):
        load(store, layout)


def test_missing_file_is_not_found(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound):
        load(store, tmp_path / "missing")


@pytest.fixture
def skopeo() -> Callable[..., None]:
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")

    def run(*arguments: str) -> None:
        subprocess.run(["skopeo", "--insecure-policy", *arguments], check=True, stdout=subprocess.DEVNULL)

    return run


@pytest.mark.parametrize("form", ["docker-archive:{}:hello:1", "oci-archive:{}:hello:1", "oci:{}:hello:1"])
def test_what_skopeo_writes_is_the_same_image(
    store: Store, tmp_path: Path, skopeo: Callable[..., None], form: str
) -> None:
    layout = written(tmp_path / "layout", oci_image([layer("low"), layer("top")]))
    (original,) = load(store, layout)
    skopeo("copy", f"oci:{layout}", form.format(tmp_path / "copy"))
    (copied,) = load(store, tmp_path / "copy")
    # docker's format has a configuration of its own making, of the same layers
    assert copied.layers == original.layers
    assert copied.config == original.config
    assert copied.tags == ("hello:1",)


def test_what_umoci_builds_is_loaded(store: Store, tmp_path: Path) -> None:
    if not shutil.which("umoci"):
        pytest.skip("umoci is not installed")
    layout = tmp_path / "layout"
    image = f"{layout}:new"
    bundle = tmp_path / "bundle"

    def umoci(*arguments: str) -> None:
        subprocess.run(["umoci", *arguments], check=True, cwd=tmp_path)

    umoci("init", "--layout", str(layout))
    umoci("new", "--image", image)
    umoci("unpack", "--rootless", "--image", image, str(bundle))
    (bundle / "rootfs" / "srv").mkdir()
    (bundle / "rootfs" / "srv" / "file").write_text("from umoci")
    umoci("repack", "--image", image, str(bundle))
    umoci("config", "--image", image, "--config.cmd", "cat", "--config.env", "A=1")
    (loaded,) = load(store, layout)
    assert loaded.config.cmd == ("cat",)
    with open(loaded.layers[0] + "/srv/file") as file:
        assert file.read() == "from umoci"
