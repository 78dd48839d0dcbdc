"""What an engine makes ready for starts to come, and that it serves only those that it fits."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from containers import seconds
from leftovers import descendants, processes
from pycontain import Engine, StartError
from root_filesystems import with_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pycontain import ContainerOptions


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds(10)
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def waiting(before: set[int]) -> int:
    """The processes of spares of this process's launchers that are not in `before`."""
    return len(spares(before))


def spares(before: set[int]) -> list[int]:
    """Those processes, in the order of their making."""
    everything = processes()
    launchers = {p.pid for p in everything.values() if p.parent == os.getpid() and p.is_the_runtimes}
    below = {p.pid for launcher in launchers for p in descendants(launcher, everything)}
    return sorted(below - before)


@pytest.fixture
def before() -> set[int]:
    return {process.pid for process in descendants(os.getpid(), processes())}


def test_warm_engine_has_a_spare_before_the_first_start(
    engine_root: str, busybox: str, before: set[int]
) -> None:
    with Engine(engine_root) as engine:
        engine.warm_up()
        wait_for(lambda: waiting(before) == 2)
        assert engine.run(busybox, ["echo", "hi"]).stdout == b"hi\n"


def test_engine_without_spares_makes_none(engine_root: str, busybox: str, before: set[int]) -> None:
    with Engine(engine_root, spares=False) as engine:
        engine.run(busybox, "true")
        time.sleep(0.2)
        assert waiting(before) == 0
        assert engine.run(busybox, ["echo", "again"]).stdout == b"again\n"


def test_cgroup_that_was_removed_between_two_starts_in_the_background_is_made_again(
    engine_root: str, busybox: str
) -> None:
    parent = "pycontain-between"
    with Engine(engine_root, spares=False) as engine:
        for _ in range(2):
            container = engine.start(busybox, ["sleep", "inf"], cgroup_parent=parent)
            assert container.status == "running"
            container.remove(force=True)
            cgroups = Path("/sys/fs/cgroup")
            for place in [*cgroups.glob(f"*/{parent}"), *cgroups.glob(parent)]:
                place.rmdir()


@pytest.mark.parametrize("detached", [False, True])
def test_spare_that_cannot_be_made_tells_why(engine_root: str, busybox: str, *, detached: bool) -> None:
    sysctls = {"net.ipv4.ip_forward": "banana"}
    with Engine(engine_root) as engine:
        begin = engine.start if detached else engine.run
        for _ in range(40):
            with pytest.raises(StartError, match="to `banana`: invalid argument"):
                begin(busybox, "true", sysctls=sysctls, remove=True)


@pytest.mark.parametrize(
    "options",
    [
        {"network": "host"},
        {"shm_size": "1m"},
        {"sysctls": {"net.ipv4.ip_forward": "1"}},
        {"tmpfs": ["/proc/acpi"]},
        {"devices": ["/dev/null:/dev/other"]},
        {"volumes": ["/data"]},
        {"security_opt": ["systempaths=unconfined"]},
    ],
    ids=str,
)
def test_start_of_another_kind_gets_what_it_asked_for(
    engine: Engine, engine_root: str, busybox: str, options: ContainerOptions
) -> None:
    look = [
        "sh",
        "-c",
        "cut -d' ' -f5,6 /proc/self/mountinfo | sort; ls /dev; cat /proc/sys/net/ipv4/ip_forward",
    ]
    with Engine(engine_root, spares=False) as cold:
        expected = cold.run(busybox, look, **options).stdout
    engine.run(busybox, "true")  # leaves a spare of the usual kind
    time.sleep(0.1)
    assert engine.run(busybox, look, **options).stdout == expected
    assert engine.run(busybox, look, **options).stdout == expected  # by a spare of its own kind


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=711", "small", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.root
def test_removed_image_gives_its_space_back_at_once(
    small_disk: Path, busybox_layer: bytes, tmp_path: Path
) -> None:
    archive = tmp_path / "large.tar"
    archive.write_bytes(with_file(busybox_layer, "large", os.urandom(16 << 20)))

    def used() -> int:
        found = os.statvfs(small_disk)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    with Engine(small_disk / "root") as engine:
        engine.images.import_(archive, "large")
        for _ in range(3):
            engine.run("large", "true")
        time.sleep(0.2)  # a spare with its overlay
        assert used() > 16 << 20
        engine.images.remove("large")
        wait_for(lambda: used() < 8 << 20)


def test_start_whose_spare_is_killed_says_so(engine_root: str, busybox: str, before: set[int]) -> None:
    with Engine(engine_root) as engine, ThreadPoolExecutor() as pool:
        engine.warm_up()
        wait_for(lambda: waiting(before) == 2)
        outside, init = spares(before)
        launcher = processes()[outside].parent
        os.kill(launcher, signal.SIGSTOP)
        try:
            done = pool.submit(engine.run, busybox, ["echo", "hi"])
            time.sleep(0.3)  # by then the launcher has its order
            os.kill(outside, signal.SIGKILL)
            wait_for(lambda: processes()[init].program == "zombie")
        finally:
            os.kill(launcher, signal.SIGCONT)
        with pytest.raises(StartError, match="killed before its command was executed"):
            done.result()
        assert engine.run(busybox, ["echo", "hi"]).stdout == b"hi\n"
