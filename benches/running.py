"""The rivals' containers that run: how a program gets into one, and how one is started, stopped and removed.

What has to be there for a measurement is made by a shell around it, in the same mount namespace, and removed
by that shell when the subject has ended.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from rivals import DOCKER_RUN, PODMAN_IMAGE, PODMAN_RUN, bundle, need, podman_client
from subject import SPAWN, Subject
from workload import COMMAND, IMAGE, SLEEP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rivals import Dockerd, Place

# Arguments: what begins, what ends, the subject. Ctrl-C is for the subject, and what began is to be ended.
AROUND = """
trap : INT TERM
sh -c "$1" </dev/null >/dev/null || exit
end=$2
shift 2
"$@"
sh -c "$end" </dev/null >/dev/null
"""
INSIDE = "pycontain-bench-inside"


def around(begin: list[str], subject: list[str], end: list[str]) -> list[str]:
    """The subject, between what begins and what ends."""
    return ["sh", "-c", AROUND, "around", shlex.join(begin), shlex.join(end), *subject]


def namespaces(pid: int) -> Subject:
    """`nsenter` into all namespaces of a process: no cgroup, no user, no capabilities dropped, no seccomp."""
    need("nsenter")
    return Subject([*SPAWN, "nsenter", "--all", "--target", str(pid), *COMMAND])


def oci_exec(place: Place, program: str) -> Subject:
    """`crun exec`, `runc exec`: as the container without a user namespace or a seccomp profile."""
    path, runtime = bundle(place, program, SLEEP)
    name = os.path.basename(path)
    begin = [*runtime, "run", "--detach", "--bundle", path, name]
    subject = [*SPAWN, *runtime, "exec", name, *COMMAND]
    return Subject(place.view(around(begin, subject, [*runtime, "delete", "--force", name])))


def oci_life(place: Place, program: str) -> Subject:
    """`crun run --detach` and `crun delete --force` of a bundle."""
    path, runtime = bundle(place, program, SLEEP)
    name = f"{os.path.basename(path)}-{{}}"
    steps = [[*runtime, "run", "--detach", "--bundle", path, name], [*runtime, "delete", "--force", name]]
    return Subject(place.view([*SPAWN, "sh", "-c", " && ".join(map(shlex.join, steps))]))


def podman_exec(place: Place, runtime: str) -> Subject:
    """`podman exec`."""
    client, environment = podman_client(place, runtime)
    name = f"{INSIDE}-{runtime}"
    begin = [*client, *PODMAN_RUN, "--detach", "--name", name, PODMAN_IMAGE, *SLEEP]
    subject = [*SPAWN, *client, "exec", name, *COMMAND]
    end = [*client, "rm", "--force", "--time", "0", name]
    return Subject(place.view(around(begin, subject, end)), environment)


def docker_exec(daemon: Dockerd) -> Subject:
    """`docker exec`."""
    begin = [*daemon.command, *DOCKER_RUN, "--detach", "--name", INSIDE, IMAGE, *SLEEP]
    subject = [*SPAWN, *daemon.command, "exec", INSIDE, *COMMAND]
    return Subject(around(begin, subject, [*daemon.command, "rm", "--force", INSIDE]))


def podman_life(place: Place, runtime: str, *, kill: bool) -> Subject:
    """`podman run --detach`, `podman stop`, `podman rm`; or without a stop, `podman rm --force`."""
    client, environment = podman_client(place, runtime)
    return _life(client, [*PODMAN_RUN, PODMAN_IMAGE], place, environment, kill=kill)


def docker_life(daemon: Dockerd, *, kill: bool) -> Subject:
    """The same of docker."""
    return _life(daemon.command, [*DOCKER_RUN, IMAGE], kill=kill)


def _life(
    client: list[str],
    run: list[str],
    place: Place | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    kill: bool,
) -> Subject:
    *options, image = run
    start = [*client, *options, "--detach", "--name", "NAME", image, *SLEEP]
    steps = [start, [*client, "rm", "--force", *(["--time", "0"] if place and kill else []), "NAME"]]
    if not kill:
        steps[1:] = [[*client, "stop", "NAME"], [*client, "rm", "NAME"]]
    script = " && ".join(map(shlex.join, steps)).replace("NAME", "life-{}")
    command = [*SPAWN, "sh", "-c", script]
    return Subject(place.view(command) if place else command, environment)
