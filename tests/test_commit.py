"""`diff` and `commit`: what a container wrote, as a list, and as a layer."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING

import containers
import pytest
import root_filesystems
from image_archives import descriptor, digest, oci_files
from pycontain.errors import (
    ContainerNotFound,
    ImageNotFound,
    InvalidOption,
    NameInUse,
    StoreError,
    Unsupported,
)
from shops import CHANGES, Shop, contents

if TYPE_CHECKING:
    from pathlib import Path

    from pycontain.containers import Container


pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)


def test_diff_is_what_docker_prints(shop: Shop) -> None:
    shop.run("changed", "echo x > /etc/x; rm /bin/vi; echo y >> /etc/passwd; mkdir /srv; touch /srv/file")
    lines = shop.cli("diff", "changed").stdout.decode().splitlines()
    assert lines == [
        "C /bin",
        "D /bin/vi",
        "C /etc",
        "C /etc/passwd",
        "A /etc/x",
        "A /srv",
        "A /srv/file",
    ]
    assert [
        f"{change.kind} {change.path}" for change in shop.engine.containers.get("changed").diff()
    ] == lines


def test_container_that_changed_nothing_has_no_diff(shop: Shop) -> None:
    assert shop.run("idle", "cat /etc/hosts > /dev/null").diff() == ()


def test_names_that_are_no_text_are_shown(shop: Shop) -> None:
    shop.run("odd", r"touch $(printf '/root/\377')")
    assert b"A /root/\xff\n" in shop.cli("diff", "odd").stdout


def test_committed_image_has_what_the_container_had(shop: Shop) -> None:
    shop.run("made", CHANGES)
    done = shop.cli("commit", "made", "made:1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == shop.engine.images.get("made:1").id
    script = (
        "ls /bin/vi 2>/dev/null; ls /home/worker; cat /etc/new; tail -n 1 /etc/passwd; readlink /etc/symlink;"
        "stat -c '%i %h' /etc/new /home/linked | uniq | wc -l; stat -c '%a %u %g' /root/program;"
        "test -p /root/fifo && cat /root/n*/n*/n*"
    )
    seen = shop.engine.run("made:1", ["sh", "-c", script], text=True).stdout
    assert str(seen).splitlines() == ["other", "new", "more", "new", "1", "4755 1000 50", "deep"]


def test_file_with_a_large_hole_is_committed_and_stays_one(shop: Shop) -> None:
    # from a registry, a layer that expands so much is taken for a bomb
    image = shop.run("holes", "truncate -s 1100M /hole; echo end >> /hole").commit()
    seen = shop.engine.run(
        image.id, ["sh", "-c", "stat -c %s /hole; du -m /hole; tail -c 4 /hole"], text=True
    )
    assert str(seen.stdout).split() == [str((1100 << 20) + 4), "1", "/hole", "end"]


def test_layer_has_whiteouts_and_nothing_of_overlayfs(shop: Shop) -> None:
    image = shop.run("whiteouts", CHANGES).commit()
    with shop.layer(image) as archive:
        members = {member.name: member for member in archive}
    assert "bin/.wh.vi" in members
    assert "home/worker/.wh..wh..opq" in members
    assert members["home/linked"].linkname == "etc/new"
    assert not {"proc", "dev", "sys", "etc/hosts"} & members.keys()
    assert not [key for member in members.values() for key in member.pax_headers if "overlay" in key]


@pytest.mark.root
def test_attributes_and_capabilities_set_inside_are_kept(shop: Shop) -> None:
    shop.engine.images.import_(root_filesystems.debian_tar(), "debian")
    script = r"""
    touch /capable /noted
    set_xattr() { perl -e 'my ($f, $n, $v) = (@ARGV[0, 1], eval $ARGV[2]);
        syscall(188, $f, $n, $v, length $v, 0) == 0 or die "$!"' "$@"; }
    set_xattr /capable security.capability 'pack("V5", 0x02000001, 1 << 10, 0, 0, 0)'
    set_xattr /noted user.note '"a=b\n\0"'
    """
    image = shop.run("attributes", script, "debian").commit("attributes")
    with shop.layer(image) as archive:
        headers = {member.name: member.pax_headers for member in archive}
    capability = headers["capable"]["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape")
    assert capability == b"\x01\0\0\x02\0\x04" + bytes(14)  # version 2: for the root of any namespace
    assert headers["noted"]["SCHILY.xattr.user.note"] == "a=b\n\0"
    read = (
        'perl -e \'my ($f, $n, $v) = ("/capable", "security.capability", "\\0" x 64);'
        ' my $l = syscall(191, $f, $n, $v, 64); print "$l ", unpack("x4 V", $v)\''
    )
    assert str(shop.engine.run("attributes", ["sh", "-c", read], text=True).stdout).split()[1] == "1024"


def test_commit_describes_itself(shop: Shop) -> None:
    shop.run("described", "echo 1 > /etc/one")
    done = shop.cli(
        "commit", "-a", "Ann <ann@example.org>", "-m", "a message", "--change", "ENV B=2", "-c", "CMD env",
        "described", "registry.example/shop/described:2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    image = shop.engine.images.get("registry.example/shop/described:2")
    assert image.id == done.stdout.decode().strip()
    below = shop.engine.images.get("busybox")
    assert image.layers[:-1] == below.layers
    assert (image.config.env, image.config.cmd) == (("A=1", "B=2"), ("/bin/sh", "-c", "env"))
    assert image.history[:-1] == below.history
    assert image.history[-1].comment == "a message"
    assert image.history[-1].created_by == "sh -c 'set -e\necho 1 > /etc/one'"
    document = json.loads(shop.stored(image).configuration(image.id))
    assert document["author"] == document["history"][-1]["author"] == "Ann <ann@example.org>"


def test_same_files_make_the_same_image(shop: Shop) -> None:
    container = shop.run("again", CHANGES)
    epoch = {"SOURCE_DATE_EPOCH": "1500000000"}
    first, second = (shop.cli("commit", "again", f"again:{n}", env=epoch).stdout for n in (1, 2))
    assert first == second
    image = shop.engine.images.get("again:1")
    assert image.created == "2017-07-14T02:40:00Z"
    with shop.layer(image) as archive:
        assert max(member.mtime for member in archive) == 1_500_000_000
    assert container.commit().id != image.id
    for wrong in ("yesterday", "-1", "253402300800", "9" * 100):
        refused = shop.cli("commit", "again", env={"SOURCE_DATE_EPOCH": wrong})
        assert refused.returncode == 1
        assert b"is not a number of seconds" in refused.stderr


@pytest.mark.limits
def test_running_container_stands_still_meanwhile(shop: Shop) -> None:
    # two files that are written in turn: at any one moment the first is equal, or one ahead
    script = "n=0; while true; do n=$((n+1)); echo $n > /root/a.new; mv /root/a.new /root/a;"
    script += " echo $n > /root/z.new; mv /root/z.new /root/z; done"
    process = subprocess.Popen(
        [shop.cli.program, "run", "--name", "busy", "busybox", "sh", "-c", script], env=shop.cli.environment
    )
    try:
        container = wait_for_changes(shop, "busy")
        for _ in range(3):
            image = container.commit()
            with shop.layer(image) as archive:
                first, second = (int(contents(archive, f"root/{name}")) for name in "az")
            assert first - second in {0, 1}
        unpaused = shop.cli("commit", "--pause=false", "busy")
        assert unpaused.returncode == 0, unpaused.stderr
        assert goes_on(container)
        until_some_moment = containers.moments(20261128, lambda: shop.cli("commit", "busy"))
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGHUP):
            committing = subprocess.Popen([shop.cli.program, "commit", "busy"], env=shop.cli.environment)
            until_some_moment()
            committing.send_signal(number)
            committing.wait()
            assert goes_on(container)
    finally:
        process.terminate()
        process.wait(containers.seconds(30))


def goes_on(container: Container) -> bool:
    before = counted(container)
    deadline = time.monotonic() + containers.seconds(30)
    while (now := counted(container)) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    return now > before


def wait_for_changes(shop: Shop, name: str) -> Container:
    deadline = time.monotonic() + containers.seconds(30)
    while time.monotonic() < deadline:
        try:
            container = shop.engine.containers.get(name)
            if "/root/z" in {change.path for change in container.diff()}:
                return container
        except (ContainerNotFound, StoreError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"container `{name}` wrote nothing")


def counted(container: Container) -> int:
    archive = io.BytesIO()
    container.export(archive)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as opened:
        return int(contents(opened, "root/a"))


def test_container_that_cannot_be_paused_is_committed_only_as_it_runs(shop: Shop) -> None:
    process = subprocess.Popen(
        [shop.cli.program, "run", "--name", "free", "busybox", "sh", "-c", "echo 1 > /root/z; sleep 60"],
        env=shop.cli.environment,
    )
    try:
        container = wait_for_changes(shop, "free")
        state = f"{shop.engine._paths.containers}/{container.id}/state.json"
        with open(state) as file:
            written = json.load(file)
        del written["pid"]  # as a pycontain wrote it that did not record this
        with open(state, "w") as file:
            json.dump(written, file)
        refused = shop.cli("commit", "free")
        assert (refused.returncode, refused.stdout) == (1, b"")
        assert b"cannot pause container `free`" in refused.stderr
        assert b"hint: commit it as it runs" in refused.stderr
        assert shop.cli("commit", "--pause=false", "free").returncode == 0
        container.remove(force=True)
    finally:
        process.terminate()
        process.wait(containers.seconds(30))


def test_containers_are_found_by_name_id_and_beginning_of_an_id(shop: Shop) -> None:
    container = shop.run("found", "true")
    for name in ("found", container.id, container.id[:12]):
        assert shop.engine.containers.get(name) == container
    assert container.name == "found"
    for name in ("missing", "0" * 64, "../found", ""):
        with pytest.raises(ContainerNotFound, match="no such container"):
            shop.engine.containers.get(name)
    ids = [container.id, *(shop.run(f"found-{n}", "true").id for n in range(17))]
    twice = next(id[0] for id in ids if [other[0] for other in ids].count(id[0]) > 1)
    with pytest.raises(InvalidOption, match="several"):
        shop.engine.containers.get(twice)


def test_file_named_like_a_whiteout_is_refused(shop: Shop) -> None:
    container = shop.run("reserved", "touch /root/.wh.file")
    with pytest.raises(Unsupported, match=r"`root/\.wh\.file` cannot be in a layer"):
        container.commit("reserved")
    assert os.listdir(shop.engine._paths.staging) == []
    assert "reserved:latest" not in {tag for image in shop.engine.images.list() for tag in image.tags}


@pytest.mark.parametrize("name", ["host", "host:latest", "sha256:1", "UPPER", "x@sha256:" + "0" * 64])
def test_name_that_is_none_is_refused(shop: Shop, name: str) -> None:
    container = shop.run(f"unnamed-{len(name)}", "true")
    with pytest.raises(InvalidOption):
        container.commit(name)


def test_image_of_a_container_stays(shop: Shop) -> None:
    container = shop.run("kept", "echo 1 > /etc/one")
    image = container.commit("kept:1")
    shop.run("upon", "cat /etc/one", "kept:1")
    again = shop.cli("rmi", "kept:1")
    assert again.returncode == 1
    assert b"in use" in again.stderr
    assert shop.engine.images.get(image.id).tags == ("kept:1",)
    with pytest.raises(NameInUse):
        shop.engine.run_foreground("busybox", ["true"], name="kept")


@pytest.mark.root
@pytest.mark.skipif(shutil.which("umoci") is None, reason="no umoci on this machine")
def test_umoci_unpacks_the_same_files(shop: Shop, tmp_path: Path) -> None:
    container = shop.run("umoci", CHANGES)
    image = container.commit("umoci:1")
    store = shop.stored(image)
    blobs = {}
    layers = []
    for layer in store.layers(image.id):
        assert layer.blob
        with open(layer.blob.path, "rb") as file:
            data = file.read()
        layers.append(descriptor(data, layer.blob.media_type))
        blobs[f"blobs/sha256/{layer.blob.digest[7:]}"] = data
    configuration = store.configuration(image.id)
    config_type = "application/vnd.oci.image.config.v1+json"
    manifest = json.dumps(
        {"schemaVersion": 2, "config": descriptor(configuration, config_type), "layers": layers}
    ).encode()
    blobs |= {f"blobs/sha256/{digest(data)[7:]}": data for data in (configuration, manifest)}
    annotations = {"org.opencontainers.image.ref.name": "1"}
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    files = oci_files([descriptor(manifest, manifest_type, annotations=annotations)], blobs)
    for name, data in files.items():
        (tmp_path / "layout" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "layout" / name).write_bytes(data)
    subprocess.run(
        ["umoci", "unpack", "--image", f"{tmp_path}/layout:1", tmp_path / "bundle"], check=True, timeout=120
    )
    shop.engine.images.import_(archive_of(container, tmp_path / "exported.tar"), "exported")
    exported = tmp_path / "exported"
    exported.mkdir()
    subprocess.run(["tar", "-xpf", tmp_path / "exported.tar", "-C", exported], check=True)
    assert look(tmp_path / "bundle" / "rootfs") == look(exported)


def archive_of(container: Container, path: Path) -> Path:
    container.export(path)
    return path


def look(root: Path) -> dict[str, tuple[object, ...]]:
    """What can be seen of each file; what the container's mounts hide is not compared."""
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for directory, names, files in os.walk(root):
        for name in sorted(names + files):
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, root)
            if relative in {"etc/hosts", "etc/hostname", "etc/resolv.conf"}:
                continue
            status = os.lstat(path)
            content: object = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    content = digest(file.read())
            same = (
                first.setdefault(status.st_ino, relative) if status.st_nlink > 1 and name in files else None
            )
            found[relative] = (status.st_mode, status.st_uid, status.st_gid, content, same)
    return found


