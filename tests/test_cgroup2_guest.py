"""What the other tests take for granted in the virtual machine of tests/vm: asked of the guest itself."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    "PYCONTAIN_TEST_VM" not in os.environ, reason="not in the virtual machine of tests/vm"
)
CONTROLLERS = {"cpu", "cpuset", "io", "memory", "pids"}
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user")


def own_cgroup() -> Path:
    (line,) = Path("/proc/self/cgroup").read_text().splitlines()
    return Path("/sys/fs/cgroup") / line.removeprefix("0::/")


def file_system_type(path: Path) -> str:
    return subprocess.run(
        ["stat", "-fc", "%T", path], check=True, capture_output=True, text=True
    ).stdout.strip()


def unshare(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "--user", "--mount", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.cgroup2
def test_cgroup2_is_the_only_hierarchy() -> None:
    assert file_system_type(Path("/sys/fs/cgroup")) == "cgroup2fs"
    assert own_cgroup() == Path("/sys/fs/cgroup/session/command")


@pytest.mark.cgroup2
def test_own_cgroup_and_its_siblings_have_all_controllers() -> None:
    assert set((own_cgroup() / "cgroup.controllers").read_text().split()) >= CONTROLLERS
    assert set((own_cgroup().parent / "cgroup.subtree_control").read_text().split()) >= CONTROLLERS


@pytest.mark.cgroup2
def test_process_in_a_sibling_cgroup_is_limited_and_killed() -> None:
    cgroup = own_cgroup().parent / f"test-{os.getpid()}"
    cgroup.mkdir()
    try:
        (cgroup / "memory.max").write_text("64M")
        (cgroup / "pids.max").write_text("8")
        sleep = subprocess.Popen(["sleep", "infinity"])
        (cgroup / "cgroup.procs").write_text(str(sleep.pid))
        assert (cgroup / "pids.current").read_text() == "1\n"
        (cgroup / "cgroup.kill").write_text("1")
        assert sleep.wait() == -9
    finally:
        cgroup.rmdir()


@pytest.mark.cgroup2
def test_storage_lies_on_the_scratch_disk_and_not_on_an_overlay() -> None:
    storage = Path("/var/lib/pycontain") if os.geteuid() == 0 else Path.home()
    assert file_system_type(storage) == "ext2/ext3"
    assert file_system_type(Path(os.environ["TMPDIR"])) == "ext2/ext3"
    assert os.access(storage, os.W_OK)


@pytest.mark.rootless
@as_user
def test_limits_of_the_delegated_cgroup_are_not_the_users() -> None:
    with pytest.raises(PermissionError):
        (own_cgroup() / "memory.max").write_text("max")


@pytest.mark.rootless
@as_user
def test_user_can_map_subordinate_ids() -> None:
    name = pwd.getpwuid(os.getuid()).pw_name
    counts = [
        int(line.split(":")[2])
        for line in Path("/etc/subuid").read_text().splitlines()
        if line.startswith(f"{name}:")
    ]
    assert max(counts) >= 65536
    mapped = unshare("--map-auto", "--map-root-user", "cat", "/proc/self/uid_map")
    assert mapped.returncode == 0, mapped.stderr
    assert [int(word) for word in mapped.stdout.split()[:3]] == [0, os.getuid(), 1]
    assert len(mapped.stdout.splitlines()) == 2


@pytest.mark.rootless
@as_user
def test_user_can_mount_an_overlay_on_the_scratch_disk(tmp_path: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower/file").touch()
    options = f"userxattr,lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    script = f"mount -t overlay -o {options} overlay {tmp_path}/merged && rm {tmp_path}/merged/file"
    done = unshare("--map-root-user", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "upper/file").is_char_device()  # a whiteout


@pytest.mark.rootless
@as_user
def test_user_can_make_every_namespace_and_a_veth_pair() -> None:
    script = "ip link add first type veth peer name second && ip link set lo up"
    done = unshare(
        "--net",
        "--ipc",
        "--uts",
        "--pid",
        "--fork",
        "--cgroup",
        "--time",
        "--map-root-user",
        "sh",
        "-c",
        script,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.rootless
@as_user
def test_user_reaches_the_checkout_but_cannot_read_roots_files() -> None:
    assert Path(__file__).is_file()
    with pytest.raises(PermissionError):
        Path("/etc/shadow").read_text()
