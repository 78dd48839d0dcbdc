"""Images that run: a Debian, archives of docker's and OCI's form, tars, the machine's own programs."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import image_archives
import pycontain
import pytest
import root_filesystems
from pycontain.images.blobs import MOST_LAYERS

if TYPE_CHECKING:
    from containers import Cli
    from leftovers import Watch
    from pycontain import Engine


def test_debian_runs(cli: Cli, engine: Engine, debian: str, nothing_left: Watch) -> None:
    script = "id -u; dpkg --version | head -n 1; cat /etc/debian_version; ls -d /var/lib/dpkg/info"
    by_cli = cli.run(debian, "bash", "-c", script)
    by_python = engine.run(debian, ["bash", "-c", script])
    assert by_cli.stdout == by_python.stdout
    assert (by_cli.returncode, by_cli.stderr, by_python.stderr) == (0, b"", b"")
    user, dpkg, version, directory = by_cli.stdout.decode().splitlines()
    assert (user, directory) == ("0", "/var/lib/dpkg/info")
    assert dpkg.startswith("Debian 'dpkg' package management program version 1.21")
    assert version.startswith("12.")


def test_debian_packages_can_be_configured(engine: Engine, debian: str) -> None:
    script = "dpkg --configure -a && dpkg --verify base-files && dpkg-query -W -f '${Status}\\n' bash"
    run = engine.run(debian, ["sh", "-c", script])
    assert run.stdout == b"install ok installed\n"


def test_debian_files_have_their_owners_and_modes(engine: Engine, debian: str) -> None:
    script = "stat -c '%a %U:%G %n' /usr/bin/passwd /etc/shadow /tmp /var/mail /usr/bin/chage /root"
    run = engine.run(debian, ["sh", "-c", script], text=True)
    assert str(run.stdout).splitlines() == [
        "4755 root:root /usr/bin/passwd",
        "640 root:shadow /etc/shadow",
        "1777 root:root /tmp",
        "2775 root:mail /var/mail",
        "2755 root:shadow /usr/bin/chage",
        "700 root:root /root",
    ]


def test_debian_can_be_written_to(engine: Engine, debian: str) -> None:
    script = (
        "useradd -m someone && su someone -c 'touch ~/file && id -un' && stat -c %U /home/someone/file"
        " && mv /etc/debian_version /etc/moved && rm -r /usr/share/doc && ! test -e /usr/share/doc"
    )
    assert engine.run(debian, ["bash", "-c", script]).stdout == b"someone\nsomeone\n"
    assert engine.run(debian, ["test", "-d", "/usr/share/doc"]).returncode == 0


def test_archive_of_docker_save_by_skopeo(
    cli: Cli, engine: Engine, docker_archive: Path, nothing_left: Watch
) -> None:
    loaded = cli("load", "-i", docker_archive)
    assert loaded.stdout == b"Loaded image: shop/saved:1.0\n", loaded
    assert cli.run("shop/saved:1.0").stdout == b"archive\n"
    assert engine.run("shop/saved:1.0").stdout == b"archive\n"
    assert engine.run("shop/saved:1.0", "pwd").stdout == b"/var/tmp\n"


def test_oci_archive_by_skopeo(cli: Cli, engine: Engine, docker_archive: Path, tmp_path: Path) -> None:
    archive = tmp_path / "oci.tar"
    root_filesystems.by_skopeo(f"docker-archive:{docker_archive}", f"oci-archive:{archive}:shop/oci:2")
    with open(archive, "rb") as stdin:
        command = [str(cli.program), "load", "-q"]
        done = subprocess.run(command, stdin=stdin, capture_output=True, env=cli.environment, check=False)
    assert done.returncode == 0, done
    assert engine.run("shop/oci:2", ["cat", "/home/worker/owned"]).stdout == b"by worker\n"


def test_oci_layout_directory(cli: Cli, engine: Engine, busybox_layer: bytes, tmp_path: Path) -> None:
    upper = image_archives.tar(
        {"etc/motd": b"from the second layer\n", "bin/.wh.yes": b"", "etc/.wh.group": b""}
    )
    layout = root_filesystems.oci_layout(tmp_path / "layout", [busybox_layer, upper], "shop/layout:3")
    assert cli("load", "-i", layout).returncode == 0
    script = "cat /etc/motd; ls /bin/yes /etc/group /bin/no 2>/dev/null; ls /bin/ls"
    assert engine.run("shop/layout:3", ["sh", "-c", script]).stdout == b"from the second layer\n/bin/ls\n"


def test_tar_in_every_compression_is_imported(
    cli: Cli, engine: Engine, busybox_layer: bytes, tmp_path: Path
) -> None:
    forms = {"tar": busybox_layer, "tar.gz": gzip.compress(busybox_layer, 1)}
    if shutil.which("zstd"):
        packed = subprocess.run(["zstd", "-q", "-c"], input=busybox_layer, capture_output=True, check=True)
        forms["tar.zst"] = packed.stdout
    for form, data in forms.items():
        (tmp_path / f"rootfs.{form}").write_bytes(data)
        name = f"imported:{form}"
        assert cli("import", tmp_path / f"rootfs.{form}", name).returncode == 0
        assert engine.run(name, ["/bin/echo", form]).stdout == form.encode() + b"\n"
    assert cli("import", "-c", "CMD id -u", "-", "imported:stdin", input=busybox_layer).returncode == 0
    assert engine.run("imported:stdin").stdout == b"0\n"


def test_truncated_archive_is_refused_and_leaves_nothing(
    cli: Cli, docker_archive: Path, nothing_left: Watch
) -> None:
    data = docker_archive.read_bytes()
    for length in (0, 100, len(data) // 2):
        run = cli("load", input=data[:length])
        assert run.returncode != 0
        assert run.stderr.startswith(b"pycontain: ")
        assert b"Traceback" not in run.stderr


def test_files_on_disk_keep_canonical_owners(engine: Engine, engine_root: str, busybox: str) -> None:
    engine.run(busybox, "true")
    (owned,) = Path(engine_root).glob("layers/*/**/home/worker/owned")
    assert owned.stat().st_uid in {1000, 0}


def test_host_image_has_programs_and_no_secrets(cli: Cli, engine: Engine) -> None:
    directories = "/root /home /var/lib /var/log /etc/ssh"
    script = f"ls -A {directories} /etc/shadow /etc/gshadow /etc/sudoers 2>/dev/null | grep -v :"
    run = engine.run("host", ["sh", "-c", script], check=False)
    assert run.stdout.strip() == b""
    assert cli.run("host", "sh", "-c", "test -x /usr/bin/env && echo programs").stdout == b"programs\n"


def test_host_image_cannot_change_the_machine(engine: Engine, tmp_path: Path) -> None:
    assert engine.run("host", ["sh", "-c", "echo x > /usr/bin/new && cat /usr/bin/new"]).stdout == b"x\n"
    assert not Path("/usr/bin/new").exists()
    engine.run("host", ["rm", "/usr/bin/env"])
    assert Path("/usr/bin/env").exists()


@pytest.mark.parametrize("name", ["UPPER", "a//b", "a b", "-x"])
def test_reference_that_is_none_is_refused(cli: Cli, name: str) -> None:
    run = cli("run", "--rm", "--", name, "true")
    assert run.returncode == 125
    assert b"Traceback" not in run.stderr


def test_image_of_as_many_layers_as_overlayfs_takes_runs(busybox_layer: bytes) -> None:
    upper = [image_archives.layer(f"layer{number}") for number in range(MOST_LAYERS)]
    # of a short path: all of those of the layers go to the launcher in one message
    with tempfile.TemporaryDirectory(dir="/tmp") as root, pycontain.Engine(root) as engine:
        files = image_archives.docker_files([busybox_layer, *upper[1:]], "many")
        engine.images.load(io.BytesIO(image_archives.tar(files)))
        names = str(engine.run("many", ["ls", "/"], text=True).stdout).split()
        assert sum(name.startswith("layer") for name in names) == MOST_LAYERS - 1
        files = image_archives.docker_files([busybox_layer, *upper], "more")
        with pytest.raises(pycontain.ImageInvalid, match=f"{MOST_LAYERS + 1} layers"):
            engine.images.load(io.BytesIO(image_archives.tar(files)))
