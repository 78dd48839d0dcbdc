"""Logs and events: lines of files that grow and are rotated; `logs`, `events`, and the same in Python."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import containers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycontain.errors import ContainerNotFound, InvalidOption
from pycontain.runtime import events
from pycontain.runtime.pauses import items
from pycontain.runtime.rotating import Lines

if TYPE_CHECKING:
    from pathlib import Path

    from pycontain import Engine
    from pycontain.containers import Container

pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)


def rotate(path: Path, most: int = 5) -> None:
    for number in range(most, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        newer = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
        if newer.exists():
            newer.rename(older)


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in lines))


def test_lines_go_on_where_they_were(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = Lines(str(path))
    assert list(lines.new()) == []
    append(path, b"one", b"two")
    assert list(lines.new()) == [b"one", b"two"]
    with path.open("ab") as file:
        file.write(b"thr")
    assert list(lines.new()) == []
    append(path, b"ee")
    assert list(lines.new()) == [b"three"]
    lines.close()


def test_no_line_is_lost_by_rotations(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, b"1")
    rotate(path)
    append(path, b"2")
    lines = Lines(str(path))
    assert list(lines.new()) == [b"1", b"2"]
    append(path, b"3")
    rotate(path)
    append(path, b"4")
    rotate(path)
    append(path, b"5")
    assert list(lines.new()) == [b"3", b"4", b"5"]
    lines.close()


@given(
    files=st.lists(
        st.lists(st.binary(max_size=5).map(lambda b: b.replace(b"\n", b" ")), max_size=6), max_size=4
    ),
    count=st.integers(0, 20),
)
def test_last_lines_are_those_at_the_end(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[bytes]], count: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "log"
    for number, content in enumerate(files):
        if number:
            rotate(path)
        append(path, *content)
    everything = [line for content in files for line in content]
    lines = Lines(str(path), last=count)
    found = list(lines.new())
    lines.close()
    assert found == (everything[-count:] if count else [])


def test_last_lines_of_a_file_longer_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "log"
    everything = [f"{number} {'x' * 1000}".encode() for number in range(1000)]
    append(path, *everything)
    for count in (1, 300, 999, 1000, 1001):
        lines = Lines(str(path), last=count)
        assert list(lines.new()) == everything[-count:]
        lines.close()


@pytest.fixture
def made(fresh: Engine) -> Container:
    """A container with a log as a monitor writes it."""
    container = fresh.create("host", "true", name="made")
    path = log_path(container)
    path.parent.mkdir()
    with path.open("w") as file:
        for second, (stream, text) in enumerate(
            [("stdout", "one\n"), ("stderr", "two\n"), ("stdout", "thr\udcffee")]
        ):
            moment = f"2026-01-31T12:00:0{second}.5Z"
            file.write(json.dumps({"log": text, "stream": stream, "time": moment}) + "\n")
    return container


def log_path(container: Container) -> Path:
    from pathlib import Path

    return Path(container.inspect()["LogPath"])


def test_logs_keep_streams_apart(made: Container, fresh_cli: containers.Cli) -> None:
    done = fresh_cli("logs", "made")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"one\nthr\xffee", b"two\n")
    entries = list(made.logs())
    assert [(entry.stream, entry.line) for entry in entries][:2] == [("stdout", "one\n"), ("stderr", "two\n")]
    assert entries[1].time - entries[0].time == 1


def test_logs_are_narrowed_down(made: Container, fresh_cli: containers.Cli) -> None:
    assert next(entry.line for entry in made.logs(tail=2)) == "two\n"
    assert list(made.logs(tail=0)) == []
    assert len(list(made.logs(since="2026-01-31T12:00:01Z"))) == 2
    assert [entry.line for entry in made.logs(until="2026-01-31T12:00:01Z")] == ["one\n"]
    assert fresh_cli("logs", "-n", "1", "made").stdout == b"thr\xffee"
    assert fresh_cli("logs", "--tail", "all", "--until", "2026-01-31T12:00:01Z", "made").stdout == b"one\n"
    stamped = fresh_cli("logs", "-t", "--until", "2026-01-31T12:00:01Z", "made").stdout
    assert stamped == b"2026-01-31T12:00:00.500000000Z one\n"
    for everything in ({"since": ""}, {"until": ""}, {"until": 0}, {"until": "0"}, {"until": "-10m"}):
        assert len(list(made.logs(**everything))) == 3
    assert list(made.logs(since="-10m")) == list(made.logs(until="1")) == []
    assert fresh_cli("logs", "--details", "-n", "1", "made").stdout == b" thr\xffee"
    with pytest.raises(InvalidOption, match="failed to parse"):
        list(made.logs(since="yesterday"))


def test_damaged_lines_are_passed_over(made: Container) -> None:
    with log_path(made).open("a") as file:
        file.write('{"log":"cut o\n{"log":"four\\n","stream":"stdout","time":"2026-01-31T12:00:09Z"}\n')
    assert [entry.line for entry in made.logs()][-1] == "four\n"


def test_events_tell_what_happened(fresh: Engine, fresh_cli: containers.Cli) -> None:
    begun = time.time()
    made = fresh.create("host", "true", name="first", labels={"k": "v"})
    made.rename("second")
    made.remove()
    fresh_cli("run", "--name", "third", "host", "sh", "-c", "exit 3")
    found = list(fresh.events(since=begun, until=time.time()))
    assert [event.action for event in found] == ["create", "rename", "destroy", "create", "start", "die"]
    assert found[0].attributes == {"k": "v", "image": "host", "name": "first"}
    assert (found[1].attributes["oldName"], found[1].attributes["name"]) == ("first", "second")
    assert found[-1].attributes["exitCode"] == "3"
    assert {event.id for event in found[:3]} == {made.id}
    assert list(fresh.events(since=time.time(), until=time.time())) == []
    only = fresh.events(until=time.time(), event=["create"], label=["k=v"], container=[made.id[:8]])
    assert [event.action for event in only] == ["create"]
    assert [event.action for event in fresh.events(until=time.time(), container=["third"])][-1] == "die"
    with pytest.raises(InvalidOption, match="filter"):
        fresh.events(colours=["red"])  # type: ignore[call-arg]


def test_events_are_printed_as_docker_does(fresh: Engine, fresh_cli: containers.Cli) -> None:
    made = fresh.create("host", "true", name="seen")
    now = str(time.time())
    line = fresh_cli("events", "--until", now).stdout.decode().strip()
    assert line.endswith(f" container create {made.id} (image=host, name=seen)")
    document = json.loads(fresh_cli("events", "--until", now, "--format", "json").stdout)
    assert (document["Type"], document["Action"], document["Actor"]["ID"]) == ("container", "create", made.id)
    template = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.ID}}"
    shown = fresh_cli("events", "--until", now, "--filter", "event=create", "--format", template)
    assert shown.stdout.decode() == f"container create seen {made.id}\n"
    assert fresh_cli("events", "--until", now, "--filter", "event=die").stdout == b""


def test_logs_of_one_that_is_gone_are_no_empty_ones(made: Container) -> None:
    made.remove()
    for follow in (False, True):
        with pytest.raises(ContainerNotFound):
            made.logs(follow=follow)


@pytest.mark.timeout(containers.seconds(20))
def test_events_begin_at_the_call(fresh: Engine) -> None:
    for _ in range(2):  # at first there is no file of events
        happening = fresh.events()
        made = fresh.create("host", "true")
        assert next(happening).action == "create"
        made.remove()
        assert next(happening).action == "destroy"


def test_events_are_followed(fresh: Engine, fresh_cli: containers.Cli) -> None:
    process = subprocess.Popen(
        [fresh_cli.program, "events", "--format", "{{.Action}}", "--since", "0"],
        stdout=subprocess.PIPE,
        env=fresh_cli.environment,
    )
    assert process.stdout
    try:
        made = fresh.create("host", "true", name="seen")
        assert process.stdout.readline() == b"create\n"
        made.remove()
        assert process.stdout.readline() == b"destroy\n"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_no_event_is_lost_by_rotation(fresh: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_MOST", 4000)
    watching = items(events.watch(fresh._paths, 0.0, time.time() + containers.seconds(30), lambda _: True))
    seen: list[str] = []

    def follow() -> None:
        for event in watching:
            seen.append(event.id)
            if event.id == "199":
                return

    thread = threading.Thread(target=follow)
    thread.start()
    for number in range(200):
        events.write(fresh._paths, events.Event("container", "test", str(number), {}, time.time_ns()))
        if number % 20 == 19:
            time.sleep(0.1)  # a follower looks 20 times a second, and there is one older file
    thread.join()
    assert seen == [str(number) for number in range(200)]
    assert sorted(os.listdir(f"{fresh._paths.root}/events")) == ["events.jsonl", "events.jsonl.1"]