def test_layer_is_one_member_of_gzip(shop: Shop) -> None:
    image = shop.run("large", "dd if=/dev/zero of=/root/zeros bs=1M count=3 2> /dev/null").commit()
    blob = shop.stored(image).layers(image.id)[-1].blob
    assert blob
    with open(blob.path, "rb") as file:
        data = file.read()
    assert digest(gzip.decompress(data)) == image.layers[-1]
    assert data.count(b"\x1f\x8b\x08\0\0\0\0\0\0\xff") == 1


def test_killed_commit_leaves_nothing_that_the_next_does_not_collect(shop: Shop) -> None:
    shop.run("killed", "mkdir /srv; cd /srv; for n in $(seq 400); do head -c 5000 /bin/ls > $n; done")
    paths = shop.engine._paths
    until_some_moment = containers.moments(20261125, lambda: shop.cli("commit", "killed", "killed:0"))
    before = kept_files(shop)
    killed = 0
    for number in range(12):
        process = subprocess.Popen(
            [shop.cli.program, "commit", "killed", "killed:1"],
            env=shop.cli.environment | {"SOURCE_DATE_EPOCH": str(number)},  # another layer each time
            stdout=subprocess.PIPE,
        )
        until_some_moment()
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        with contextlib.suppress(ImageNotFound):
            shop.engine.images.remove("killed:1")
        store = shop.stored(shop.engine.images.get("killed:0"))
        deadline = time.monotonic() + containers.seconds(30)
        while os.listdir(paths.staging) and time.monotonic() < deadline:
            store.collect()  # what its launcher was writing is not garbage before that has ended
            time.sleep(0.01)
        assert os.listdir(paths.staging) == []
        assert kept_files(shop) == before
    assert killed
    assert shop.cli("commit", "killed", "killed:1").returncode == 0


def kept_files(shop: Shop) -> set[str]:
    paths = shop.engine._paths
    return {*os.listdir(paths.layers), *os.listdir(paths.blobs)}
