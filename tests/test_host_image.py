"""The image `host`: the machine's programs, and none of its secrets."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pycontain
import pytest
from pycontain.images import host, staging
from pycontain.images.host import host_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain import Engine
    from pycontain.paths import Paths


def entries(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    for path, directories, files in os.walk(directory):
        for name in (*directories, *files):
            yield os.path.join(path, name), os.lstat(os.path.join(path, name))


def skeleton(paths: Paths) -> str:
    (lower,) = host_image(paths).root.lower
    return lower


def content(paths: Paths, name: str) -> str:
    with open(f"{skeleton(paths)}/{name}") as file:
        return file.read()


def test_programs_are_the_machines_own(paths: Paths) -> None:
    image = host_image(paths)
    assert ("/usr", "/usr") in image.root.overlays
    for name in ("bin", "sbin", "lib", "lib64"):
        made = f"{image.root.lower[0]}/{name}"
        if os.path.islink(f"/{name}"):
            assert os.readlink(made) == os.readlink(f"/{name}")
        elif os.path.isdir(f"/{name}"):
            assert os.listdir(made) == []
            assert (f"/{name}", f"/{name}") in image.root.overlays
    assert image.config.cmd in {("bash",), ("sh",)}
    assert any(entry.startswith("PATH=/usr/local/sbin:") for entry in image.config.env)
    assert os.path.exists("/bin/" + image.config.cmd[0])


def test_directories_have_the_modes_that_programs_expect(paths: Paths) -> None:
    root = skeleton(paths)
    modes = {"": 0o755, "tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700, "etc": 0o755, "usr": 0o755}
    for name, mode in modes.items():
        assert stat.S_IMODE(os.stat(f"{root}/{name}").st_mode) == mode, name
    for name in ("usr", "home", "opt", "run", "proc", "sys", "dev", "mnt", "var/lib", "var/log", "var/cache"):
        assert os.listdir(f"{root}/{name}") == []
    assert os.readlink(f"{root}/var/run") == "/run"


def test_accounts_are_the_systems_without_people_and_passwords(paths: Paths) -> None:
    users = [line.split(":") for line in content(paths, "etc/passwd").splitlines()]
    assert users[0][0] == "root"
    assert all(int(uid) < 1000 or name == "nobody" for name, _, uid, *_ in users)
    assert {password for _, password, *_ in users} == {"x"}
    names = {user[0] for user in users}
    for line in content(paths, "etc/group").splitlines():
        name, password, gid, members = line.split(":")
        assert password == "x"
        assert int(gid) < 1000 or name in {"nogroup", "nobody"}
        assert set(filter(None, members.split(","))) <= names


def test_nothing_secret_is_in_etc(paths: Paths) -> None:
    root = skeleton(paths)
    for path, found in entries(root + "/etc"):
        name = path.removeprefix(root)
        if stat.S_ISREG(found.st_mode):
            with open(path, "rb") as file:
                assert b"PRIVATE KEY" not in file.read(), name
            assert found.st_mode & 0o7022 == 0, name
            # the real one, where there is one, is for everybody to read
            if os.path.lexists(name):
                assert os.stat(name).st_mode & 0o004, name
        else:
            assert stat.S_ISLNK(found.st_mode) or stat.S_ISDIR(found.st_mode), name
    for name in ("shadow", "gshadow", "passwd-", "ssh", "ssl/private", "sudoers", "environment", "profile.d"):
        assert not os.path.lexists(f"{root}/etc/{name}"), name
    assert os.path.getsize(f"{root}/etc/hosts") == 0
    assert "files dns" in content(paths, "etc/nsswitch.conf")


def test_links_stay_links(paths: Paths) -> None:
    root = skeleton(paths)
    for name in ("localtime", "os-release", "alternatives/awk"):
        if os.path.islink(f"/etc/{name}"):
            assert os.readlink(f"{root}/etc/{name}") == os.readlink(f"/etc/{name}")


def test_tree_is_copied_without_what_is_private(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name, mode in (("open", 0o755), ("closed", 0o700)):
        (source / name).mkdir(parents=True)
        (source / name / "file").write_text("x")
        (source / name).chmod(mode)
    (source / "secret").write_text("x")
    (source / "secret").chmod(0o640)
    (source / "key.pem").write_text("-----BEGIN RSA PRIVATE KEY-----")
    (source / "setuid").write_text("x")
    (source / "setuid").chmod(0o4755)
    os.mkfifo(source / "fifo")
    os.symlink("secret", source / "link")
    host._copy(str(source), str(tmp_path / "copy"))
    found = sorted(path.removeprefix(f"{tmp_path}/copy/") for path, _ in entries(f"{tmp_path}/copy"))
    assert found == ["link", "open", "open/file", "setuid"]
    assert stat.S_IMODE((tmp_path / "copy" / "setuid").stat().st_mode) == 0o755


def test_skeleton_is_made_once_and_leaves_nothing_in_staging(paths: Paths) -> None:
    first = skeleton(paths)
    made = os.stat(first)
    assert skeleton(paths) == first
    assert os.stat(first).st_ctime_ns == made.st_ctime_ns
    assert os.listdir(paths.staging) == []


def test_change_of_the_machine_makes_another_and_the_oldest_unused_goes(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for version in range(100, 104):
        monkeypatch.setattr(host, "_VERSION", version)
        made.append(skeleton(paths))
        if version == 101:
            os.makedirs(paths.containers + "/c0ffee")
            with open(paths.containers + "/c0ffee/config.json", "w") as file:
                file.write(f'{{"lowerdir+={made[1]}": 1}}')
    assert len(set(made)) == 4
    assert [os.path.isdir(path) for path in made] == [False, True, True, True]


def test_package_upgrade_changes_the_fingerprint(tmp_path: Path) -> None:
    directory = tmp_path / "conf.d" / "deeper"
    directory.mkdir(parents=True)
    (directory / "file").write_text("old")
    before = list(host._states(str(tmp_path)))
    assert list(host._states(str(tmp_path))) == before
    (directory / "file.new").write_text("new")
    (directory / "file.new").rename(directory / "file")
    assert list(host._states(str(tmp_path))) != before


MAKER = """
import sys
from pycontain.images.host import host_image
from pycontain.paths import Paths
print(host_image(Paths(*sys.argv[1:])).root.lower[0])
"""


def test_processes_that_make_it_at_once_get_the_same(paths: Paths) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", MAKER, paths.root, paths.run]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(5)
    ]
    made = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert made == {skeleton(paths)}
    assert os.listdir(paths.host) == [os.path.basename(skeleton(paths))]
    assert staging.names(paths.staging) == []


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user may enter, unlike `tmp_path`."""
    with tempfile.TemporaryDirectory(prefix="pycontain-test-") as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.mark.root
def test_ordinary_user_can_make_it(open_directory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    recent = "import sys; sys.exit(sys.version_info < (3, 11))"
    if python is None or subprocess.run([python, "-c", recent], check=False).returncode != 0:
        pytest.skip("no Python 3.11 for every user is installed")
    package = os.path.dirname(os.path.dirname(host.__file__))
    shutil.copytree(
        package, open_directory / "pycontain", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    root = open_directory / "root"
    root.mkdir()
    os.chown(root, 65534, 65534)
    made = subprocess.run(
        [python, "-c", MAKER, str(root), str(root)],
        user=65534,
        group=65534,
        extra_groups=[],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(open_directory), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    ).stdout.strip()
    assert os.stat(made + "/etc/passwd").st_uid == 65534
    assert not os.path.lexists(made + "/etc/shadow")


def test_is_for_no_other_platform(engine: Engine) -> None:
    with pytest.raises(pycontain.Unsupported, match="is this machine"):
        engine.run("host", ["true"], platform="linux/s390x")
