"""Images and options made to lead out of the container: by fds of the launcher, and by links with `..`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from pycontain import CommandNotFound, StartError

if TYPE_CHECKING:
    from pathlib import Path

    from pycontain import Engine

pytestmark = [pytest.mark.guest, pytest.mark.parametrize("userns", ["auto", "host"])]
FDS = range(24)


def test_no_fd_leads_out_as_a_working_directory(engine: Engine, rootfs: Path, userns: str) -> None:
    for fd in FDS:
        (rootfs / f"way{fd}").symlink_to(f"/proc/self/fd/{fd}/../../../../../../..")
        for directory in (f"/proc/self/fd/{fd}", f"/way{fd}"):
            with pytest.raises(StartError, match="enter the working directory"):
                engine.run("", ["/bin/pwd"], rootfs=rootfs, workdir=directory, userns=userns)


def test_no_fd_leads_out_as_a_command(engine: Engine, rootfs: Path, userns: str) -> None:
    for fd in FDS:
        for program in (f"/proc/self/fd/{fd}/bin/sh", f"/proc/self/fd/{fd}/../../../../../../bin/sh"):
            with pytest.raises(CommandNotFound):
                engine.run("", [program, "-c", ":"], rootfs=rootfs, userns=userns)


def test_no_fd_leads_out_of_a_further_process(engine: Engine, busybox: str, userns: str) -> None:
    container = engine.start(busybox, ["sleep", "1000"], userns=userns)
    try:
        for fd in FDS:
            with pytest.raises(StartError, match="enter the working directory"):
                container.run(["pwd"], workdir=f"/proc/self/fd/{fd}")
            with pytest.raises(CommandNotFound):
                container.run([f"/proc/self/fd/{fd}/../../../../../../bin/sh", "-c", ":"])
    finally:
        container.remove(force=True)


def test_links_upwards_end_at_the_containers_root(
    engine: Engine, rootfs: Path, tmp_path: Path, userns: str
) -> None:
    """A volume would be filled with the host's files, a mount's target made among them."""
    tmp_path.chmod(0o777)
    (tmp_path / "of the host").mkdir(mode=0o755)
    (tmp_path / "of the host" / "file").write_text("the host's")
    for name, target in (("data", f"{tmp_path}/of the host"), ("made", f"{tmp_path}/made")):
        (rootfs / name).symlink_to("../../.." + target)
    script = "ls /data; echo kept > /data/mine; ls /data; ls -d /made/below; cat /etc/hostname"
    (rootfs / "etc").rename(rootfs / "real")
    (rootfs / "etc").symlink_to("../../real")
    done = engine.run(
        "",
        ["/bin/sh", "-c", script],
        rootfs=rootfs,
        userns=userns,
        hostname="inside",
        mounts=["type=volume,target=/data"],
        tmpfs=["/made/below"],
    )
    assert done.stdout == b"mine\n/made/below\ninside\n"
    assert os.listdir(tmp_path / "of the host") == ["file"]
    assert not (tmp_path / "made").exists()


def test_users_are_looked_up_in_files_of_the_container_alone(
    engine: Engine, rootfs: Path, tmp_path: Path, userns: str
) -> None:
    passwd = rootfs / "etc" / "passwd"
    tmp_path.chmod(0o755)
    (tmp_path / "passwd").write_text("outsider:x:7:7::/:/bin/sh\n")
    passwd.unlink()
    os.mkfifo(passwd)
    for link in (None, f"../../../{tmp_path}/passwd", f"/proc/self/fd/9/../../../{tmp_path}/passwd"):
        if link is not None:
            passwd.unlink()
            passwd.symlink_to(link)
        with pytest.raises(StartError, match="no user `outsider`"):
            engine.run("", ["/bin/true"], rootfs=rootfs, user="outsider", userns=userns, timeout=60)
