"""The command line's grammar: docker's flags, where they end, and what a mistake gets as an answer."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pycontain
import pytest
from pycontain import RootFilesystem
from pycontain.cli import main, options
from pycontain.cli.commands import COMMANDS, GROUPS, group
from pycontain.cli.run import request
from pycontain.runtime import spec
from pycontain.runtime.command import NoImage

ROOT = Path(__file__).parent.parent
DIRECTORY = "/var/lib/pycontain/containers/x"


def parse(*words: str) -> tuple[str, list[str], dict[str, Any]]:
    """What `pycontain run WORDS` asks for."""
    commands = group()
    with commands.make_context("pycontain", []) as parent:
        command = commands.get_command(parent, "run")
        assert command is not None
        params = command.make_context("run", list(words), parent=parent).params
    image, args, explain = params.pop("image"), params.pop("args"), params.pop("explain")
    of_run = {name: params.pop(name) for name in ("detach", "detach_keys", "quiet", "sig_proxy")}
    assert of_run == {"detach": False, "detach_keys": None, "quiet": False, "sig_proxy": True}
    assert explain is ("--explain" in words)
    return request(image, args, params)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["host", "true"], ("host", ["true"], {})),
        (["host"], ("host", [], {})),
        (["--rm", "host", "ls", "-la", "--rm"], ("host", ["ls", "-la", "--rm"], {"remove": True})),
        (["-it", "host", "sh"], ("host", ["sh"], {"stdin": True, "tty": True})),
        (["-itw", "/srv", "host"], ("host", [], {"stdin": True, "tty": True, "workdir": "/srv"})),
        (["--rm=true", "-it=false", "host"], ("host", [], {"remove": True})),
        (["--rm=false", "host", "x", "--y=true"], ("host", ["x", "--y=true"], {})),
        (["-e", "A=1", "-eB", "--env=C=", "host"], ("host", [], {"env": ["A=1", "B", "C="]})),
        (["-e", "--rm", "host", "--rm=true"], ("host", ["--rm=true"], {"env": ["--rm"]})),
        (["-m512m", "--memory-swap", "-1", "host"], ("host", [], {"memory": "512m", "memory_swap": "-1"})),
        (["--net", "none", "host"], ("host", [], {"network": "none"})),
        (["--network=host", "host"], ("host", [], {"network": "host"})),
        (["-P", "--expose", "80", "host"], ("host", [], {"publish_all": True, "expose": ["80"]})),
        (
            ["--dns", "10.0.0.2", "--dns-search=.", "--dns-opt", "a", "--dns-option", "b", "host"],
            ("host", [], {"dns": ["10.0.0.2"], "dns_search": ["."], "dns_options": ["a", "b"]}),
        ),
        (
            ["--add-host", "db=::1", "--link", "db:store", "host"],
            ("host", [], {"add_host": ["db=::1"], "links": ["db:store"]}),
        ),
        (["-h", "web", "host"], ("host", [], {"hostname": "web"})),
        (["-v", "/a:/b", "-v", "/c", "host"], ("host", [], {"volumes": ["/a:/b", "/c"]})),
        (["--memory-swappiness", "0", "host"], ("host", [], {"memory_swappiness": 0})),
        (["--pids-limit", "-1", "host"], ("host", [], {"pids_limit": -1})),
        (["--entrypoint", "", "host", "x"], ("host", ["x"], {"entrypoint": []})),
        (["--entrypoint", "/a b", "host"], ("host", [], {"entrypoint": ["/a b"]})),
        (["--rm", "--", "host", "--", "x"], ("host", ["--", "x"], {"remove": True})),
        (["--rootfs", "/tree", "sh", "-c", "x"], ("", ["sh", "-c", "x"], {"rootfs": "/tree"})),
        (["--explain", "host", "true"], ("host", ["true"], {})),
    ],
)
def test_run_takes_dockers_spellings(
    words: list[str], expected: tuple[str, list[str], dict[str, Any]]
) -> None:
    assert parse(*words) == expected


def test_every_flag_is_an_option_of_a_container() -> None:
    assert {flag.option for flag in options.FLAGS} == spec.OPTIONS


def test_every_flag_reaches_the_configuration() -> None:
    words = (
        "--rm -it -e A=1 -w /w -u 0 --group-add 10 --name web --hostname web --domainname lan "
        "--entrypoint /e --init -l a=b --platform linux/amd64 --pull never -v /tmp:/v --mount "
        "type=tmpfs,target=/m --tmpfs /t --read-only --shm-size 1m -m 64m --memory-swap 128m "
        "--memory-reservation 32m --memory-swappiness 0 --oom-kill-disable --oom-score-adj 5 --cpus 0.5 "
        "-c 512 --cpuset-cpus 0 --cpuset-mems 0 --pids-limit 9 --ulimit core=0 --blkio-weight 100 "
        "--cap-add ALL --cap-drop CHOWN --security-opt no-new-privileges --device /dev/null "
        "--device-cgroup-rule a --sysctl net.core.somaxconn=9 --network none --dns 10.0.0.2 "
        "--dns-search lan --dns-option rotate --add-host db:10.0.0.5 --expose 80 --pid private --ipc none "
        "--uts private --userns auto --cgroupns private --cgroup-parent /p --stop-signal INT "
        "--stop-timeout 3 host true "
    )
    parts = words.split()
    parts[parts.index("a")] = "c 1:* r"
    image, args, given = parse(*parts)
    root = RootFilesystem(["/layer"])
    prepared = spec.config(args, given, NoImage(), root, id="0" * 64, directory=DIRECTORY)
    config = json.loads(prepared.config)
    assert image == "host"
    assert prepared.args == ("/e", "true")
    assert config["process"]["rlimits"] == [{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}]
    assert config["linux"]["resources"]["memory"]["swappiness"] == 0
    assert (prepared.stop_signal, prepared.stop_timeout) == (2, 3.0)
    files = json.loads(config["annotations"]["io.pycontain.files"])
    assert files["/etc/resolv.conf"] == "nameserver 10.0.0.2\nsearch lan\noptions rotate\n"
    assert "10.0.0.5\tdb\n" in files["/etc/hosts"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nosuch"], 1, "no such command 'nosuch'"),
        (["--nosuch"], 125, "unknown flag `--nosuch`"),
        (["run", "--nosuch", "host"], 125, "unknown flag `--nosuch`"),
        (["image", "nosuch"], 1, "no such command 'nosuch'"),
        (["image", "--nosuch"], 125, "unknown flag `--nosuch`"),
        (["image", "rm"], 1, "IMAGE... is missing"),
        (["run"], 1, "IMAGE is missing"),
        (["run", "--rm"], 1, "IMAGE is missing"),
        (["run", "-m"], 125, "requires an argument"),
        (["run", "--rm=maybe", "host"], 125, "invalid value `maybe` for `--rm`"),
        (["run", "--cpu-shares", "x", "host"], 125, "--cpu-shares"),
    ],
)
def test_mistakes_have_dockers_exit_status(
    words: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pycontain: ")
    assert message in captured.err


def test_help_lists_every_command_and_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n  {name} " in listed for name in [*COMMANDS, *GROUPS])
    assert main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    assert "pycontain run [OPTIONS] IMAGE [COMMAND] [ARG...]" in text
    assert all(name in text for flag in options.FLAGS for name in flag.names.split())


@pytest.mark.parametrize("name", GROUPS)
def test_group_alone_lists_its_commands_and_each_is_there(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name]) == 0
    listed = capsys.readouterr().out
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out == listed
    for command, (_, text) in GROUPS[name][1].items():
        assert f"\n  {command} " in listed
        assert text in " ".join(listed.split())
        assert main([name, command, "--help"]) == 0
        assert f"Usage: pycontain {name} {command} " in capsys.readouterr().out


def test_docker_calls_some_commands_by_other_names_too(capsys: pytest.CaptureFixture[str]) -> None:
    for alias in ("list", "remove"):
        assert main(["image", alias, "--help"]) == 0
        assert f"Usage: pycontain image {alias} " in capsys.readouterr().out


def test_messages_speak_of_flags() -> None:
    with pytest.raises(pycontain.InvalidOption) as error:
        spec.config(**_request(memory="1m"))
    assert options.in_flags(str(error.value)).startswith("invalid value `1m` for `--memory`")
    with pytest.raises(pycontain.InvalidOption) as error:
        spec.config(**_request(volumes=["a/b:c"]))
    assert "`--volume`" in options.in_flags(str(error.value))
    with pytest.raises(pycontain.InvalidOption) as error:
        spec.config(**_request(publish_all=True))
    told = "`--publish-all` has no meaning with `--network=none`"
    assert options.in_flags(str(error.value)) == told


def test_two_that_exclude_each_other_are_told_as_flags(capsys: pytest.CaptureFixture[str]) -> None:
    for given, told in (
        (["--cpus", "1", "--cpu-quota", "5000"], "`--cpus` and `--cpu-quota` exclude each other"),
        (["--rm", "--restart", "always"], "`--restart` and `--rm` exclude each other"),
        (["--pid", "host", "--userns", "auto"], "`--userns=auto` and `--pid=host` exclude each other: it"),
        (["--uts", "host", "-h", "x"], "`--hostname` and `--uts=host` exclude each other: the name would"),
        (
            ["--no-healthcheck", "--health-cmd", "x"],
            "`--no-healthcheck` and `--health-cmd` exclude each other",
        ),
        (["--memory-swap", "1g"], "give a value for `--memory` as well"),
    ):
        assert main(["run", *given, "host", "true"]) == 125, given
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["host", "memory"], "execute `memory`: not found"),
        (["-u", "user", "host", "true"], "no user `user`"),
        (["--network", "volumes", "host", "true"], "no such network: `volumes`"),
        (["--env-file", "labels", "host", "true"], "cannot read `labels` for `--env-file`"),
        (["--memory", "pid=1", "host", "true"], "invalid value `pid=1` for `--memory`"),
        (["--rootfs", "/rootfs", "", "true"], "no such directory: `/rootfs`"),
    ],
)
def test_values_that_are_names_of_options_stay_as_they_are(
    arguments: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--rm", *arguments]) != 0
    assert told in capfd.readouterr().err


def test_names_that_are_those_of_options_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "memory"]) == main(["rm", "memory"]) == main(["rmi", "rootfs"]) == 1
    told = capsys.readouterr().err
    assert "`memory`" in told
    assert "`rootfs`" in told
    assert "--memory" not in told
    assert "--rootfs" not in told


def _request(**given: Any) -> dict[str, Any]:
    root = RootFilesystem(["/layer"])
    return {
        "args": ["x"],
        "options": given,
        "image": NoImage(),
        "root": root,
        "id": "0" * 64,
        "directory": DIRECTORY,
    }


def test_version_is_the_workspaces(capsys: pytest.CaptureFixture[str]) -> None:
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pycontain {workspace['package']['version']}\n"
    assert main(["version"]) == 0
    assert os.uname().release in capsys.readouterr().out
    assert main(["version", "--format", "{{.Client.Version}}"]) == 0
    assert capsys.readouterr().out == f"{workspace['package']['version']}\n"


def test_root_is_where_things_are_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYCONTAIN_ROOT", "/elsewhere")
    assert main(["--root", "/srv/../srv/containers", "version"]) == 0
    assert os.environ["PYCONTAIN_ROOT"] == "/srv/containers"
    assert capsys.readouterr().err == ""


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_a_plain_command_imports_neither_rich_nor_asyncio_nor_another_command() -> None:
    program = (
        "import sys, pycontain.cli; pycontain.cli.main(['run', '--help']); "
        "print('modules:', *sys.modules, file=sys.stderr)"
    )
    modules = set(python(program).stderr.split())
    assert "pycontain.cli.run" in modules
    assert not {name for name in modules if name.startswith("pycontain.cli.template")}
    assert (
        not {"rich", "asyncio", "ssl", "http", "dataclasses", "pydantic", "pycontain.cli.version"} & modules
    )


def test_a_reader_that_goes_away_is_not_an_error_message() -> None:
    program = "import sys, pycontain.cli; sys.exit(pycontain.cli.main(['run', '--help']))"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.parametrize("words", ["images", "version", "run --help"])
def test_output_that_cannot_be_written_is_told_in_a_line(words: str) -> None:
    command = [sys.executable, "-m", "pycontain", *words.split()]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        b"pycontain: cannot write the output: no space left on device\n",
    )


def test_too_few_open_files_are_told_in_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pycontain", "--root", str(tmp_path), "run", "--rm", "host", "true"]

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))

    done = subprocess.run(command, stderr=subprocess.PIPE, check=False, preexec_fn=few)
    assert (done.returncode, done.stderr) == (
        125,
        b"pycontain: too many open files\nhint: `ulimit -n` says how many there may be\n",
    )


def test_public_names_are_loaded_when_they_are_used() -> None:
    program = (
        "import sys; old = set(sys.modules); import pycontain; new = set(sys.modules) - old; "
        "assert new <= {'pycontain', '__future__'}, new; from pycontain import *; bind; InvalidOption"
    )
    result = python(
        program.replace("from pycontain import *; ", "from pycontain import bind, InvalidOption; ")
    )
    assert result.returncode == 0, result.stderr
    assert not re.search("Traceback", result.stderr)
    assert set(pycontain.__all__) <= set(dir(pycontain))
    for name in set(pycontain.__all__) - {"Engine"}:
        assert getattr(pycontain, name) is not None
    with pytest.raises(AttributeError, match="nosuch"):
        pycontain.nosuch  # noqa: B018
