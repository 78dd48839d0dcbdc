"""Whatever is killed while volumes are made, first used and removed: no volume is half, none is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import containers
import pytest
from pycontain.errors import PycontainError
from pycontain.images import staging

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain import Engine

pytestmark = pytest.mark.timeout(containers.seconds(120) + 60)

FILES = 300
ROUNDS = 6  # of each command
COUNT = "ls /big | wc -l; stat -c '%u %a' /big"
WHOLE = f"{FILES}\n7 1750\n".encode()


def of_session(session: int) -> list[int]:
    """The processes that were started by one, and are not in a session of their own."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                found.append(int(entry.name))
    return found


def killed(cli: containers.Cli, words: Sequence[str], seconds: float, *, with_launcher: bool) -> None:
    """Run a command and end it after that time, alone or with its launcher."""
    process = subprocess.Popen(
        [cli.program, *words],
        env=cli.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(seconds)
    for pid in of_session(process.pid) if with_launcher else [process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def volumes_are_whole(engine: Engine) -> None:
    for volume in engine.volumes.list():
        assert volume.inspect()["Name"] == volume.name
        assert os.path.isdir(volume.mountpoint)


@pytest.mark.parametrize(
    ("before", "words", "after"),
    [
        ([], ["volume", "create", "data"], []),
        ([["volume", "create", "data"]], ["volume", "rm", "-f", "data"], [["volume", "create", "data"]]),
        ([], ["run", "--rm", "-v", "data:/big", "big", "sh", "-c", COUNT], []),
        ([["volume", "create"]], ["volume", "prune", "-af"], []),
        ([["create", "--name", "c", "-v", "/a", "-v", "data:/big", "big"]], ["rm", "-fv", "c"], []),
        ([], ["run", "--name", "c", "-v", "/big", "big", "sh", "-c", COUNT], [["rm", "-fv", "c"]]),
    ],
    ids=["create", "rm", "first use", "prune", "rm of a container", "run"],
)
def test_killed_at_any_moment_no_volume_is_half(
    own: Engine,
    fresh_cli: containers.Cli,
    before: list[list[str]],
    words: list[str],
    after: list[list[str]],
) -> None:
    script = f"mkdir /big; for i in $(seq {FILES}); do echo $i > /big/$i; done; chown 7 /big; chmod 1750 /big"
    made = own.start("busybox", ["sh", "-ec", script])
    assert made.wait() == 0
    made.commit("big")
    made.remove()
    chance = random.Random(f"{words}")
    begun = time.monotonic()
    for once in [*before, words]:
        fresh_cli(*once)
    usual = time.monotonic() - begun
    for number in range(ROUNDS):
        for once in before:
            fresh_cli(*once)
        killed(fresh_cli, words, chance.uniform(0.1, 1.0) * usual, with_launcher=number % 2 == 0)
        volumes_are_whole(own)
        run = fresh_cli.run("-v", "data:/big", "big", "sh", "-c", COUNT)
        assert (run.returncode, run.stdout) == (0, WHOLE), run
        for once in after:
            fresh_cli(*once)
    for container in own.containers.list(all=True):
        with contextlib.suppress(PycontainError):
            container.remove(force=True, volumes=True)
    assert fresh_cli("system", "prune", "-f", "--volumes").returncode == 0
    assert fresh_cli("volume", "prune", "-af").returncode == 0
    assert own.volumes.list() == ()
    assert staging.names(own._paths.volumes) == []
    left = [
        name for name in staging.names(own._paths.ephemeral) if name.startswith("volume-") or len(name) == 64
    ]
    assert left == []


def test_volume_whose_removal_was_cut_off_is_made_anew(own: Engine) -> None:
    """Killed between the two system calls of a removal: nobody has it, and its name is free."""
    own.volumes.create("data", labels={"a": "b"})
    os.rmdir(f"{own._paths.volumes}/data/users")
    assert own.volumes.list() == ()
    own.run("busybox", ["touch", "/d/x"], volumes=["data:/d"])
    assert own.volumes.get("data").labels == {}
    os.rmdir(f"{own._paths.volumes}/data/users")
    own.prune()
    assert staging.names(own._paths.volumes) == []


def test_links_of_containers_that_are_gone_keep_no_volume(own: Engine) -> None:
    own.volumes.create("data")
    os.symlink("f" * 64, f"{own._paths.volumes}/data/users/{'f' * 64}")
    assert own.volumes.get("data").containers == ()
    own.volumes.remove("data")
    assert own.volumes.list() == ()


def test_removals_beside_first_uses(own: Engine, fresh_cli: containers.Cli) -> None:
    """Either the volume is there for as long as its container is, or the removal fails."""
    stop = time.monotonic() + 3
    remover = subprocess.Popen(
        ["sh", "-c", f"while :; do {fresh_cli.program} volume prune -af; done"],
        env=fresh_cli.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    runs = 0
    try:
        while time.monotonic() < stop:
            done = own.run(
                "busybox", ["sh", "-ec", "echo x > /d/x; echo y > /d/y; cat /d/x"], volumes=["data:/d"]
            )
            assert done.stdout == b"x\n"
            runs += 1
    finally:
        remover.kill()
        remover.wait()
    assert runs > 3
