"""Workers that use containers, and who kills at random among them: what tests/test_containers_killed.py runs.

    killing.py loop ROOT ARCHIVE SEED        in a mount namespace of its own, with a run directory of its own
    └── killing.py work ROOT SEED SCRATCH    four, each started anew when it was killed

What is done, and what is killed when, is chosen by a seed; how the processes interleave is not. Nothing is
killed but what descends from the loop, whoever its parent is by then.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import leftovers
from containers import Cli, installed, seconds
from isolated import Family, remains
from pycontain import Engine
from pycontain.errors import PycontainError
from pycontain.paths import find
from pycontain.runtime import kept

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WORKERS = 4
NAMES = tuple(f"c{number}" for number in range(10))
KILLS = 250  # in all, at least
LEAST = 8  # of each kind
PROCESSES = ("caller", "launcher", "monitor", "init")
COMMANDS = ("create", "start", "stop", "exec", "rm", "cp")
USUAL = 0.5  # seconds that a command takes, as long as that is not known
MOST = 150  # seconds for all of that
FORGOTTEN = 60  # seconds after which a command that has not ended hangs
TRAP = "trap 'exit 3' TERM; while :; do sleep 0.05; done"
KINDS: tuple[tuple[list[str], dict[str, Any]], ...] = (
    (["sleep", "1000"], {}),
    (["sh", "-c", TRAP], {}),
    (["sh", "-c", "while :; do echo on; sleep 0.01; done"], {"restart": "always"}),
    (["sh", "-c", "sleep 0.2; exit 1"], {"restart": "on-failure"}),
    (["sh", "-c", "sleep 1000 & sleep 1000 & wait"], {"init": True}),
    (["su", "worker", "-c", "exec sleep 1000"], {}),  # a process that changes its ids loses its PDEATHSIG
    (["sleep", "1000"], {"tty": True, "remove": True}),
    (["true"], {}),
)


class Worker:
    """One of those that create, start, stop, exec into, copy and remove, by the program and by Python."""

    def __init__(self, root: str, seed: str, scratch: Path) -> None:
        self.root = root
        self.chance = random.Random(seed)
        self.scratch = scratch
        self.cli = Cli(installed(), root)
        self.engine = Engine(root)
        self.lasts: dict[str, float] = {}  # seconds that each command takes
        scratch.mkdir(exist_ok=True)
        (scratch / "file").write_bytes(random.Random(1).randbytes(200_000))

    def work(self) -> None:
        while not (self.scratch.parent / "stop").exists():
            act = self.chance.choices(
                ("create", "run", "start", "stop", "exec", "cp", "rm", "pause"), (4, 3, 4, 5, 4, 4, 5, 1)
            )[0]
            name = self.chance.choice(NAMES)
            if act in {"create", "run"} and self.chance.random() < 0.2:
                name = f"once{self.chance.randrange(1 << 32)}"  # nobody takes it over
            if self.chance.random() < 0.5:
                self.by_program(act, name)
            else:
                with contextlib.suppress(PycontainError):
                    self.by_python(act, name)
        self.engine.close()

    def by_python(self, act: str, name: str) -> None:
        containers = self.engine.containers
        args, options = self.chance.choice(KINDS)
        way = self.chance.random()
        if act == "create":
            self.engine.create("busybox", args, name=name, **options)
        elif act == "run":
            self.engine.start("busybox", args, name=name, **options)
        elif act == "start":
            containers.get(name).start()
        elif act == "stop":
            containers.get(name).stop(timeout=0.5)
        elif act == "exec":
            done = containers.get(name).run(["sh", "-c", "echo hi; sleep 0.1"], check=False)
            assert done.returncode != 0 or done.stdout == b"hi\n", done
        elif act == "cp":
            content = (self.scratch / "file").read_bytes()
            containers.get(name).write_bytes("/file", content)
            assert containers.get(name).read_bytes("/file") == content
        elif act == "rm":
            containers.get(name).remove(force=way < 0.7)
        else:
            containers.get(name).pause()
            if way < 0.5:
                containers.get(name).unpause()

    def by_program(self, act: str, name: str) -> None:
        args, options = self.chance.choice(KINDS)
        way = self.chance.random()
        flags = [f"--{key}" if value is True else f"--{key}={value}" for key, value in options.items()]
        words = {
            "create": ["create", "--name", name, *flags, "busybox", *args],
            "run": ["run", "-d", "--name", name, *flags, "busybox", *args],
            "start": ["start", name],
            "stop": ["stop", "-t", "1", name],
            "exec": ["exec", *(["-d"] if way < 0.3 else []), name, "sh", "-c", "echo hi; sleep 0.2"],
            "cp": ["cp", str(self.scratch / "file"), f"{name}:/file"]
            if way < 0.5
            else ["cp", f"{name}:/bin/busybox", str(self.scratch / "copy")],
            "rm": ["rm", *(["-f"] if way < 0.7 else []), name],
            "pause": ["pause" if way < 0.5 else "unpause", name],
        }[act]
        is_victim = self.chance.random() < 0.85 and act in {*COMMANDS, "run"}
        moment = self.chance.uniform(0.3, 1.05)
        process = subprocess.Popen(
            [self.cli.program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.cli.environment,
        )
        begun = time.monotonic()
        if is_victim:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment * self.lasts.get(act, USUAL))
            process.kill()
        out, err = process.communicate(timeout=seconds(FORGOTTEN))
        if process.returncode == -signal.SIGKILL:
            note(self.scratch.parent, {"run": "start"}.get(act, act))
            return
        self.lasts[act] = 0.7 * self.lasts.get(act, USUAL) + 0.3 * (time.monotonic() - begun)
        assert process.returncode >= 0, (words, process.returncode, err)
        assert b"Traceback" not in err, err.decode()
        if words[:2] == ["exec", name] and process.returncode == 0:
            assert out == b"hi\n", out


def note(scratch: Path, kind: str) -> None:
    """Something was killed."""
    with (scratch / "kills").open("a") as file:
        file.write(f"{kind}\n")


class Loop:
    """Starts the workers, kills, and looks whether what is left is true."""

    def __init__(self, root: str, seed: str, scratch: Path) -> None:
        self.root = root
        self.seed = seed
        self.chance = random.Random(seed)
        self.scratch = scratch
        self.cli = Cli(installed(), root)
        self.family = Family()
        self.workers: dict[int, int] = {}
        self.lives = collections.Counter[int]()
        self.killed = set[int]()
        self.failed: list[str] = []

    def start(self, number: int) -> None:
        self.lives[number] += 1
        words = [self.root, f"{self.seed} {number} {self.lives[number]}", str(self.scratch / str(number))]
        command = [sys.executable, __file__, "work", *words]
        self.workers[os.posix_spawn(command[0], command, os.environ)] = number

    def reap(self, *, again: bool = True) -> None:
        """Of all who have ended; a worker that was killed is started anew."""
        for pid, status in self.family.reap():
            number = self.workers.pop(pid, None)
            if number is None:
                continue
            if pid not in self.killed and status != 0:
                self.failed.append(f"worker {number} ended with {os.waitstatus_to_exitcode(status)}")
            elif again:
                self.start(number)

    def victims(self, kind: str) -> Iterator[int]:
        """Processes of this kind, in the order of their making."""
        everything = leftovers.processes()
        own = {process.pid: process for process in leftovers.descendants(os.getpid(), everything)}
        names = {pid: name_of(pid) for pid, process in own.items() if process.is_the_runtimes}
        for pid, process in sorted(own.items()):
            found = {
                "caller": pid in self.workers,
                "launcher": names.get(pid) == "pycontain",
                "monitor": names.get(pid) == "pycontain-watch",
                "init": names.get(process.parent) == "pycontain-watch" and pid not in names,
            }
            if found[kind]:
                yield pid

    def kill_one(self, kind: str) -> None:
        """If there is one."""
        victims = list(self.victims(kind))
        if not victims:
            return
        victim = self.chance.choice(victims)
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(victim)
            try:
                if victim in self.victims(kind):  # its number may be another's by now
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    self.killed.add(victim)
                    note(self.scratch, kind)
            finally:
                os.close(pidfd)

    def kill(self) -> None:
        """Processes of all kinds, while the workers kill their commands."""
        paths = find(self.root)
        deadline = time.monotonic() + seconds(MOST)
        while not self.is_enough():
            self.reap()
            assert not self.failed, self.failed
            assert time.monotonic() < deadline, f"killed so far: {self.kills()}"
            time.sleep(self.chance.uniform(0.0, 0.2))
            self.kill_one(self.chance.choices(PROCESSES, (1, 3, 3, 4))[0])
            list(kept.all_of(paths))  # what `ps` reads is never damaged

    def is_enough(self) -> bool:
        kills = self.kills()
        return kills.total() >= KILLS and all(kills[kind] >= LEAST for kind in (*PROCESSES, *COMMANDS))

    def kills(self) -> collections.Counter[str]:
        with contextlib.suppress(FileNotFoundError):
            return collections.Counter((self.scratch / "kills").read_text().split())
        return collections.Counter()

    def end_workers(self) -> None:
        """And what they started in the foreground, which may have outlived them."""
        (self.scratch / "stop").touch()
        deadline = time.monotonic() + seconds(FORGOTTEN)
        while self.workers:
            assert time.monotonic() < deadline, "a worker does not end"
            time.sleep(0.05)
            self.reap(again=False)
        assert not self.failed, self.failed
        python = os.path.realpath(sys.executable)
        self.family.wait_until(
            lambda: python not in {process.program for process in self.family.living()},
            "a command does not end",
        )

    def inside(self) -> dict[str, list[int]]:
        """The processes of each container, by the lock of their monitor."""
        everything = leftovers.processes()
        found: dict[str, list[int]] = {}
        for monitor in self.family.living():
            if monitor.is_the_runtimes and (id := container_of(monitor.pid, self.root)) is not None:
                below = leftovers.descendants(monitor.pid, everything)
                found[id] = [p.pid for p in below if is_inside(p)]
        return found

    def check_truth(self) -> None:
        """`ps` tells of each container what is so; each has a name of its own, by which it is found."""
        listed = self.run("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}")
        told = [line.split() for line in listed.splitlines()]
        assert len({name for _, name, _ in told}) == len(told), told
        inside = self.inside()
        alive = {id for id, _, state in told if state in {"running", "paused", "restarting"}}
        assert set(inside) <= alive, (told, inside)
        with Engine(self.root) as engine:
            for id, name, _ in told:
                container = engine.containers.get(name)
                assert container.id == id
                pid = container.inspect()["State"]["Pid"]
                process = leftovers.processes().get(pid)
                found = process and container_of(process.parent, self.root)
                # one that is started again and again may have ended meanwhile
                assert found == id or container.inspect()["State"]["Pid"] != pid or pid == 0, (name, pid)
        self.family.wait_until(lambda: not self.strays(), f"processes of no container: {self.strays()}")

    def strays(self) -> dict[int, str]:
        """Processes of containers whose monitor is gone; what they are."""
        inside = {pid for pids in self.inside().values() for pid in pids}
        return {
            p.pid: leftovers.command_of(p.pid)
            for p in self.family.living()
            if is_inside(p) and p.pid not in inside
        }

    def run(self, *words: str) -> str:
        done = self.cli(*words)
        assert done.returncode == 0, (words, done)
        return done.stdout.decode()

    def remove_all(self) -> None:
        """Half of them after a stop, the others by force."""
        names = self.names()
        stopped = names[: len(names) // 2]
        if stopped:
            self.run("stop", "-t", "1", *stopped)
        if left := set(stopped) & set(self.names()):  # some go with their end
            self.run("rm", *left)
        self.run("rm", "-f", *names)
        assert self.names() == []

    def names(self) -> list[str]:
        return self.run("ps", "-a", "--format", "{{.Names}}").split()


def is_inside(process: leftovers.Process) -> bool:
    """Whether it lives in a pid namespace of its own."""
    try:
        namespace = os.readlink(f"/proc/{process.pid}/ns/pid")
    except OSError:
        return False
    return process.program != "zombie" and namespace != os.readlink("/proc/self/ns/pid")


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def container_of(pid: int, root: str) -> str | None:
    """Whose directory this process holds open."""
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            if os.path.dirname(target) == f"{root}/containers":
                return os.path.basename(target)
    return None


def loop(root: str, archive: str, seed: str) -> None:
    scratch = Path(root).parent / "scratch"
    scratch.mkdir()
    with Engine(root) as engine:
        engine.images.import_(archive, "busybox", changes=['CMD ["sh"]'])
    mounts = set(Path("/proc/self/mountinfo").read_text().splitlines())
    killing = Loop(root, seed, scratch)
    try:
        for number in range(WORKERS):
            killing.start(number)
        begun = time.monotonic()
        killing.kill()
        print(f"killed {dict(killing.kills())} in {time.monotonic() - begun:.0f} s", flush=True)
        killing.end_workers()
        killing.check_truth()
        killing.remove_all()
    except BaseException:
        killing.family.kill()
        raise
    with Engine(root) as engine:
        engine.run("busybox", "true")
        engine.prune()
    living = killing.family.living
    killing.family.wait_until(lambda: not living(), f"processes are left: {living()}")
    left = remains(root)
    assert not left, left
    left = sorted(set(Path("/proc/self/mountinfo").read_text().splitlines()) - mounts)
    assert not left, left


def main(words: Sequence[str]) -> None:
    if words[0] == "loop":
        loop(*words[1:])
    else:
        root, seed, scratch = words[1:]
        Worker(root, seed, Path(scratch)).work()


if __name__ == "__main__":
    main(sys.argv[1:])
