"""Options of the command and its surroundings: environment, directory, user, names, entrypoint, init."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pycontain import errors

if TYPE_CHECKING:
    from containers import BothWays, Cli
    from leftovers import Watch
    from pycontain import Engine


def test_env_sets_passes_on_and_removes(both: BothWays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTSIDE", "from the caller")
    monkeypatch.delenv("UNSET", raising=False)
    script = 'echo "$A|$B|$OUTSIDE|${UNSET-unset}"'
    flags = ["-e", "A=1", "--env", "B=two words=2", "-e", "OUTSIDE", "-e", "UNSET"]
    environment = {"A": "1", "B": "two words=2", "OUTSIDE": None, "UNSET": None}
    assert both(flags, script, env=environment) == "1|two words=2|from the caller|unset\n"


def test_env_file_is_read_and_env_wins(both: BothWays, tmp_path: Path) -> None:
    file = tmp_path / "variables"
    file.write_text("# a comment\nA=file\n\nB=kept as it is \" '\n")
    flags = ["--env-file", str(file), "-e", "A=flag"]
    assert both(flags, 'echo "$A|$B"', env_file=file, env=["A=flag"]) == "flag|kept as it is \" '\n"


def test_workdir_is_where_the_command_starts(both: BothWays) -> None:
    assert both("-w /var/tmp", "pwd", workdir="/var/tmp") == "/var/tmp\n"
    assert both("--workdir=/home/worker", "pwd", workdir="/home/worker") == "/home/worker\n"


def test_workdir_that_is_a_file_is_refused(cli: Cli, busybox: str) -> None:
    run = cli.run("-w", "/etc/passwd", busybox, "true")
    assert run.returncode == 125
    assert b"/etc/passwd" in run.stderr


def test_workdir_that_is_missing_is_refused(cli: Cli, engine: Engine, busybox: str) -> None:
    run = cli.run("-w", "/no/such", busybox, "true")
    assert run.returncode == 125
    assert b"/no/such" in run.stderr
    assert run.stderr.startswith(b"pycontain: ")
    with pytest.raises(errors.StartError, match="/no/such"):
        engine.run(busybox, "true", workdir="/no/such")


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("worker", "1000 1000 /home/worker"),
        ("1000", "1000 1000 /home/worker"),
        ("worker:daemon", "1000 1 /home/worker"),
        ("1000:50", "1000 50 /home/worker"),
        ("4242", "4242 0 /"),
        ("4242:4343", "4242 4343 /"),
        ("root", "0 0 /root"),
    ],
)
def test_user_is_looked_up_in_the_container(both: BothWays, user: str, expected: str) -> None:
    assert both(["-u", user], 'echo "$(id -u) $(id -g) $HOME"', user=user) == expected + "\n"


def test_named_user_is_in_the_groups_of_the_container(both: BothWays) -> None:
    assert both("--user worker", "id -G", user="worker").split() == ["1000", "50"]
    assert both("--group-add 77", "id -G", group_add=[77]).split() == ["0", "77"]
    named = both("--group-add staff --group-add 77", "id -G", group_add=["staff", 77])
    assert named.split() == ["0", "50", "77"]


def test_further_group_that_is_not_there_is_refused(cli: Cli, busybox: str) -> None:
    run = cli.run("--group-add", "strangers", busybox, "true")
    assert (run.returncode, run.stdout) == (125, b"")
    assert b"no group `strangers` in the container" in run.stderr


@pytest.mark.parametrize("user", ["stranger", "root:strangers"])
def test_user_or_group_that_is_not_there_is_refused(
    cli: Cli, engine: Engine, busybox: str, user: str
) -> None:
    run = cli.run("-u", user, busybox, "true")
    assert run.returncode == 125
    assert user.rpartition(":")[2].encode() in run.stderr
    with pytest.raises(errors.PycontainError, match=user.rpartition(":")[2]):
        engine.run(busybox, "true", user=user)


def test_home_of_the_environment_is_kept(both: BothWays) -> None:
    assert (
        both("-u worker -e HOME=/elsewhere", "echo $HOME", user="worker", env={"HOME": "/elsewhere"})
        == "/elsewhere\n"
    )


def test_hostname_is_set_and_found_in_etc(both: BothWays) -> None:
    script = "hostname; cat /etc/hostname; grep -c box /etc/hosts; echo $HOSTNAME"
    assert both("-h box", script, hostname="box").split() == ["box", "box", "1", "box"]
    assert both("--hostname=box", "hostname", hostname="box") == "box\n"


def test_domainname_is_set(both: BothWays) -> None:
    script = "cat /proc/sys/kernel/domainname"
    assert both("--domainname lab.example", script, domainname="lab.example") == "lab.example\n"


def test_entrypoint_comes_before_the_command(cli: Cli, engine: Engine, busybox: str) -> None:
    assert cli.run("--entrypoint", "echo", busybox, "-n", "a b").stdout == b"a b"
    assert engine.run(busybox, ["-n", "a b"], entrypoint="echo").stdout == b"a b"
    assert engine.run(busybox, ["b"], entrypoint=["echo", "a"]).stdout == b"a b\n"


def test_ulimits_are_the_commands(both: BothWays) -> None:
    flags = "--ulimit nofile=100:200 --ulimit core=0"
    script = "ulimit -n; ulimit -Hn; ulimit -c"
    assert both(flags, script, ulimits={"nofile": (100, 200), "core": 0}).split() == ["100", "200", "0"]


def test_as_few_open_files_as_the_command_needs(both: BothWays) -> None:
    flags = "--ulimit nofile=4 --workdir /etc --user daemon"
    written = both(flags, "pwd; ulimit -n", ulimits={"nofile": 4}, workdir="/etc", user="daemon")
    assert written.split() == ["/etc", "4"]


def test_what_is_not_text_is_named(cli: Cli, engine: Engine, busybox: str, nothing_left: Watch) -> None:
    run = cli.run("-e", os.fsdecode(b"A=1\xff"), busybox, "true")
    assert run.returncode == 125
    assert b"pycontain: `A=1\\udcff` is not UTF-8 text" in run.stderr
    with pytest.raises(errors.InvalidOption, match=r"`x\\udcff` is not UTF-8 text"):
        engine.run(busybox, ["echo", "x\udcff"])


def test_init_is_process_1_and_reaps_orphans(both: BothWays) -> None:
    # the inner shell ends at once, its child is an orphan that must not stay as a zombie
    script = "echo $$; (sleep 0.1 & ) ; sleep 0.5; grep -l 'State:.Z' /proc/[0-9]*/status; cat /proc/1/comm"
    own, name = both("--init", script, init=True).split()
    assert own != "1"
    assert name != "sh"


def test_without_init_the_command_is_process_1(both: BothWays) -> None:
    assert both("", "echo $$") == "1\n"


def test_init_gives_the_commands_status(both: BothWays) -> None:
    assert both("--init", "exit 7", status=7, init=True) == ""
    assert both("--init", "kill -9 $$", status=137, init=True) == ""


def test_stop_signal_must_be_one(cli: Cli, engine: Engine, busybox: str) -> None:
    assert cli.run("--stop-signal", "SIGUSR1", busybox, "true").returncode == 0
    engine.run(busybox, "true", stop_signal="USR1")
    engine.run(busybox, "true", stop_signal=10)
    assert cli.run("--stop-signal", "SIGNOTHING", busybox, "true").returncode == 125
    with pytest.raises(errors.InvalidOption, match="stop_signal"):
        engine.run(busybox, "true", stop_signal="SIGNOTHING")


def test_labels_do_not_reach_the_command(both: BothWays) -> None:
    assert both("-l a=1 --label b", "env | grep -c a=1", status=1, labels={"a": "1", "b": ""}) == "0\n"


def test_oom_score_is_the_commands(both: BothWays) -> None:
    assert both("--oom-score-adj 500", "cat /proc/self/oom_score_adj", oom_score_adj=500) == "500\n"


@pytest.mark.root
def test_oom_score_is_the_commands_among_the_hosts_processes(engine: Engine, busybox: str) -> None:
    before = Path("/proc/1/oom_score_adj").read_text()
    script = "cat /proc/self/oom_score_adj"
    run = engine.run(busybox, ["sh", "-c", script], pid="host", userns="host", oom_score_adj=7, text=True)
    assert run.stdout == "7\n"
    assert Path("/proc/1/oom_score_adj").read_text() == before


def test_name_is_unique_while_the_container_is_there(cli: Cli, engine: Engine, busybox: str) -> None:
    with cli.start("--name", "taken", busybox, "sh", "-c", "echo started; sleep 600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        second = cli.run("--name", "taken", busybox, "true")
        with pytest.raises(errors.NameInUse, match="taken"):
            engine.run(busybox, "true", name="taken")
        process.terminate()
    assert second.returncode == 125
    assert b"`taken` is already in use" in second.stderr
    assert cli.run("--name", "taken", busybox, "true").returncode == 0


IMAGE_CHANGES = (
    "ENV FROM=image OTHER=kept",
    'ENTRYPOINT ["sh", "-c"]',
    'CMD ["echo $FROM $OTHER $(pwd) $(id -u) $(ls -d /data) $HOME"]',
    "WORKDIR /made/by/start",
    "USER worker",
    "VOLUME /data",
    "STOPSIGNAL SIGQUIT",
)


@pytest.fixture(scope="module")
def configured(engine: Engine, busybox_layer: bytes, tmp_path_factory: pytest.TempPathFactory) -> str:
    archive = tmp_path_factory.mktemp("configured") / "layer.tar"
    archive.write_bytes(busybox_layer)
    engine.images.import_(archive, "configured", changes=IMAGE_CHANGES)
    return "configured"


def test_config_of_the_image_is_honoured(cli: Cli, engine: Engine, configured: str) -> None:
    expected = b"image kept /made/by/start 1000 /data /home/worker\n"
    assert cli.run(configured).stdout == expected
    assert engine.run(configured).stdout == expected


def test_options_win_over_the_config_of_the_image(cli: Cli, engine: Engine, configured: str) -> None:
    expected = b"option kept / 0 /data /root\n"
    run = cli.run("-e", "FROM=option", "-w", "/", "-u", "0", configured)
    assert run.stdout == expected
    assert engine.run(configured, env={"FROM": "option"}, workdir="/", user=0).stdout == expected


def test_command_replaces_the_images_and_keeps_its_entrypoint(
    cli: Cli, engine: Engine, configured: str
) -> None:
    assert cli.run(configured, "echo other $FROM").stdout == b"other image\n"
    assert engine.run(configured, ["echo other $FROM"]).stdout == b"other image\n"


def test_entrypoint_drops_the_images_command(cli: Cli, engine: Engine, configured: str) -> None:
    assert cli.run("--entrypoint", "id", configured, "-u").stdout == b"1000\n"
    identity = engine.run(configured, entrypoint="id", text=True).stdout
    user, group, groups = str(identity).split()
    assert (user, group) == ("uid=1000(worker)", "gid=1000(worker)")
    # with the primary one, or a file's denial to that group would not reach it; the kernel sorts them
    assert set(groups.removeprefix("groups=").split(",")) == {"1000(worker)", "50(staff)"}


def test_anonymous_volume_belongs_to_the_container_alone(engine: Engine, configured: str) -> None:
    assert engine.run(configured, ["echo x > /data/file; ls /data"], user="root").stdout == b"file\n"
    assert engine.run(configured, ["ls /data"]).stdout == b""
