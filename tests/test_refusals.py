"""Values of a wrong type, or that the system cannot take: an error of pycontain's, that names the option."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import containers
import pycontain
import pytest
from pycontain.errors import ContainerNotFound, InvalidOption, StartError
from pycontain.runtime import sizes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain import Container, Engine

pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)
NOT_TEXT = os.fsdecode(b"/a\xff")
NO_PATH = "/\ud800"
Call = Callable[[Any, Any, str], object]


@pytest.fixture(scope="module")
def box(engine: Engine, busybox: str) -> Iterator[Container]:
    """A container that does nothing."""
    container = engine.start(busybox, ["sleep", "1000"])
    yield container
    container.remove(force=True)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", 1),
        ("hostname", 1),
        ("hostname", [1]),
        ("domainname", 1),
        ("cpuset_cpus", 1),
        ("cpuset_cpus", 0),
        ("cpuset_mems", 0),
        ("sysctls", {1: 2}),
        ("mounts", [[]]),
        ("workdir", 1),
        ("rootfs", 1),
        ("cidfile", 1),
        ("pull", []),
        ("group_add", 1),
        ("network", []),
        ("stop_timeout", []),
        ("secrets", 1),
        ("secrets", {1: "/a"}),
        ("secrets", ["id=a,src=\0"]),
        ("configs", {"/a": 1}),
        ("configs", {"/a": NO_PATH}),
        ("env_file", "\0"),
        ("env_file", NO_PATH),
        ("label_file", "\0"),
        ("cidfile", "\0"),
        ("cidfile", NO_PATH),
        ("workdir", "/\0"),
        ("devices", ["/dev/\0"]),
        ("device_read_bps", ["/dev/\0:1"]),
    ],
)
def test_options_of_a_wrong_kind_are_named(engine: Engine, busybox: str, option: str, value: object) -> None:
    with pytest.raises(InvalidOption, match=f"`{option}`"):
        engine.run(busybox, "true", **{option: value})  # type: ignore[call-overload]
    with pytest.raises(InvalidOption, match=f"`{option}`"):
        engine.create(busybox, "true", **{option: value})  # type: ignore[arg-type]


@pytest.mark.root
@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("user", 70000, "`--userns host` all"),
        ("tmpfs", ["/t:size=x"], "such as `size=64m`"),
        ("volumes", ["/tmp:/proc/none"], "only what is there"),
        ("volumes", ["/tmp:/bin/true"], "a file goes on a file"),
        ("volumes", ["/bin/true:/bin"], "a file goes on a file"),
        ("workdir", "/none", "has to be in the image"),
    ],
)
def test_starts_that_the_kernel_refuses_say_what_to_do(
    engine: Engine, busybox: str, option: str, value: object, hint: str
) -> None:
    with pytest.raises(StartError) as refused:
        engine.run(busybox, "true", **{option: value})  # type: ignore[call-overload]
    assert refused.value.hint is not None
    assert hint in refused.value.hint


@pytest.mark.parametrize("option", ["user", "health_cmd", "cgroup_parent", "labels", "env", "cidfile"])
def test_options_that_are_no_text_are_refused(
    engine: Engine, busybox: str, option: str, tmp_path: Path
) -> None:
    value: Any = {"labels": {"a": "\udcff"}, "env": {"a": "\udcff"}}.get(option, "\udcff")
    if option == "cidfile":
        value = tmp_path / "\udcff"
    with pytest.raises(InvalidOption, match=r"udcff` is not UTF-8 text"):
        engine.create(busybox, "true", **{option: value})
    assert not list(tmp_path.iterdir())


OF_ONE: dict[str, Call] = {
    "rename": lambda _, box, __: box.rename(1),
    "fork": lambda _, box, __: box.fork(1),
    "fork, no name": lambda _, box, __: box.fork("-"),
    "update": lambda _, box, __: box.update(cpuset_cpus=0),
    "update, memory nodes": lambda _, box, __: box.update(cpuset_mems=1),
    "get": lambda engine, _, __: engine.containers.get(1),
    "stats": lambda engine, _, __: engine.containers.stats([1]),
    "load": lambda engine, _, __: engine.containers.load(1.5),
    "load, NUL": lambda engine, _, __: engine.containers.load("\0"),
    "load, images": lambda engine, _, __: engine.images.load(1),
    "import": lambda engine, _, __: engine.images.import_("\0"),
    "save, images": lambda engine, _, image: engine.images.save(image, 1),
    "save": lambda _, box, __: box.save(1),
    "save, empty": lambda _, box, __: box.save(""),
    "export": lambda _, box, __: box.export(1),
    "export, empty": lambda _, box, __: box.export(""),
    "export, NUL": lambda _, box, __: box.export("\0"),
    "export, no path": lambda _, box, __: box.export(NO_PATH),
    "commit": lambda _, box, __: box.commit(1),
    "commit, changes": lambda _, box, __: box.commit(changes=[1]),
    "logs": lambda _, box, __: list(box.logs(since=[])),
    "events": lambda engine, _, __: list(engine.events(since=[])),
    "image": lambda engine, _, __: engine.run(1),
    "image, list": lambda engine, _, __: engine.run([]),
    "image, get": lambda engine, _, __: engine.images.get(None),
    "top": lambda _, box, __: box.top(["\0"]),
    "top, no text": lambda _, box, __: box.top([NO_PATH]),
    "engine": lambda _, __, ___: pycontain.Engine("\0"),
    "log_line": lambda _, __, ___: pycontain.log_line("("),
    "log_line, type": lambda _, __, ___: pycontain.log_line(1),  # type: ignore[arg-type]
    "mode": lambda _, box, __: box.write_bytes("/tmp/file", b"", mode=None),
    "source": lambda _, box, __: box.copy_in("\0", "/tmp"),
    "source, type": lambda _, box, __: box.copy_in(1, "/tmp"),
    "target": lambda _, box, __: box.copy_out("/bin", NO_PATH),
    "args": lambda _, box, __: box.run([NO_PATH]),
    "user": lambda _, box, __: box.run("true", user=NO_PATH[1:]),
    "user, type": lambda _, box, __: box.run("true", user=[]),
    "workdir": lambda _, box, __: box.run("true", workdir=NOT_TEXT),
    "env": lambda _, box, __: box.run("true", env={"a": NOT_TEXT}),
    "env_file": lambda _, box, __: box.run("true", env_file="\0"),
}


@pytest.mark.parametrize("what", OF_ONE)
def test_arguments_of_a_wrong_kind_are_refused(
    engine: Engine, box: Container, busybox: str, what: str
) -> None:
    before = set(engine.containers.list(all=True))
    with pytest.raises(InvalidOption):
        OF_ONE[what](engine, box, busybox)
    assert set(engine.containers.list(all=True)) == before


@pytest.mark.parametrize("path", [1, None, b"/etc", "/\0", NO_PATH, NOT_TEXT])
def test_paths_in_a_container_are_text(box: Container, tmp_path: Path, path: Any) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    calls: list[Callable[[], object]] = [
        lambda: box.read_bytes(path),
        lambda: box.write_bytes(path, b""),
        lambda: box.copy_in(file, path),
        lambda: box.copy_out(path, tmp_path),
        lambda: box.put_archive(0, path),
        lambda: box.get_archive(path, 1),
    ]
    for call in calls:
        with pytest.raises(InvalidOption):
            call()


def test_paths_in_a_container_may_be_paths(box: Container, tmp_path: Path) -> None:
    path = PurePosixPath("/tmp/file")
    box.write_bytes(path, b"content")
    assert box.read_bytes(path) == b"content"
    box.copy_out(path, tmp_path)
    source = tmp_path / os.fsdecode(b"\xff")  # the name goes in a tar, where it may be any
    (tmp_path / "file").rename(source)
    box.copy_in(source, "/tmp")
    assert box.run(["sh", "-c", "echo /tmp/*"]).stdout == b"/tmp/file /tmp/\xff\n"


@pytest.mark.parametrize("name", ["\0", NO_PATH, NOT_TEXT])
def test_what_can_be_no_name_is_not_found(engine: Engine, name: str) -> None:
    with pytest.raises(ContainerNotFound):
        engine.containers.get(name)
    for option in ("before", "since"):
        with pytest.raises(ContainerNotFound):
            engine.containers.list(**{option: name})  # type: ignore[arg-type]


def test_errors_can_be_printed() -> None:
    assert str(sizes.invalid("x", "a\0b\udcff", "no")) == r"invalid value `a\0b\udcff` for `x`: no"


def test_closed_process_is_as_a_closed_file(box: Container) -> None:
    with box.exec("true") as ended, box.exec("sleep 100") as killed:
        assert ended.wait() == 0
    assert (ended.returncode, ended.poll(), killed.returncode) == (0, 0, None)
    calls: list[Callable[[], object]] = [
        killed.poll,
        killed.wait,
        killed.kill,
        killed.fileno,
        killed.communicate,
    ]
    for call in [*calls, ended.fileno, ended.communicate]:
        with pytest.raises(ValueError, match="closed"):
            call()
