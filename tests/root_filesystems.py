"""Images for tests: busybox from the machine's own static one, Debian by mmdebstrap, archives by skopeo."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import image_archives
import pytest

DIRECTORIES = {
    "bin": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "sys": 0o555,
}
STICKY = {"tmp": 0o1777, "var": 0o755, "var/tmp": 0o1777}
PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
worker:x:1000:1000:worker:/home/worker:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
"""
GROUP = "root:x:0:\ndaemon:x:1:\nstaff:x:50:worker\nworker:x:1000:\nnogroup:x:65534:\n"


def busybox_program() -> str:
    """The machine's busybox, which must be static: it runs in a root file system without libraries."""
    program = shutil.which("busybox", path="/bin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("no busybox on this machine (Debian's package busybox-static)")
    if b"ld-linux" in Path(program).read_bytes()[:4096]:
        pytest.skip(f"`{program}` is not static (Debian's package busybox-static)")
    return program


def entry(name: str, mode: int, kind: bytes = tarfile.DIRTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode = kind, mode
    return member


def add_file(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644, owner: int = 0) -> None:
    member = entry(name, mode, tarfile.REGTYPE)
    member.size, member.uid, member.gid = len(data), owner, owner
    archive.addfile(member, io.BytesIO(data))


def busybox_layer(program: str) -> bytes:
    """A small root file system; the applets are hard links."""
    applets = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split()
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, mode in (DIRECTORIES | STICKY).items():
            archive.addfile(entry(name, mode))
        add_file(archive, "bin/busybox", Path(program).read_bytes(), 0o755)
        for applet in sorted({*applets} - {"busybox"}):
            link = entry(f"bin/{applet}", 0o755, tarfile.LNKTYPE)
            link.linkname = "bin/busybox"
            archive.addfile(link)
        add_file(archive, "etc/passwd", PASSWD.encode())
        add_file(archive, "etc/group", GROUP.encode())
        archive.addfile(entry("home/worker", 0o755))
        add_file(archive, "home/worker/owned", b"by worker\n", owner=1000)
    return target.getvalue()


def with_file(layer: bytes, name: str, data: bytes) -> bytes:
    """The layer with one file more."""
    target = io.BytesIO(layer)
    with tarfile.open(fileobj=target, mode="a") as archive:
        add_file(archive, name, data)
    return target.getvalue()


def debian_tar(*packages: str) -> Path:
    """A minimal Debian 12 with these packages, made once and kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pycontain-tests"
    kept = cache / f"{'-'.join(('debian-bookworm-minbase', *packages))}.tar"
    if kept.exists():
        return kept
    if shutil.which("mmdebstrap") is None:
        pytest.skip("no mmdebstrap on this machine")
    cache.mkdir(parents=True, exist_ok=True)
    making = cache / f"making-{os.getpid()}.tar"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", *(f"--include={name}" for name in packages)]
    command += ["bookworm", str(making)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            pytest.skip(
                f"mmdebstrap makes no Debian here: {(done.stderr.strip() or 'no word').splitlines()[-1]}"
            )
        making.rename(kept)
    except subprocess.TimeoutExpired:
        pytest.skip("mmdebstrap did not make a Debian within five minutes")
    finally:
        making.unlink(missing_ok=True)
    return kept


def oci_layout(directory: Path, layers: list[bytes], name: str, **more: object) -> Path:
    """An image as an OCI layout in a directory."""
    for path, data in image_archives.oci_image(layers, name, **more).items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return directory


def by_skopeo(source: str, target: str) -> None:
    """Copy an image from one form of archive to another."""
    if shutil.which("skopeo") is None:
        pytest.skip("no skopeo on this machine")
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", source, target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
