"""Containers that stay: created, found, listed, renamed, inspected and removed; by flags and in Python."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import containers
import leftovers
import pytest
from pycontain.errors import (
    Conflict,
    ContainerNotFound,
    ImageNotFound,
    InvalidOption,
    NameInUse,
    PathNotFound,
    StillInUse,
    TimeoutExpired,
)
from pycontain.images import staging
from pycontain.runtime import kept, names, records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain import Engine

pytestmark = pytest.mark.timeout(containers.seconds(60) + 60)


@pytest.fixture
def own(fresh: Engine, busybox_layer: bytes, tmp_path: Path) -> Engine:
    """An engine with an image of busybox and no containers."""
    archive = tmp_path / "busybox.tar"
    archive.write_bytes(busybox_layer)
    fresh.images.import_(archive, "busybox", changes=['CMD ["sh"]', "LABEL of=image"])
    return fresh


@pytest.fixture
def running(own: Engine, fresh_cli: containers.Cli) -> Iterator[str]:
    """The name of a container in the foreground of another process."""
    words = [str(fresh_cli.program), "run", "--name", "runner", "busybox", "sleep", "100"]
    process = subprocess.Popen(words, env=fresh_cli.environment)
    try:
        wait_for(own, "runner", "running")
        yield "runner"
    finally:
        process.terminate()
        process.wait(containers.seconds(30))


def wait_for(engine: Engine, name: str, status: str) -> None:
    deadline = time.monotonic() + containers.seconds(30)
    while time.monotonic() < deadline:
        try:
            if engine.containers.get(name).status == status:
                return
        except ContainerNotFound:
            pass
        time.sleep(0.01)
    raise AssertionError(f"container `{name}` is not {status}")


def directories(engine: Engine) -> list[str]:
    paths = engine._paths
    return sorted(
        staging.names(paths.containers) + [n for n in staging.names(paths.ephemeral) if "-" not in n]
    )


def test_created_container_is_there_and_does_not_run(own: Engine, fresh_cli: containers.Cli) -> None:
    made = own.create("busybox", ["echo", "hi there"], name="made", labels={"k": "v"})
    assert (made.name, made.status, made.labels) == ("made", "created", {"of": "image", "k": "v"})
    assert own.containers.list() == ()
    assert own.containers.list(all=True) == (made,)
    out = fresh_cli("create", "busybox", "true").stdout.decode().strip()
    assert own.containers.get(out).id == out
    for name in ("made", "/made", made.id, made.id[:9]):
        assert own.containers.get(name) == made


def test_state_that_the_machine_lost_with_its_power_is_that_of_one_just_made(own: Engine) -> None:
    made = own.create("busybox", "true")
    Path(f"{own._paths.containers}/{made.id}/state.json").write_bytes(b"")
    assert made.status == "created"
    made.start()
    assert made.wait() == 0
    assert made.status == "exited"


def test_names_are_given_and_unique(own: Engine) -> None:
    first, second = own.create("busybox", "true"), own.create("busybox", "true")
    assert first.name != second.name
    assert "_" in first.name
    with pytest.raises(NameInUse, match=f"already in use by container `{first.id}`"):
        own.create("busybox", "true", name=first.name)
    assert len(own.containers.list(all=True)) == 2
    assert directories(own) == sorted([first.id, second.id])


def test_of_many_who_want_one_name_one_gets_it(own: Engine) -> None:
    def attempt(_: int) -> str | None:
        try:
            return own.create("busybox", "true", name="wanted").id
        except NameInUse:
            return None

    with ThreadPoolExecutor(8) as pool:
        won = [id for id in pool.map(attempt, range(50)) if id]
    assert [own.containers.get("wanted").id] == won
    assert directories(own) == won


def test_failed_creation_leaves_nothing(own: Engine) -> None:
    with pytest.raises(ImageNotFound):
        own.create("missing", pull="never")
    with pytest.raises(InvalidOption):
        own.create("busybox", "true", memory="much")
    assert directories(own) == []
    assert staging.names(own._paths.names) == []


def test_name_of_one_that_is_finished_at_this_moment_is_not_free(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = own.create("busybox", "true", name="made")
    record = f"{own._paths.containers}/{made.id}/container.json"
    os.rename(record, record + ".later")

    def is_held(path: str) -> bool:  # its maker writes it down, and lets go, just before
        os.rename(record + ".later", record)
        return staging.is_held(path)

    monkeypatch.setattr(names, "staging", SimpleNamespace(is_held=is_held, locked=staging.locked))
    with pytest.raises(NameInUse, match=made.id):
        names.take(own._paths, "made", f"{own._paths.containers}/{'0' * 64}")


def test_rename(own: Engine, fresh_cli: containers.Cli) -> None:
    first, second = own.create("busybox", name="first"), own.create("busybox", name="second")
    first.rename("renamed")
    assert first.name == "renamed"
    assert own.containers.get("renamed") == first
    with pytest.raises(ContainerNotFound):
        own.containers.get("first")
    with pytest.raises(NameInUse):
        second.rename("renamed")
    with pytest.raises(InvalidOption, match="has that name already"):
        second.rename("second")
    with pytest.raises(InvalidOption):
        second.rename("-")
    assert fresh_cli("rename", "second", "first").returncode == 0
    assert second.name == "first"
    assert sorted(staging.names(own._paths.names)) == ["first", "renamed"]


def test_rename_that_was_killed_before_it_was_written_down_frees_the_new_name(own: Engine) -> None:
    made, other = own.create("busybox", name="before"), own.create("busybox", name="other")
    os.symlink(f"../containers/{made.id}", f"{own._paths.names}/after")
    assert own.containers.get("before") == made
    with pytest.raises(ContainerNotFound):
        own.containers.get("after")
    other.rename("after")
    assert own.containers.get("after") == other


def test_rename_that_was_killed_after_it_was_written_down_frees_the_old_name(own: Engine) -> None:
    made = own.create("busybox", name="before")
    path = f"{own._paths.containers}/{made.id}"
    record = records.changed(records.read_record(path), name="after")
    os.symlink(f"../containers/{made.id}", f"{own._paths.names}/after")
    records.write_record(path, record)
    assert own.containers.get("after") == made
    assert own.create("busybox", name="before").name == "before"
    assert made.name == "after"


def test_removed_container_leaves_nothing(own: Engine, fresh_cli: containers.Cli) -> None:
    made = own.create("busybox", name="gone", volumes=["/data"])
    made.remove()
    with pytest.raises(ContainerNotFound):
        made.remove()
    with pytest.raises(ContainerNotFound):
        made.status  # noqa: B018 - it asks
    assert directories(own) == []
    assert staging.names(own._paths.names) == []
    one, two = own.create("busybox", name="one"), own.create("busybox", name="two")
    done = fresh_cli("rm", "one", "missing", two.id[:12])
    assert (done.returncode, done.stdout) == (1, f"one\n{two.id[:12]}\n".encode())
    assert b"no such container: `missing`" in done.stderr
    assert fresh_cli("rm", "-f", "missing").returncode == 0
    assert one not in own.containers.list(all=True)
    assert own.images.get("busybox").remove().deleted


def test_volume_gets_the_content_of_the_image_once(own: Engine) -> None:
    script = "cat /etc/passwd > /dev/null && rm /etc/passwd; echo more >> /etc/new; chmod 1777 /etc; exit 1"
    made = own.start("busybox", ["sh", "-c", script], volumes=["/etc"], restart="on-failure:2")
    assert made.wait() == 1
    made.start()
    assert made.wait() == 1
    assert made.read_bytes("/etc/new") == b"more\n" * 6
    with pytest.raises(PathNotFound):
        made.read_bytes("/etc/passwd")
    volume = made.inspect()["Mounts"][0]["Source"]
    assert oct(os.stat(volume).st_mode)[-4:] == "1777"


def test_volume_that_was_looked_at_first_gets_the_content_all_the_same(own: Engine) -> None:
    made = own.create("busybox", ["cat", "/etc/group"], volumes=["/etc"])
    before = made.read_bytes("/etc/group")
    assert before
    made.start()
    assert made.wait() == 0
    assert [entry.line.rstrip("\n") for entry in made.logs()] == before.decode().splitlines()


def test_running_container_is_removed_by_force_only(own: Engine, running: str) -> None:
    container = own.containers.get(running)
    with pytest.raises(StillInUse, match="container is running"):
        container.remove()
    container.pause()
    with pytest.raises(StillInUse, match="container is paused") as refused:
        container.remove()
    assert str(refused.value.hint).startswith("unpause and stop it first")
    container.unpause()
    assert own.containers.list() == (container,)
    container.remove(force=True)
    assert directories(own) == []


def test_container_outlives_the_command_that_shows_it(own: Engine, fresh_cli: containers.Cli) -> None:
    words = [str(fresh_cli.program), "run", "--name", "orphan", "busybox", "sleep", "100"]
    process = subprocess.Popen(words, env=fresh_cli.environment)
    wait_for(own, "orphan", "running")
    process.send_signal(signal.SIGKILL)
    process.wait()
    container = own.containers.get("orphan")
    assert fresh_cli("exec", "orphan", "echo", "here").stdout == b"here\n"
    container.stop()
    container.remove()
    assert directories(own) == []


def test_container_whose_monitor_was_killed_has_ended(own: Engine, running: str) -> None:
    pid = own.containers.get(running).inspect()["State"]["Pid"]
    os.kill(leftovers.processes()[pid].parent, signal.SIGKILL)
    wait_for(own, running, "exited")
    state = own.containers.get(running).inspect()["State"]
    assert (state["ExitCode"], state["Error"]) == (255, "whoever kept it was killed")
    own.containers.get(running).remove()
    assert directories(own) == []


def test_one_that_is_removed_tells_its_status(own: Engine, fresh_cli: containers.Cli) -> None:
    for name in ("one", "two"):
        assert fresh_cli.run("--name", name, "busybox", "sh", "-c", "exit 7").returncode == 7
    assert fresh_cli.run("--name", "one", "busybox", "nonsense").returncode == 127
    assert fresh_cli("ps", "-aq").stdout == b""


def test_one_in_a_foreground_is_signalled_stopped_and_waited_for(
    own: Engine, running: str, fresh_cli: containers.Cli
) -> None:
    container = own.containers.get(running)
    with pytest.raises(TimeoutExpired, match="still runs"):
        container.wait(0.01)
    container.kill("CONT")  # `sleep` does not handle it
    assert container.status == "running"
    waiting = subprocess.Popen(
        [fresh_cli.program, "wait", running], stdout=subprocess.PIPE, env=fresh_cli.environment
    )
    assert fresh_cli("stop", running).stdout == f"{running}\n".encode()
    assert waiting.communicate(timeout=containers.seconds(30))[0] == b"137\n"
    assert container.wait() == 137
    container.stop()
    with pytest.raises(Conflict, match="is not running"):
        container.kill()
    actions = [event.action for event in own.events(until=time.time(), container=[running])]
    assert actions == ["create", "start", "kill", "die", "stop"]


def test_id_is_written_to_a_file(own: Engine, fresh_cli: containers.Cli, tmp_path: Path) -> None:
    path = tmp_path / "id"
    made = own.create("busybox", cidfile=path)
    assert path.read_text() == made.id
    refused = fresh_cli("create", "--cidfile", path, "busybox")
    assert refused.returncode == 1
    assert b"is there already" in refused.stderr
    assert path.read_text() == made.id
    with pytest.raises(ImageNotFound):
        own.create("missing", cidfile=tmp_path / "other", pull="never")
    assert not (tmp_path / "other").exists()
    fresh_cli.run("--cidfile", tmp_path / "run", "busybox", "true")
    assert len((tmp_path / "run").read_text()) == 64


def test_list_takes_dockers_filters(own: Engine, running: str) -> None:
    one = own.create("busybox", "true", name="one", labels={"tier": "a"}, volumes=["/tmp:/in:ro"])
    two = own.create("busybox", "true", name="two", labels={"tier": "b"}, network="none")
    runner = own.containers.get(running)

    def found(**filters: Any) -> list[str]:
        return [container.name for container in own.containers.list(all=True, **filters)]

    assert found() == ["two", "one", "runner"]
    assert [one.name for one in own.containers.list()] == ["runner"]
    assert found(name=["^o"]) == found(name=["^/o"]) == found(name=["/one"]) == ["one"]
    assert found(name=["^/ne"]) == found(publish=["80"]) == found(expose=["80"]) == []
    assert found(is_task=True) == []
    assert found(is_task=False) == found()
    assert found(id=two.id[:20]) == ["two"]
    assert found(label=["tier"]) == ["two", "one"]
    assert found(label="tier=a") == ["one"]
    assert found(status=["running", "exited"]) == ["runner"]
    assert found(ancestor=["busybox"]) == ["two", "one", "runner"]
    assert found(ancestor=["missing"]) == []
    assert found(before="two") == ["one", "runner"]
    assert found(since=runner.id) == ["two", "one"]
    assert found(volume=["/in"]) == found(volume=["/tmp"]) == ["one"]
    assert found(network=["none"]) == ["two", "one", "runner"]
    assert found(health=["none"], name="one") == ["one"]
    assert [one.name for one in own.containers.list(status=["created"])] == ["two", "one"]
    assert [one.name for one in own.containers.list(last=1)] == ["two"]
    assert one in own.containers.list(last=2)
    for wrong in (
        {"status": ["gone"]},
        {"publish": ["80/x"]},
        {"expose": ["x"]},
        {"exited": ["x"]},
        {"name": ["("]},
        {"colour": ["red"]},
    ):
        with pytest.raises(InvalidOption, match="filter"):
            found(**wrong)
    with pytest.raises(ContainerNotFound):
        found(before="missing")


def test_ps_prints_dockers_table(own: Engine, running: str, fresh_cli: containers.Cli) -> None:
    own.create("busybox", ["sh", "-c", "exit 3"], name="done", labels={"k": "v"})
    lines = fresh_cli("ps").stdout.decode().splitlines()
    assert lines[0].split() == "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES".split()
    assert [line.split()[-1] for line in lines[1:]] == [running]
    assert '"sleep 100"' in lines[1]
    assert "Up " in lines[1]
    made = own.containers.get("done")
    assert fresh_cli("ps", "-aq").stdout.decode().split()[0] == made.id[:12]
    assert fresh_cli("ps", "-lq", "--no-trunc").stdout.decode().split() == [made.id]
    assert fresh_cli("ps", "-n", "1", "--format", "{{.Names}}").stdout == b"done\n"
    template = '{{.ID}}|{{.Image}}|{{.Command}}|{{.State}}|{{.Status}}|{{.Label "k"}}|{{.Networks}}'
    row = fresh_cli("ps", "--filter", "name=done", "--filter", "status=created", "--format", template)
    assert row.stdout.decode() == f"{made.id[:12]}|busybox|\"sh -c 'exit 3'\"|created|Created|v|none\n"
    document = json.loads(fresh_cli("ps", "-a", "-f", "name=done", "--format", "json").stdout)
    assert document["Labels"] == "of=image,k=v"
    assert document["Names"] == "done"
    assert "Label" not in document
    assert fresh_cli("container", "ls", "-q").stdout == fresh_cli("ps", "-q").stdout
    assert fresh_cli("ps", "-f", "nonsense=1").returncode == 1
    ids = fresh_cli("ps", "-q", "--format", "{{.Names}}")
    assert ids.stdout == fresh_cli("ps", "-q").stdout
    assert ids.stderr.startswith(b"WARNING: Ignoring custom format")
    assert fresh_cli("ps", "-aq", "-f", "publish=80", "-f", "is-task=false").stdout == b""
    twice = fresh_cli("rm", "missing", "gone")
    assert (twice.stderr.count(b"pycontain: "), twice.stderr.count(b"hint: ")) == (2, 1)


def test_what_a_container_says_of_itself_steers_no_terminal(own: Engine, fresh_cli: containers.Cli) -> None:
    text = "\x1b[2J\x9b2J\x7f\nzürich 字"
    own.create("busybox", ["echo", text], labels={"a": text})
    for words in (
        ("ps", "--all", "--no-trunc"),
        ("ps", "--all", "--format", "table {{.Labels}}\t{{.Command}}"),
        ("events", "--since", "0", "--until", str(time.time())),
        ("inspect", own.containers.list(all=True)[0].id),
        ("ps", "--all", "--format", "json"),
    ):
        done = fresh_cli(*words)
        assert done.returncode == 0, done
        assert not {*done.stdout.decode()} & {"\x1b", "\x9b", "\x7f"}, words
        assert "zürich 字" in done.stdout.decode()


def test_exit_code_shows(own: Engine, fresh_cli: containers.Cli) -> None:
    assert fresh_cli("run", "--name", "three", "busybox", "sh", "-c", "exit 3").returncode == 3
    status = fresh_cli("ps", "-a", "--format", "{{.Status}}").stdout.decode()
    assert status.startswith("Exited (3) ")
    assert own.containers.list(all=True, exited=[3])
    assert not own.containers.list(all=True, exited=[0])
    assert fresh_cli("ps", "-a", "--filter", "exited=3", "-q").stdout


def test_command_that_could_not_be_executed_leaves_a_created_container(
    own: Engine, fresh_cli: containers.Cli
) -> None:
    assert fresh_cli("run", "--name", "wrong", "busybox", "no-such-command").returncode == 127
    state = own.containers.get("wrong").inspect()["State"]
    assert (state["Status"], state["ExitCode"]) == ("created", 127)
    assert "no-such-command" in state["Error"]


def test_inspect_has_dockers_shape(own: Engine, fresh_cli: containers.Cli, tmp_path: Path) -> None:
    made = own.create(
        "busybox",
        ["sh", "-c", "true"],
        name="seen",
        env=["A=1"],
        memory="64m",
        cap_add=["NET_ADMIN"],
        workdir="/tmp",
        user="1000:1000",
        annotations=["io.pycontain.privileged=true"],
        volumes=[f"{tmp_path}:/in:ro", "/data"],
        tmpfs=["/scratch:size=1m"],
        ulimits=["nofile=100:200"],
        init=True,
        read_only=True,
    )
    [document] = json.loads(fresh_cli("inspect", "seen").stdout)
    assert document == made.inspect()
    assert (document["Id"], document["Name"], document["Path"]) == (made.id, "/seen", "sh")
    assert document["Args"] == ["-c", "true"]
    assert document["Image"] == own.images.get("busybox").id
    assert document["State"]["Status"] == "created"
    assert document["State"]["StartedAt"] == "0001-01-01T00:00:00Z"
    config, host = document["Config"], document["HostConfig"]
    assert (config["Image"], config["User"], config["WorkingDir"]) == ("busybox", "1000:1000", "/tmp")
    assert config["Hostname"] == made.id[:12]
    assert "A=1" in config["Env"]
    assert config["Cmd"] == ["sh", "-c", "true"]
    assert config["Entrypoint"] is None
    assert config["Labels"] == {"of": "image"}
    assert config["StopSignal"] == "SIGTERM"
    assert (host["Memory"], host["CapAdd"], host["NetworkMode"]) == (64 << 20, ["NET_ADMIN"], "none")
    assert host["Binds"] == [f"{tmp_path}:/in:ro"]
    assert host["Annotations"] == {"io.pycontain.privileged": "true"}  # tells nobody anything
    assert host["Ulimits"] == [{"Name": "nofile", "Hard": 200, "Soft": 100}]
    assert (host["ReadonlyRootfs"], host["Init"], host["ShmSize"]) == (True, True, 64 << 20)
    assert set(host["Tmpfs"]) == {"/scratch"}
    mounted = {mount["Destination"]: mount for mount in document["Mounts"]}
    assert (mounted["/in"]["Type"], mounted["/in"]["RW"], mounted["/data"]["Type"]) == (
        "bind",
        False,
        "volume",
    )
    assert (
        fresh_cli("inspect", "--format", "{{.State.Status}} {{.Name}}", "seen").stdout == b"created /seen\n"
    )
    [sized] = json.loads(fresh_cli("container", "inspect", "--size", "seen").stdout)
    assert sized["SizeRw"] == 0
    assert sized["SizeRootFs"] > 0
    assert fresh_cli("inspect", "--type", "image", "seen").returncode == 1
    assert fresh_cli("inspect", "busybox").returncode == 0


def test_templates_see_what_json_leaves_out_and_maps_as_maps(own: Engine, fresh_cli: containers.Cli) -> None:
    log = {"max-size": "1k", "max-file": "2"}
    made = own.create("busybox", name="seen", log_opt=log, sysctls={"net.ipv4.ip_forward": "1"})
    assert "Health" not in made.inspect()["State"]
    for template, shown in {  # as docker 28.2.2
        "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}": "none",
        "{{.State.Health}} {{json .State.Health}} {{eq .State.Health nil}}": "<nil> null true",
        "{{.Config.Healthcheck}} {{.SizeRw}} {{.SizeRootFs}}": "<nil> <nil> <nil>",
        "{{.HostConfig.PidsLimit}} {{.HostConfig.MemorySwappiness}}": "<nil> <nil>",
        "{{with .NetworkSettings}}{{.IPAddress}}{{.Gateway}}{{.MacAddress}}{{.IPPrefixLen}}{{end}}": "0",
        "{{with .NetworkSettings}}{{.SandboxID}}{{.Bridge}}{{.GlobalIPv6Address}}{{end}}": "",
        "{{.HostConfig.Mounts}} {{.HostConfig.KernelMemory}}": "[] 0",
        "{{.Config.NetworkDisabled}} {{.Config.ArgsEscaped}} {{.Config.MacAddress}}": "false false ",
        "{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{$v.IPPrefixLen}}|{{end}}": "none 0|",
        "{{.NetworkSettings.Ports}} {{.HostConfig.PortBindings}}": "map[] map[]",
        "{{.HostConfig.LogConfig}}": "{json-file map[max-file:2 max-size:1k]}",
        '{{index .HostConfig.Sysctls "net.ipv4.ip_forward"}}': "1",
        "{{.HostConfig.Binds}} {{.HostConfig.CapAdd}} {{.HostConfig.Links}} {{.ExecIDs}}": "[] [] [] []",
        "{{json .HostConfig.Binds}} {{json .HostConfig.Tmpfs}} {{len .HostConfig.Binds}}": "null null 0",
        "{{.HostConfig.Tmpfs}} {{.Config.Volumes}} {{.Config.ExposedPorts}}": "map[] map[] map[]",
        '{{index .HostConfig.LogConfig.Config "max-size"}}{{range .HostConfig.Binds}}x{{end}}': "1k",
    }.items():
        done = fresh_cli("inspect", "-f", template, "seen")
        assert (done.stdout.decode(), done.stderr) == (f"{shown}\n", b""), template
    assert fresh_cli("inspect", "-f", "{{.State.Health.Status}}", "seen").returncode == 1
    assert fresh_cli("inspect", "-f", "{{.State.Missing}}", "seen").returncode == 1


def test_prune_removes_what_does_not_run(own: Engine, running: str, fresh_cli: containers.Cli) -> None:
    kept_one = own.create("busybox", name="kept", labels={"keep": "yes"})
    gone = own.create("busybox", name="gone")
    assert own.containers.prune(without_label=["keep"]).ids == (gone.id,)
    assert own.containers.prune(until="24h").ids == ()
    done = fresh_cli("container", "prune", "--force")
    assert done.stdout.decode() == f"Deleted Containers:\n{kept_one.id}\n\nTotal reclaimed space: 0B\n"
    assert [one.name for one in own.containers.list(all=True)] == [running]
    asked = fresh_cli("container", "prune", input=b"n\n")
    assert asked.stdout.startswith(b"WARNING! This will remove all stopped containers.\n")


def test_system_prune_and_df_count_containers(own: Engine, fresh_cli: containers.Cli) -> None:
    fresh_cli("run", "--name", "writer", "busybox", "sh", "-c", "echo hello > /file")
    row = fresh_cli("system", "df").stdout.decode().splitlines()[2].split()
    assert row == ["Containers", "1", "0", "6B", "6B", "(100%)"]
    assert "Exited (0)" in fresh_cli("system", "df", "-v").stdout.decode()
    assert b"Deleted Containers:\n" in fresh_cli("system", "prune", "-f").stdout
    assert own.containers.list(all=True) == ()


def test_what_a_killed_maker_left_is_removed(own: Engine) -> None:
    path = f"{own._paths.containers}/{'0' * 64}"
    os.makedirs(f"{path}/upper")
    assert own.containers.list(all=True) == ()
    own.prune()
    assert not os.path.exists(path)


def test_damaged_record_is_told(own: Engine) -> None:
    made = own.create("busybox", name="damaged")
    with open(f"{own._paths.containers}/{made.id}/container.json", "w") as file:
        file.write("{")
    with pytest.raises(OSError, match=r"container\.json` is damaged"):
        own.containers.get("damaged")


def test_locks_are_seen_in_one_read(own: Engine) -> None:
    made = own.create("busybox", name="locked")
    path = f"{own._paths.containers}/{made.id}"
    inode = os.stat(path).st_ino
    assert inode not in kept._locked(own._paths.containers)
    held = staging.lock(path)
    assert held
    try:
        assert inode in kept._locked(own._paths.containers)
    finally:
        held.release()
    assert inode not in kept._locked(own._paths.containers)


def test_generated_names_are_valid() -> None:
    from pycontain.runtime.namespaces import container_name

    for _ in range(100):
        name = names.generate()
        assert container_name(name) == name
