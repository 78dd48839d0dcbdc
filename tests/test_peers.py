"""The same `config.json`, run by another runtime: what both define must look the same from inside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from containers import fields, mounts, seconds

if TYPE_CHECKING:
    from containers import Cli

pytestmark = [pytest.mark.root, pytest.mark.limits]
HIERARCHIES = ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids")
# crun refuses v1 and v2 together: it gets v1 alone, in a mount namespace of its own
V1_ALONE = f"""
mount -t tmpfs cgroups /sys/fs/cgroup
for name in {" ".join(HIERARCHIES)}; do
    mkdir /sys/fs/cgroup/$name && mount -t cgroup -o $name $name /sys/fs/cgroup/$name
done
mkdir /sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd systemd /sys/fs/cgroup/systemd
exec "$@"
"""
MASKED = "/proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/acpi /proc/scsi /sys/firmware"
SECTIONS = {
    "status": "cat /proc/self/status",
    "mounts": "cat /proc/self/mountinfo",
    "devices": "for f in /dev/*; do stat -c '%n %F %a %t:%T' $f; done",
    "masked": f"for f in {MASKED}; do echo $f $(cat $f 2>&1 | wc -c) $(ls $f 2>&1 | wc -l); done",
    "limits": "cat /proc/self/limits",
    "identity": "id -u; id -g; hostname; pwd; umask; cat /proc/self/oom_score_adj",
    "environment": "tr '\\0' '\\n' < /proc/self/environ | sort",
    "loopback": "cat /sys/class/net/lo/flags",
    "descriptors": "ls /proc/self/fd | wc -l",
}
SCRIPT = "; ".join(f"echo '=== {name}'; {command}" for name, command in SECTIONS.items())
STATUS = (
    "Uid",
    "Gid",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "SigBlk",
)
MOUNTS = (
    "/dev",
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/proc",
    "/sys",
    "/proc/sys",
    "/proc/bus",
    "/proc/irq",
)
STRICTER = {"nosuid", "nodev", "noexec"}
KERNELS_DEFAULT = {"relatime"}


def sections(out: str) -> dict[str, str]:
    parts = [part.partition("\n") for part in out.split("=== ")[1:]]
    return {name: text for name, _, text in parts}


@pytest.fixture(scope="module")
def document(cli: Cli, engine_root: str, busybox: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Our `config.json`, and what a container of it looks like from inside."""
    words = [
        "--name",
        "compared",
        "--userns",
        "host",
        "--security-opt",
        "seccomp=unconfined",
        "-h",
        "compared",
    ]
    run = cli("run", *words, "--ulimit", "nofile=1000:2000", busybox, "sh", "-c", SCRIPT)
    assert run.returncode == 0, run.stderr
    directory = (Path(engine_root) / "names" / "compared").resolve()
    config = json.loads((directory / "config.json").read_text())
    shutil.rmtree(directory)
    (Path(engine_root) / "names" / "compared").unlink()
    return config, sections(run.stdout.decode())


@pytest.fixture(scope="module")
def bundle(
    document: tuple[dict[str, Any], dict[str, str]],
    busybox_layer: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """That document without what is ours alone, and a root file system beside it."""
    config = json.loads(json.dumps(document[0]))
    directory = tmp_path_factory.mktemp("bundle")
    (directory / "rootfs").mkdir()
    with tarfile.open(fileobj=BytesIO(busybox_layer)) as archive:
        archive.extractall(directory / "rootfs", filter="fully_trusted")
    config["root"] = {"path": "rootfs"}
    config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/"]
    del config["annotations"]
    config["ociVersion"] = "1.0.2"
    spaces = config["linux"]["namespaces"]
    config["linux"]["namespaces"] = [space for space in spaces if space["type"] != "time"]
    config["linux"]["cgroupsPath"] = f"/pycontain-peer-{os.getpid()}"
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture(scope="module", params=["runc", "crun"])
def theirs(
    request: pytest.FixtureRequest, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The same as another runtime makes it."""
    program = shutil.which(request.param, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if program is None:
        pytest.skip(f"no {request.param} on this machine")
    state = tmp_path_factory.mktemp(request.param)
    command = [program, "--root", str(state), "run", "--bundle", str(bundle), f"peer-{os.getpid()}"]
    if request.param == "crun" and Path("/sys/fs/cgroup/unified").is_dir():
        command = ["unshare", "--mount", "sh", "-e", "-c", V1_ALONE, "sh", *command]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds(60))
    for name in (*HIERARCHIES, "systemd", "unified", "."):
        leftover = Path("/sys/fs/cgroup") / name / f"pycontain-peer-{os.getpid()}"
        if leftover.is_dir():
            leftover.rmdir()
    assert run.returncode == 0, run.stderr
    return sections(run.stdout)


@pytest.fixture
def ours(document: tuple[dict[str, Any], dict[str, str]]) -> dict[str, str]:
    return document[1]


def test_status_is_the_same(ours: dict[str, str], theirs: dict[str, str]) -> None:
    mine, other = fields(ours["status"]), fields(theirs["status"])
    assert {name: mine[name].split() for name in STATUS} == {name: other[name].split() for name in STATUS}


def test_mounts_have_the_same_types_and_options(ours: dict[str, str], theirs: dict[str, str]) -> None:
    mine, other = mounts(ours["mounts"]), mounts(theirs["mounts"])
    for target in MOUNTS:
        assert mine[target].type == other[target].type, target
        # ours may be stricter: crun's read-only paths forget what was so before
        assert other[target].options <= mine[target].options | KERNELS_DEFAULT, target
        assert mine[target].options <= other[target].options | STRICTER | KERNELS_DEFAULT, target


def test_devices_are_the_same(ours: dict[str, str], theirs: dict[str, str]) -> None:
    # runc makes the link only where the host has a /proc/kcore
    mine, other = (
        {line for line in one["devices"].splitlines() if not line.startswith("/dev/core ")}
        for one in (ours, theirs)
    )
    assert mine == other


def test_masked_paths_are_the_same(ours: dict[str, str], theirs: dict[str, str]) -> None:
    assert ours["masked"] == theirs["masked"]


def test_limits_of_processes_are_the_same(ours: dict[str, str], theirs: dict[str, str]) -> None:
    assert ours["limits"] == theirs["limits"]


def test_identity_is_the_same(ours: dict[str, str], theirs: dict[str, str]) -> None:
    assert ours["identity"] == theirs["identity"]


def test_environment_is_the_same(ours: dict[str, str], theirs: dict[str, str]) -> None:
    assert ours["environment"] == theirs["environment"]


def test_loopback_is_as_up(ours: dict[str, str], theirs: dict[str, str]) -> None:
    assert ours["loopback"] == theirs["loopback"]
    assert ours["descriptors"] == theirs["descriptors"]
