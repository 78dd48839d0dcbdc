"""The same steps with docker and with pycontain: what is printed, exit codes, and what `inspect` says."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import containers
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from pycontain import Engine

pytestmark = [pytest.mark.root, pytest.mark.timeout(containers.seconds(120) + 60)]

TRAP = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"
CAUGHT = "exec traps sh -c 'until grep -q SigCgt:.*[1-9a-f] /proc/1/status; do :; done'"
STATE = "{{.State.Status}} {{.State.Running}} {{.State.Paused}} {{.State.ExitCode}} {{.State.OOMKilled}}"
# each a command line; the same in both. `=` before it: what it prints on standard output is compared, too
STEPS = [
    "= inspect nobody",
    "start nobody",
    "rm nobody",
    "= rm -f nobody",
    "create --name ends busybox sh -c 'echo out; echo err >&2; exit 3'",
    f"= inspect -f '{STATE}' ends",
    "create --name ends busybox true",
    "= start ends",
    "= wait ends",
    f"= inspect -f '{STATE}' ends",
    "= logs ends",
    "= ps -a --format '{{.Names}} {{.Image}} {{.Command}} {{.State}}'",
    "= start -a ends",
    "exec ends true",
    "= rename ends ended",
    "= rename nobody other",
    *(
        f"= logs {bound} ended"
        for bound in ("--since ''", "--since=-10m", "--until ''", "--until 0", "--details")
    ),
    *(f"= logs {bound} ended" for bound in ("--until 1", "--until=-10m", "--since 10m")),
    *(
        f"= ps -a -f name={name} --format '{{{{.Names}}}}'"
        for name in ("^/ended$", "^ended$", "/ended", "^/nded")
    ),
    *(f"= ps -aq -f {name}" for name in ("publish=80", "expose=80", "is-task=true", "is-task=x")),
    "run --name mute --log-driver none busybox echo hi",
    "= logs mute",
    "run --name long --log-opt max-file=3 busybox true",
    "= rm mute long",
    "= run busybox sh -c 'echo out; exit 5'",
    "= run --rm -i busybox cat",
    "run --name missing busybox no-such-command",
    f"= inspect -f '{STATE}' missing",
    "run --rm busybox /etc",
    "run --rm --no-such-flag busybox true",
    "run --rm --name missing busybox true",
    "run --rm -w relative busybox true",
    "run -d --name sleeps busybox sleep 1000",
    f"= inspect -f '{STATE}' sleeps",
    "= ps --format '{{.Names}} {{.State}}'",
    "= exec sleeps sh -c 'echo inside; exit 4'",
    "= exec -e A=1 -w /etc -u 0 sleeps sh -c 'echo $A $PWD'",
    "rm sleeps",
    "= pause sleeps",
    "= pause sleeps",
    f"= inspect -f '{STATE}' sleeps",
    "= unpause sleeps",
    "= unpause sleeps",
    "= kill -s USR1 sleeps",  # process 1 ignores it
    "kill -s NONSENSE sleeps",
    f"= inspect -f '{STATE}' sleeps",
    "rm sleeps",
    "= update --pids-limit -5 sleeps",
    "= kill -s '' sleeps",
    "= wait sleeps",
    f"= inspect -f '{STATE}' sleeps",
    "kill sleeps",
    "= stop sleeps",
    f'run -d --name traps busybox sh -c "{TRAP}"',
    CAUGHT,
    "= stop traps",
    f"= inspect -f '{STATE}' traps",
    "= restart -t 0 traps",
    CAUGHT,
    "= kill -s TERM traps",
    "= wait traps",
    "run -d --name again --restart on-failure:2 busybox sh -c 'exit 9'",
    "run --rm busybox sleep 3",  # a wait between two runs would be docker's end
    "= wait again",
    "= inspect -f '{{.RestartCount}} {{.State.ExitCode}} {{.HostConfig.RestartPolicy.Name}}' again",
    "= run --name eats -m 16m --memory-swap 16m busybox dd if=/dev/zero of=/dev/null bs=64M count=1",
    "= inspect -f '{{.State.Status}} {{.State.ExitCode}}' eats",  # docker may hear of the kill too late
    "run --name changes busybox sh -c 'echo x > /root/x; rm /etc/group; mkdir /srv'",
    "= diff changes",
    "= rm changes eats again",
    "= rm -f traps sleeps missing",
    "= ps -a --filter name=ended --format '{{.Names}}'",
    "container prune -f --filter until=1s",
    "= volume create data",
    "= volume create --label a=b data",
    "= volume create -d nothing other",
    "= volume create -o foo=bar other",
    "= volume create a/b",
    "= volume ls",
    "= volume ls -q -f label=a",
    "= volume ls --format '{{.Name}} {{.Driver}} {{.Scope}} {{.Links}} {{.Size}} {{.Labels}}'",
    "volume ls -f nothing=1",
    "= run --rm -v data:/home busybox sh -c 'ls /home; echo x > /home/f'",
    "= run --rm -v data:/d:ro busybox sh -c 'ls /d; touch /d/x'",
    "= run --rm -v new:/home:nocopy busybox ls /home",
    "run --rm -v a/b:/d busybox true",
    "= run --rm --mount type=volume,src=data,dst=/d,readonly busybox cat /d/f",
    "create --name user -v data:/d -v /own busybox cat /d/f",
    "= start -a user",
    "= inspect -f '{{range .Mounts}}{{if .RW}}{{.Type}} {{.Driver}} {{end}}{{end}}' user",
    "= inspect -f '{{.HostConfig.Binds}} {{.Config.Volumes}}' user",
    "= run --rm --volumes-from user busybox cat /d/f",
    "= run --rm --volumes-from user:ro busybox touch /d/f",
    "run --rm --volumes-from nobody busybox true",
    "= ps -a -f volume=data --format '{{.Names}} {{.LocalVolumes}}'",
    "= ps -a -f volume=/d --format '{{.Names}}'",
    "volume rm data",
    "= volume rm new nobody",
    "= volume ls -q -f dangling=true",
    "= volume ls -q -f dangling=false -f name=dat",
    "= rm -v user",
    "= volume ls -q",
    "= volume prune -f --filter label=none",
    "= volume inspect -f '{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}} {{.Options}}' data",
    "= volume inspect nobody",
    "= volume rm data",
    "= volume rm data",
    "= volume rm -f data",
]


def follow(program: list[str], environment: dict[str, str] | None) -> list[tuple[str, int, str]]:
    found = []
    for step in STEPS:
        line = step.removeprefix("= ")
        words = ["sh", "-c", f'exec "$@" {line}', "sh", *program]
        done = subprocess.run(
            words, input="typed", capture_output=True, text=True, check=False, timeout=100, env=environment
        )
        out = done.stdout if step.startswith("= ") else ""
        if line.startswith("diff"):
            out = "".join(sorted(out.splitlines(keepends=True)))  # docker's order depends on its storage
        found.append((line, done.returncode, out))
    return found


def test_the_same_steps_end_the_same(
    docker: list[str], own: Engine, fresh_cli: containers.Cli, tmp_path: Path
) -> None:
    archive = str(tmp_path / "busybox.tar")
    subprocess.run([*docker, "import", archive, "busybox"], check=True, capture_output=True)
    theirs = follow(docker, None)
    ours = follow([str(fresh_cli.program)], fresh_cli.environment)
    different = [(one, other) for one, other in zip(ours, theirs, strict=True) if one != other]
    assert different == []


def keys(document: dict[str, Any]) -> set[str]:
    """Of all objects in it, as paths."""
    return {
        path
        for key, value in document.items()
        for path in ({key, *(f"{key}.{one}" for one in keys(value))} if isinstance(value, dict) else {key})
    }


def test_inspect_has_what_docker_has(
    docker: list[str], own: Engine, fresh_cli: containers.Cli, tmp_path: Path
) -> None:
    archive = str(tmp_path / "busybox.tar")
    subprocess.run([*docker, "import", archive, "busybox"], check=True, capture_output=True)
    name = "inspected"
    found = []
    for program, environment in ((docker, None), ([str(fresh_cli.program)], fresh_cli.environment)):
        words = [*program, "run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "1000"]
        subprocess.run(words, check=True, capture_output=True, env=environment)
        done = subprocess.run([*program, "inspect", name], check=True, capture_output=True, env=environment)
        found.append(json.loads(done.stdout)[0])
        subprocess.run([*program, "rm", "-f", name], check=True, capture_output=True, env=environment)
    parts = ("State", "Config", "HostConfig", "NetworkSettings")
    theirs, ours = (keys({key: one[key] for key in parts}) for one in found)
    assert {key for key in theirs - ours if "KernelMemory" not in key} == set()  # newer dockers have not
