"""What a detached container writes and reads: its log, who is attached, its terminal."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from detached import start, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pycontain import Engine


@pytest.fixture
def pipes() -> Iterator[list[tuple[int, int]]]:
    """Three pipes, all of whose ends are closed in the end, if they are not yet."""
    made = [os.pipe() for _ in range(3)]
    yield made
    for end in (end for pipe in made for end in pipe):
        try:
            os.close(end)
        except OSError:
            continue


def read_all(fd: int) -> bytes:
    """Until all copies of the other end are closed."""
    pieces = []
    while piece := os.read(fd, 1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def test_each_line_is_a_record_of_docker(engine: Engine, busybox: str) -> None:
    container = start(engine, busybox, ["sh", "-c", 'echo "a\t<b>"; echo "é€" >&2; printf end'])
    container.wait()
    wait_for(lambda: not container.is_locked())
    records = container.records()
    assert sorted(record["log"] for record in records) == ["a\t<b>\n", "end", "é€\n"]
    for record in records:
        assert list(record) == ["log", "stream", "time"]
        assert record["stream"] == ("stderr" if "é" in record["log"] else "stdout")
        assert len(record["time"]) == len("2026-11-25T17:19:50.123456789Z")
    assert container.state["started"] < records[0]["time"] < container.state["finished"]


def test_no_byte_is_lost(engine: Engine, busybox: str) -> None:
    script = "cat /dev/urandom | head -c 3000000 | tee /data; head -c 10000000 /dev/zero | tr '\\0' x"
    container = start(engine, busybox, ["sh", "-c", f"({script}) | tee /copy; sha256sum /copy >&2"])
    container.wait()
    wait_for(lambda: not container.is_locked())
    log = container.log()
    assert len(log) == 13_000_000
    assert hashlib.sha256(log).hexdigest() == container.log("stderr").split()[0].decode()
    assert max(len(record["log"]) for record in container.records()) == 16 << 10


def test_log_turns_into_older_ones(engine: Engine, busybox: str) -> None:
    log = {"max_size": 2000, "max_files": 3}
    script = "for i in $(seq 300); do echo line $i; done"
    container = start(engine, busybox, ["sh", "-c", script], {"log": log})
    container.wait()
    wait_for(lambda: not container.is_locked())
    files = sorted(path.name for path in (container.path / "log").iterdir())
    assert files == ["container.log", "container.log.1", "container.log.2"]
    for name in files[1:]:
        assert 2000 <= (container.path / "log" / name).stat().st_size < 2200
    lines = [record["log"] for record in container.records()]
    assert lines == [f"line {number}\n" for number in range(301 - len(lines), 301)]


def test_log_that_is_taken_away_is_made_anew(engine: Engine, busybox: str) -> None:
    container = start(engine, busybox, ["sh", "-c", "while :; do echo on; sleep 0.02; done"])
    wait_for(container.records)
    (container.path / "log" / "container.log").unlink()
    wait_for((container.path / "log" / "container.log").exists)
    container.monitor.stop().wait()


@pytest.mark.root
def test_full_disk_keeps_it_running_and_is_told(engine: Engine, busybox: str) -> None:
    mounted = []

    def small_disk(path: Path) -> None:
        (path / "log").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", path / "log"], check=True)
        mounted.append(path / "log")

    try:
        script = "seq 100000; echo after >&2; read line"
        container = start(engine, busybox, ["sh", "-c", script], {"stdin": True}, prepare=small_disk)
        reading, writing = os.pipe()
        container.monitor.attach((reading, None, None))
        waiting = container.monitor.end()
        os.write(writing, b"\n")
        ended = waiting.wait()
        assert ended is not None
        assert ended.returncode == 0
        wait_for(lambda: not container.is_locked())
        assert "log: No space left on device" in container.state["error"]
        lines = [record["log"] for record in container.records() if record["stream"] == "stdout"]
        assert lines[:500] == [f"{number}\n" for number in range(1, 501)]
    finally:
        for path in mounted:
            subprocess.run(["umount", "-l", path], check=True)


def test_no_log_is_no_file(engine: Engine, busybox: str) -> None:
    container = start(engine, busybox, ["echo", "hi"], {"log": None})
    container.wait()
    wait_for(lambda: not container.is_locked())
    assert not (container.path / "log").exists()


def test_attached_from_the_beginning_misses_nothing(
    engine: Engine, busybox: str, pipes: list[tuple[int, int]]
) -> None:
    (stdin, typing), (out, stdout), (err, stderr) = pipes
    script = "echo first; cat; echo last >&2"
    options = {"stdin": True, "stdin_once": True}
    container = start(engine, busybox, ["sh", "-c", script], options, streams=(stdin, stdout, stderr))
    for end in (stdin, stdout, stderr):
        os.close(end)
    os.write(typing, b"typed\n")
    os.close(typing)
    assert read_all(out) == b"first\ntyped\n"
    assert read_all(err) == b"last\n"
    wait_for(lambda: not container.is_locked())
    assert container.log() == b"first\ntyped\n"


def test_slow_reader_holds_the_writer_and_loses_nothing(
    engine: Engine, busybox: str, pipes: list[tuple[int, int]]
) -> None:
    (slow, out), (quick, out2), _ = pipes
    container = start(engine, busybox, ["sh", "-c", "read line; seq 300000"], {"stdin": True})
    reading, writing = os.pipe()
    container.monitor.attach((reading, out, None))
    container.monitor.attach((None, out2, None))
    for end in (out, out2, reading):
        os.close(end)
    os.write(writing, b"\n")
    os.close(writing)
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.append(read_all(quick)))
    reader.start()
    expected = b"".join(b"%d\n" % number for number in range(1, 300001))
    wait_for(lambda: len(container.log()) > 60_000)
    assert len(container.log()) < len(expected)  # nobody reads from `slow`
    assert read_all(slow) == expected
    reader.join()
    assert seen == [expected]
    wait_for(lambda: not container.is_locked())
    assert container.log() == expected


def test_who_leaves_does_not_disturb(engine: Engine, busybox: str, pipes: list[tuple[int, int]]) -> None:
    (mine, out), _, _ = pipes
    container = start(engine, busybox, ["sh", "-c", "while :; do echo on; sleep 0.01; done"])
    container.monitor.attach((None, out, None))
    os.close(out)
    assert os.read(mine, 100).startswith(b"on\n")
    os.close(mine)
    before = len(container.records())
    wait_for(lambda: len(container.records()) > before + 5)
    container.monitor.stop().wait()


def test_terminal_has_a_size_and_takes_keys(
    engine: Engine, busybox: str, pipes: list[tuple[int, int]]
) -> None:
    (stdin, typing), (out, stdout), _ = pipes
    script = "tty; trap 'stty size; exit' WINCH; read line; echo got $line; while :; do sleep 0.05; done"
    container = start(
        engine, busybox, ["sh", "-c", script], {"stdin": True}, streams=(stdin, stdout, None), tty=True
    )
    os.close(stdout)
    wait_for(lambda: b"/dev/" in container.log())  # else the terminal echoes before that
    os.write(typing, b"keys\r")
    wait_for(lambda: b"got keys" in container.log())
    container.monitor.resize(33, 77)
    seen = read_all(out)
    assert seen == container.log()
    assert seen.startswith(b"/dev/")
    assert seen.endswith(b"33 77\r\n")
    wait_for(lambda: not container.is_locked())
