"""Writes what follows from the command line: `python docs/generate_cli.py`, or `--check` to compare only.

That is docs/cli.md, the reference, and pycontain/cli/grammar.py, by which plain lines are read without typer.
What a command means beyond its flags is written here, in `_NOTES`; a command without a note is an error.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycontain.cli import grammar as written
from pycontain.cli.commands import ALIASES, COMMANDS, GROUPS, group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain.cli.grammar import Grammar

TOP = Path(__file__).resolve().parent.parent
PAGE = TOP / "docs/cli.md"
GRAMMAR = TOP / "python/pycontain/cli/grammar.py"

_HEAD = """\
# The command line

The commands are docker's, and so are their flags and exit codes. stdout is data, stderr is talk: a failure
is one line that says what failed, on what and why, and a line `hint: …` where there is a next step.

This page is made by `docs/generate_cli.py`; a test fails when it is out of date.
"""

_NOTES = {
    "run": """\
The command runs in the foreground, with the streams, the terminal and the signals of `pycontain run`, and
goes on when it is left: by ctrl-p ctrl-q in a terminal. Other commands see it, but for one that has `--rm`
and neither a name nor a terminal: that is its own alone. One with `--rm` and no name ends with `run`. With
`--detach` in the background: the container's id goes to stdout, and what it writes to its log.
`IMAGE` is the name or the id of an image that is here, or `host`: this machine's own programs below a
writable layer. With `--rootfs DIR` there is no image: all words belong to the command. Flags come before
the image.

Without `--rm` the container stays when its command has ended, until [pycontain rm](#pycontain-rm) removes
it. It gets a name, if it is given none.

An image that is not here is fetched from its registry, as by [pycontain pull](#pycontain-pull), unless
`--pull never`; with `--pull always` its registry is asked each time.

| exit code | meaning |
|---|---|
| the command's | it ended by itself; 128 + n when signal n ended it |
| 125 | pycontain failed, or the command line is wrong |
| 126 | the command cannot be executed |
| 127 | the command is not in the container |

Sizes are bytes, or a number with `b`, `k`, `m`, `g`, `t` or `p`: powers of 1024.

`--secret` and `--config` take these, with commas between them, and give the container a file in memory that
is read anew at each start:

| key | |
|---|---|
| `id=NAME` | its name; a secret is at `/run/secrets/NAME`, a config at `/NAME`, but with `target` |
| `src=FILE` | where it comes from: a file of at most 500 KB, of a config 1,000 KB. Also `source` |
| `env=VARIABLE` | or a variable of who starts the container |
| `target=PATH` | where it is: absolute, or below `/run/secrets`, of a config below `/`. Also `dst` |
| `uid=N`, `gid=N` | whose it is, by the container's ids [default: 0] |
| `mode=OCTAL` | who may read it [default: 0400, of a config 0444] |
| `type=` | `env`: of the variable `src` or `id`, as for `docker build`; `file` and `mount` change nothing |

How names are found is told with [the options of Python](python.md#options). `--add-host` takes `NAME=ADDRESS`
as well, an IPv6 address with or without brackets, and `host-gateway` for this machine. `--link` makes no
environment variables.

```console
$ printf swordfish > password
$ pycontain run --rm --secret id=db,src=password host cat /run/secrets/db; echo
swordfish
$ pycontain run --rm --memory 64m --read-only host sh -c 'touch /file; echo $?' 2>/dev/null
1
$ pycontain run --rm host no-such-command; echo "exit code $?"
pycontain: …not found in $PATH…
exit code 127
```
""",
    "history": """\
One line for each step, the last first. Sizes are of the layer that the step made, unpacked.

```console
$ mkdir tree && echo hello > tree/greeting
$ tar -C tree -c . | pycontain import --message 'by hand' - hello:1 > /dev/null
$ pycontain history --format '{{.Size}} {{.Comment}}' hello:1
6B by hand
```
""",
    "images": """\
The image `host` is not in the list: its content is the machine's, nothing is kept.

A pattern may have `*`, `?` and `[a-z]`, which stop at a slash: `registry.lan/*/app`, `alpine:3.*`.
Filters of different kinds must all hold, and all labels; of several references one has to fit:

| filter | |
|---|---|
| `dangling=true` | without a tag |
| `label=KEY`, `label=KEY=VALUE` | with this label |
| `before=IMAGE`, `since=IMAGE` | made before or after this one |
| `until=TIME` | made before this: `24h` ago, `2026-01-31`, RFC 3339 |
| `reference=PATTERN` | with a name that fits |

`--format` takes `json`, a Go template for each row, or `table` and a template whose columns are divided
by `\\t`. Fields: `.ID .Repository .Tag .Digest .CreatedSince .CreatedAt .Size`. Functions: Go's, and
`json join split title upper lower pad truncate`.

```console
$ mkdir tree && echo hello > tree/greeting
$ tar -C tree -c . | pycontain import --change 'LABEL tier=front' - shop:1 > /dev/null
$ pycontain images --filter label=tier=front --format 'table {{.Repository}}\\t{{.Size}}'
REPOSITORY   SIZE
shop         6B
```
""",
    "inspect": """\
JSON as `docker inspect` prints it: of the container of that name or id, else of the image, else of the
network. `GraphDriver` has the directories of the layers. With `--format` a Go template for each. What is
not found is told after what is, and the exit code is 1.

```console
$ pycontain create --name web --label tier=front host sleep 10
…
$ pycontain inspect --format '{{.State.Status}} {{.Config.Labels.tier}}' web
created front
```
""",
    "cp": """\
The container may run or not. As with docker's: a directory that is there gets the source as one more
member; `DIR/.` stands for what is in a directory; with `-` a tar is read or written. What is copied into it
belongs to its root, what is copied out of it to the caller, unless `--archive`. The work in the container is
done by a process inside, so that no link leads to a file of the host.

```console
$ pycontain create --name box host true > /dev/null
$ echo hello > /tmp/greeting && pycontain cp /tmp/greeting box:/srv
$ pycontain cp box:/srv/greeting - | tar -xO
hello
$ pycontain rm box
box
```
""",
    "create": """\
The options are those of [pycontain run](#pycontain-run). The id goes to stdout.
""",
    "container inspect": """\
The same as [pycontain inspect](#pycontain-inspect), of containers alone. With `--size` the bytes of the
files that it wrote, `SizeRw`, and of all its files, `SizeRootFs`.
""",
    "checkpoint create": """\
Only [CRIU](https://criu.org) could do that. This says whether it is missing, does not work on this machine,
or would, and ends with 1. `pycontain container save` moves a container without its processes.
""",
    "container prune": """\
It asks first, unless `--force`. Filters are `until=TIME` (made before: `24h` ago, `2026-01-31`, RFC 3339),
`label=KEY[=VALUE]` and `label!=KEY[=VALUE]`.

```console
$ pycontain create host true
…
$ pycontain container prune --force
Deleted Containers:
…

Total reclaimed space: 0B
```
""",
    "container fork": """\
The new container has the options of the other, an id and a name of its own, and prints its id. It is started
if the other runs. Neither sees what the other writes from then on. What a stopped container has written is
not copied but shared; one that runs stands still while it is copied. Volumes without a name are copied;
those with one are the same for both.

```console
$ pycontain run --name first host sh -c 'echo text > /root/file'
$ pycontain container fork --name second first
…
$ pycontain diff second
C /root
A /root/file
```
""",
    "container load": """\
The image has to be here, or in the archive. A container that is here already, from an archive before, is
replaced, and the volumes that it has alone with it; it must not run. Any other volume that has the name of
one that comes along stands in the way: what is in there may be somebody's only copy. The configuration is
taken as it is: load only what comes from somebody who may run containers here.

```console
$ pycontain container load --input missing.tar
pycontain: cannot read `missing.tar`: no such file or directory
```
""",
    "container save": """\
What it is, what it wrote, and its volumes; with `--with-image` its image. It stands still while these are
read; others that have the volumes mounted do not. With `--incremental` the archive has only what the last one
did not have, and the volumes, so the same command moves a container for the first time and again:

    pycontain container save --incremental web | ssh host pycontain container load

What a stopped container wrote is not sent twice; what one that runs wrote since its start is sent each time.
Directories of the host are not in the archive, and processes end here and begin there.

```console
$ pycontain create --name local host true
…
$ pycontain container save --output local.tar local
pycontain: cannot save container "local": it is made of files that only this machine has
hint: `pycontain export` writes all of its files
```
""",
    "events": """\
By whatever process: what happens is written down below the root. Without `--since` and `--until` it begins
now; it ends at `--until`, or is interrupted. Actions are `create`, `start`, `die`, `oom`, `kill`, `stop`,
`pause`, `unpause`, `attach`, `detach`, `rename`, `update`, `destroy` and `prune`; of files `archive-path`
and `extract-to-dir` (by `cp`, out and in), `export` and `commit`; of further processes
`exec_create: COMMAND`, `exec_start: COMMAND` and `exec_die`; and `health_status: healthy` or `unhealthy`.
Those of networks are `create`, `destroy` and `prune`.

Of filters of different kinds all must hold, and all labels; of several values of one kind, one.

```console
$ pycontain create --name web host true > /dev/null
$ pycontain rm web
web
$ pycontain events --until 0s --format '{{.Action}} {{.Actor.Attributes.name}}'
create web
destroy web
```
""",
    "logs": """\
Of one that goes with its command and has neither a name nor a terminal, nothing is kept. What it
wrote to its standard error goes to stderr.
""",
    "port": """\
Of one that runs. A port of the host that was to be any is another one after each start.
""",
    "ps": """\
Those that run; with `--all`, `--last`, `--latest` or a filter by status also others. The youngest first. A
container whose keeper was killed has ended, with 255.

| filter | |
|---|---|
| `id=PATTERN`, `name=PATTERN` | with this in its id or name, a regular expression |
| `label=KEY[=VALUE]` | with this label |
| `status=STATUS` | created, running, paused, restarting, exited or dead |
| `exited=CODE` | with this exit code |
| `ancestor=IMAGE` | made from this image |
| `before=CONTAINER`, `since=CONTAINER` | made before or after this one |
| `volume=NAME`, `volume=PATH` | with this volume mounted, this of the host, or something there |
| `network=NETWORK` | `none` or `host` |
| `health=HEALTH` | starting, healthy, unhealthy or none |

Of filters of different kinds all must hold, and all labels; of several values of one kind, one. `--format`
as of [pycontain images](#pycontain-images). Fields: `.ID .Names .Image .Command .State .Status .CreatedAt
.RunningFor .Size .Labels .Mounts .LocalVolumes .Networks .Ports`, and `.Label "KEY"`.

```console
$ pycontain create --name web --label tier=front host sleep 10 > /dev/null
$ pycontain ps --all --format 'table {{.Names}}\\t{{.Status}}\\t{{.Label "tier"}}'
NAMES     STATUS    tier
web       Created   front
```
""",
    "kill": """\
SIGKILL ends a container; what another signal does is up to its first process: one that does not handle it
does not notice. `SIGNAL` is `TERM`, `SIGTERM` or 15.
""",
    "stats": """\
Without names, all containers that run. A line for each, again every second; on a terminal in place. `CPU %`
is of one processor, over the last tenth of a second. `--format` has docker's fields, and `Throttled`,
`OOMKills` and `Pressure` (of control groups version 2).
""",
    "stop": """\
By its stop signal, and by SIGKILL after its stop timeout. One that does not handle the signal is killed at
once: as process 1 it would not even notice.

```console
$ pycontain run --detach --name sleeper host sleep inf > /dev/null
$ pycontain stop sleeper
sleeper
$ pycontain ps --all --format '{{.Names}}: {{.State}}'
sleeper: exited
```
""",
    "wait": """\
Prints the exit codes, in the order of the names.

```console
$ pycontain run --detach --name short host sh -c 'sleep 0.1; exit 3' > /dev/null
$ pycontain wait short
3
```
""",
    "attach": """\
To one that was started in the background. It reads what is typed if it was made with `--interactive`. The
exit code is the container's; when the detach keys are typed in a terminal it is left, and goes on.
""",
    "exec": """\
With the container's own user, environment and working directory, unless flags say otherwise, and confined as
it is. The exit code is the command's; 126 and 127 as of [pycontain run](#pycontain-run). With `--detach` it
goes on in the background, and nobody sees what it writes.

```console
$ pycontain run --detach --name sleeper --env GREETING=hello host sleep inf > /dev/null
$ pycontain exec --env WHO=you sleeper sh -c 'echo $GREETING $WHO; exit 3'; echo "exit code $?"
hello you
exit code 3
$ pycontain rm --force sleeper
sleeper
```
""",
    "pause": """\
They can still be stopped and killed.
""",
    "top": """\
Without options the columns of `ps -ef`, and ps is not needed; with options the host's ps is asked.
""",
    "unpause": """\
They go on where they were.
""",
    "restart": """\
Those that do not run are started. The flags are those of [pycontain stop](#pycontain-stop).
""",
    "start": """\
In the background, with the files that they left. With `--attach` or `--interactive` one container, on the
streams of this process; the exit code is the container's.

```console
$ pycontain create --name greeter host echo hello > /dev/null
$ pycontain start --attach greeter
hello
$ pycontain logs greeter
hello
```
""",
    "rename": """\
It may be running.
""",
    "rm": """\
Containers that do not run; with `--force` also others, which are killed. What is in `--volume DIR` of the
host stays, and so do volumes; with `--volumes` those go that nobody gave a name and no other container uses.

```console
$ pycontain create --name web host true > /dev/null
$ pycontain rm web
web
```
""",
    "image inspect": """\
The same as [pycontain inspect](#pycontain-inspect), of images alone.

```console
$ mkdir tree && echo hello > tree/greeting
$ tar -C tree -c . | pycontain import --change 'CMD ["sh"]' - hello:1 > /dev/null
$ pycontain image inspect --format '{{json .Config.Cmd}} {{len .RootFS.Layers}}' hello:1
["sh"] 1
```
""",
    "image bootstrap": """\
Makes an image without any registry: of `debian` or `ubuntu`, of the suite after the colon, by an
installed mmdebstrap (as root, or as a user with subordinate ids) or debootstrap (as root). Packages come
from the mirror that this machine's apt has for that suite, else from the distribution's own, and are
checked with its keys.

```console
# not run by the tests: downloads 40 MB
$ pycontain image bootstrap debian:bookworm
sha256:…
$ pycontain run --rm debian:bookworm cat /etc/debian_version
12.…
```
""",
    "image prune": """\
Removes images without a tag, or with `--all` or `--keep-storage` images with one too; never one that a
container is made from, running or not. Layers go when no other image has them. It asks first, unless
`--force`.

`--keep-storage 20GB` removes no more than it takes: the image that was least recently used goes first,
until all layers, each counted once, unpacked and as they came, take no more than that. Used means: a
container was made from it; before that, it was added.

```console
$ mkdir tree && echo hello > tree/greeting
$ tar -C tree -c . | pycontain import - hello:1 > /dev/null
$ pycontain image prune --all --force
Deleted Images:
untagged: hello:1
deleted: sha256:…
deleted: sha256:…

Total reclaimed space: …kB
```
""",
    "network connect": """\
One that runs is in the network at once: it has another interface there, and its neighbours know each other
by name from then on. One that does not comes into it by its next start. It stays so over restarts. One that
was made with `--network none`, `host` or `container:` can be in no other.

```console
$ pycontain network create front > /dev/null
$ pycontain create --name web --network bridge host sleep 1000 > /dev/null
$ pycontain network connect --alias www front web
$ pycontain ps --all --format '{{.Names}}: {{.Networks}}'
web: bridge,front
$ pycontain network connect front web
pycontain: endpoint with name web already exists in network front
hint: `pycontain network disconnect front web` takes it out
$ pycontain rm web
web
$ pycontain network rm front
front
```
""",
    "network create": """\
Prints the id. A name is one network's. Of a network the kernel knows nothing until its first container
starts; then it gets a bridge of its own, after a restart of the machine as well. Only root can make networks.

Without `--subnet` a subnet is taken that no other network and no route of this machine has an address in
common with; with `--ipv6` one of IPv6, too, of this machine's unique local addresses. `--subnet`,
`--gateway`, `--ip-range` and `--aux-address` may be given for both; the first three take several with commas
between them.

| `--opt` | |
|---|---|
| `com.docker.network.driver.mtu` | bytes in a packet |
| `com.docker.network.bridge.name` | the name of its device; there must be none of it |
| `com.docker.network.bridge.enable_icc` | `false`: its containers do not reach each other |
| `com.docker.network.bridge.enable_ip_masquerade` | `false`: others see a container's own address |
| `com.docker.network.bridge.host_binding_ipv4` | where ports are published |

```console
$ pycontain network create --subnet 10.213.0.0/24 --gateway 10.213.0.254 --label tier=front front
…
$ pycontain network inspect --format '{{(index .IPAM.Config 0).Gateway}} {{.Labels.tier}}' front
10.213.0.254 front
$ pycontain network create --subnet 10.213.0.128/25 back
pycontain: subnet 10.213.0.128/25 overlaps that of network `front`
hint: leave `--subnet` out: a free one is taken
$ pycontain network rm front
front
```
""",
    "network disconnect": """\
One that runs loses its interface there, with all connections by it, and the ports that were published there.
With `--force` it is no error that it is not in the network.

```console
$ pycontain network create front > /dev/null
$ pycontain create --name web --network front host sleep 1000 > /dev/null
$ pycontain network disconnect front web
$ pycontain network disconnect front web
pycontain: container web is not connected to network front
hint: `pycontain inspect` shows its networks
$ pycontain rm web
web
$ pycontain network rm front
front
```
""",
    "network inspect": """\
JSON as `docker network inspect` prints it. In `Containers` are those that run, with their addresses. With
`--format` a Go template for each. What is not found is told after what is, and the exit code is 1.

```console
$ pycontain network inspect --format '{{.Name}}: {{.Driver}}, {{len .Containers}} containers' none missing
none: null, 0 containers
pycontain: no such network: `missing`
hint: `pycontain network ls` lists those that are there
```
""",
    "network ls": """\
By their names. `bridge`, `host` and `none` are always there.

| filter | |
|---|---|
| `id=PATTERN`, `name=PATTERN` | with this in its id or name, a regular expression |
| `driver=DRIVER` | `bridge`, `host` or `null` |
| `label=KEY[=VALUE]` | with this label |
| `type=TYPE` | `custom`, or `builtin`: those that are always there |
| `dangling=true` | of those that were made: no running container is in them; `false`: all others |
| `scope=local` | all of them |

Of filters of different kinds all must hold, and all labels; of several values of one kind, one. `--format`
as of [pycontain images](#pycontain-images). Fields: `.ID .Name .Driver .Scope .IPv4 .IPv6 .Internal .Labels
.CreatedAt`, and `.Label "KEY"`.

```console
$ pycontain network create --label tier=front front > /dev/null
$ pycontain network ls
NETWORK ID     NAME      DRIVER    SCOPE
…   bridge    bridge    local
…   front     bridge    local
…   host      host      local
…   none      null      local
$ pycontain network ls --filter label=tier --format '{{.Name}} {{.Label "tier"}}'
front front
$ pycontain network rm front
front
```
""",
    "network prune": """\
Those that no container which runs is in; never `bridge`, `host` and `none`. It asks first, unless `--force`.
Filters are those of [pycontain container prune](#pycontain-container-prune).

```console
$ pycontain network create --label keep front > /dev/null
$ pycontain network create back > /dev/null
$ pycontain network prune --force --filter label!=keep
Deleted Networks:
back

$ pycontain network rm front
front
```
""",
    "network rm": """\
By name, id, or beginning of an id. Not while a container that runs is in it; one that does not run has to be
given another network before it can start again. `bridge`, `host` and `none` stay. With `--force` it is no
failure that there is none of a name.

```console
$ pycontain network create front > /dev/null
$ pycontain network rm front none
front
pycontain: network `none` is predefined, and cannot be removed
hint: `pycontain network ls --filter type=custom` lists those that can be
```
""",
    "system df": """\
The size of images is that of their layers, each counted once: unpacked, and as it came (the compressed
bytes are kept for `push` and `save`). What no container uses is reclaimable. `--verbose` shows for each
image what its layers take unpacked, shared with other images and not. Containers are counted by the
files that they wrote.

```console
$ pycontain system df
TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE
Images          0         0         0B        0B
Containers      0         0         0B        0B
Local Volumes   0         0         0B        0B
Build Cache     0         0         0B        0B
```
""",
    "system prune": """\
Removes containers that do not run, networks that no container is in, with `--volumes` volumes that nobody
gave a name, images as [pycontain image prune](#pycontain-image-prune) does, and what ended processes left
unfinished. It asks first, unless `--force`.
""",
    "commit": """\
The new image has the configuration, the layers and the history of the container's image, and one layer more:
what the container wrote. `-c` takes the instructions that `import` takes. What options of `run` set is not in
the image. The id goes to stdout.

A container that runs is paused meanwhile; `--pause=false` or `--no-pause` leaves it running. One of the image
`host` or of `--rootfs` has no image to go on from.

With `SOURCE_DATE_EPOCH` in the environment that is the time of the image, and the latest one of a file: the
same files make the same image.
""",
    "diff": """\
`C` changed, `A` added, `D` deleted. A directory with changes in it is changed too; what was in one that is
deleted is not listed.

```console
$ pycontain run --name writer host sh -c 'echo hello > /etc/greeting; rm /etc/hostname.old 2>/dev/null; true'
$ pycontain diff writer
C /etc
A /etc/greeting
```
""",
    "export": """\
The container may be running, and goes on running. What is mounted in it is left out. Owners are those inside.

```console
$ mkdir -p tree/bin && cp "$(command -v busybox || echo /bin/true)" tree/bin/busybox
$ tar -C tree -c . | pycontain import - exported:1
sha256:…
$ pycontain run --name maker exported:1 /bin/busybox touch /made
$ pycontain export maker | tar -t | grep made
made
```
""",
    "import": """\
The tar may be compressed by gzip or zstd. The image has one layer. Its id goes to stdout.

```console
$ mkdir -p tree/bin && cp "$(command -v busybox || echo /bin/true)" tree/bin/hello
$ tar -C tree -c . | pycontain import --change 'CMD ["/bin/hello"]' - hello:1
sha256:…
$ pycontain rmi hello:1
Untagged: hello:1
Deleted: sha256:…
…
```
""",
    "load": """\
The archive may be compressed by gzip or zstd as a whole. `FILE` may be the directory of an OCI layout. An
archive in which one image is invalid adds none.

```console
# not run by the tests: needs an image of your own
$ docker save alpine:3.20 | pycontain load
Loaded image: alpine:3.20
```
""",
    "login": """\
The registry is asked, then name and password, or the token that it gives in their place, are kept in
docker's `config.json`, or by the credential helper that is set there; docker, podman and skopeo find them
too. `SERVER` is docker.io when it is left out.

```console
# not run by the tests: needs a registry with accounts
$ pycontain login --username me --password-stdin registry.lan:5000 < password
Login Succeeded
```
""",
    "logout": """\
`SERVER` is docker.io when it is left out.

```console
$ pycontain logout registry.lan:5000
Not logged in to registry.lan:5000
```
""",
    "manifest inspect": """\
As the registry has it, which is asked even when the image is here.
""",
    "pull": """\
What is here already is not moved again, and a layer that another process is fetching is waited for. A broken
connection is taken up where it broke. `docker.io` is meant where the name has no registry;
[docs/registries.md](registries.md) tells how to change that, and of mirrors, certificates and plain HTTP.
Progress is bars on a terminal, else a line for each step; the last line is the image's full name.

```console
# not run by the tests: needs a connection to docker.io
$ pycontain pull alpine:3.20
3.20: Pulling from library/alpine
…
Digest: sha256:…
Status: Downloaded newer image for alpine:3.20
docker.io/library/alpine:3.20
```
""",
    "push": """\
Layers that the registry has are not sent again, and those that it has in another repository are mounted
from there. An image that came from a registry unchanged keeps its digest; any other gets an OCI manifest.

```console
# not run by the tests: needs a registry
$ pycontain tag debian:13 registry.lan:5000/debian:13
$ pycontain push registry.lan:5000/debian:13
The push refers to repository [registry.lan:5000/debian]
…: Pushed
13: digest: sha256:… size: …
```
""",
    "volume create": """\
A volume is a directory that containers mount, and that stays when they go. One of this name that is there
is left as it is. Without a name it gets one of 64 hexadecimal digits, and `volume prune` takes it. `run
--volume NAME:/inside` makes a volume that is not there yet, too.

Options are those of docker's driver `local`, the only one: `type=none`, `o=bind`, `device=DIR` stands for a
directory of the host; `type=tmpfs`, `device=tmpfs`, `o=size=64m,mode=700` for memory, of which each container
has its own; `type=ext4`, `device=/dev/…` for a file system on a device, which root can have mounted. Nothing
is ever mounted on the host: a container has it mounted, and no one else.

```console
$ pycontain volume create data
data
$ pycontain run --rm --volume data:/data host sh -c 'echo hello > /data/greeting'
$ pycontain run --rm --volume data:/data:ro host cat /data/greeting
hello
```
""",
    "volume export": """\
Whatever containers write meanwhile may be half in it. An archive is not written to a terminal.

```console
$ pycontain volume create data
data
$ pycontain volume export data --output data.tar
```
""",
    "volume import": """\
The volume has to be there, and empty, and no container may use it. It has all files at once, or none.

```console
$ mkdir tree && echo hello > tree/greeting
$ pycontain volume create data
data
$ tar -C tree -c . | pycontain volume import data -
$ pycontain run --rm --volume data:/data host cat /data/greeting
hello
```
""",
    "volume inspect": """\
In the shape of docker's JSON.

```console
$ pycontain volume create --label tier=db data
data
$ pycontain volume inspect --format '{{.Driver}} {{.Labels.tier}}' data
local db
```
""",
    "volume ls": """\
| filter | which volumes |
|---|---|
| `dangling=true`, `dangling=false` | no container uses it, or one does |
| `driver=NAME` | of this driver |
| `label=KEY`, `label=KEY=VALUE` | with this label |
| `name=PART` | whose name has this in it |

```console
$ pycontain volume create data
data
$ pycontain volume ls
DRIVER    VOLUME NAME
local     data
```
""",
    "volume prune": """\
Removes those that nobody gave a name; with `--all` the others, too. It asks first, unless `--force`. Filters:
`label`, `label!`, `all`.
""",
    "volume rm": """\
A volume that a container uses stays, whether that runs or not.

```console
$ pycontain volume create data
data
$ pycontain volume rm data
data
```
""",
    "rmi": """\
A name that is not an image's last is taken away, no more. With the last name go the image and the layers
that no other image has. By id, or the beginning of one, all names of one repository go; of several
repositories only with `--force`.

An image that a container is made from stays. `--force` takes its last name away nevertheless.
""",
    "save": """\
An archive as `docker save` writes it, which is an OCI layout as well: docker, podman and skopeo read it,
as `docker-archive:FILE` or `oci-archive:FILE:TAG`. A name without a tag stands for all tags of its
repository; an image that is given by its id has no name in the archive. The same images give the same
bytes.

Layers are written as they came, compressed or not. Those compressed by zstd are read by docker from
version 23 on. `FILE` appears when all of it is written. An archive is not written to a terminal.

```console
$ mkdir tree && echo hello > tree/greeting
$ tar -C tree -c . | pycontain import - hello:1 > /dev/null
$ pycontain save hello:1 | tar -x -O manifest.json
[{"Config":"blobs/sha256/…","RepoTags":["hello:1"],…
```
""",
    "search": """\
Of docker.io by its search; of other registries (`registry.lan:5000/TERM`) by their catalogue, whose names
must contain the term. `REGISTRY` is docker.io when it is left out.
""",
    "system start": """\
Those with `--restart always`, and those with `--restart unless-stopped` that nobody had stopped. Containers
do without a daemon, so something has to call this after a boot; with systemd:

```ini
# /etc/systemd/system/pycontain.service
[Unit]
Description=Containers that are to run
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
KillMode=none
ExecStart=/usr/local/bin/pycontain system start

[Install]
WantedBy=multi-user.target
```
""",
    "tag": """\
An image that had the target's name before loses it.
""",
    "update": """\
Of a container that runs, the limits change at once; they stay for its next starts.

```console
$ pycontain run -d --name grows --memory 64m host sleep 1000 > /dev/null
$ pycontain update --memory 128m grows
grows
$ pycontain rm -f grows
grows
```
""",
    "version": """\
```console
$ pycontain version
pycontain  …
python     …
kernel     Linux …
```
""",
}


def page() -> str:
    """The page as it should be."""
    commands = group()
    parts = [_HEAD, "\n## Before any command\n\n", *_table(_options(commands))]
    for name in COMMANDS:
        parts += _command(commands, name, COMMANDS[name][1])
    for name in GROUPS:
        parts += _group(commands, name)
    return "".join(parts).rstrip("\n") + "\n"


def _group(commands: Any, name: str) -> Iterator[str]:
    """Its commands: the same as others, or with entries of their own after it."""
    text, table = GROUPS[name]
    same = {row: other for other, row in COMMANDS.items()}
    yield f"\n## pycontain {name}\n\n{text}.\n\n| command | |\n|---|---|\n"
    for command, row in table.items():
        entry = f"pycontain {same[row]}" if row in same else f"pycontain {name} {command}"
        what = "the same as" if row in same else f"{_cell(row[1])}:"
        yield f"| `{command}` | {what} [{entry}](#{entry.replace(' ', '-')}) |\n"
    context: Any = commands.make_context("pycontain", [name], resilient_parsing=True)
    members: Any = commands.get_command(context, name)
    for command, row in table.items():
        if row not in same:
            yield from _command(members, f"{name} {command}", row[1])


def _command(commands: Any, name: str, text: str) -> Iterator[str]:
    context: Any = commands.make_context("pycontain", [name], resilient_parsing=True)
    command: Any = commands.get_command(context, name.rpartition(" ")[2])
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"\n## pycontain {name}\n\n{text}.\n\n"
    yield f"    pycontain {name} {usage}".rstrip() + "\n\n"
    yield _NOTES[name]
    options = _options(command)
    if options:
        yield "\n"
        yield from _table(options)


def _options(command: Any) -> list[tuple[str, str]]:
    """Rows of the table: how an option is spelt, and what it does."""
    return [
        (_spelling(param), param.help or "")
        for param in command.params
        if param.param_type_name == "option" and param.name != "help"
    ]


def _spelling(param: Any) -> str:
    names = sorted(param.opts, key=len)
    value = "" if param.is_flag else f" {param.metavar or param.type.name.upper()}"
    return ", ".join(f"`{name}{value if name == names[-1] else ''}`" for name in names)


def _table(rows: list[tuple[str, str]]) -> Iterator[str]:
    yield "| flag | |\n|---|---|\n"
    for spelling, text in rows:
        yield f"| {_cell(spelling)} | {_cell(text)} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_GRAMMAR_HEAD = '''\
"""The words of each command, as typer knows them: made by docs/generate_cli.py.

A test fails when it is out of date. See `plain`, which reads by it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    # words that are no options: parameter, and one | maybe | many | any;
    # options: parameter, and flag | no | text | number | decimal | list; whether they may follow other words
    Grammar = tuple[tuple[tuple[str, str], ...], dict[str, tuple[str, str]], bool]

'''
_KINDS = {"str": "text", "text": "text", "int": "number", "integer": "number", "float": "decimal"}


def grammar() -> tuple[dict[tuple[str, ...], str], dict[str, Grammar]]:
    """The tables of the module as they should be."""
    commands: dict[tuple[str, ...], str] = {}
    grammars: dict[str, Grammar] = {}
    for words, module, command in _all_commands():
        commands[tuple(words.split())] = module
        grammars[module] = (
            tuple((param.name, _count(param)) for param in command.params if _is_argument(param)),
            {
                spelling: (param.name, kind)
                for param in command.params
                if not _is_argument(param) and param.name != "help"
                for spelling, kind in _spellings(param)
            },
            command.context_settings["allow_interspersed_args"],
        )
    return commands, grammars


def _module(commands: dict[tuple[str, ...], str], grammars: dict[str, Grammar]) -> str:
    of_run = grammars["run"][1].items()
    shared = dict(row for row in grammars["create"][1].items() if row in of_run)

    def table(options: dict[str, tuple[str, str]]) -> str:
        if not shared.items() <= options.items():
            return repr(options)
        more = dict(row for row in options.items() if row[0] not in shared)
        return f"{{**_CONTAINER, {repr(more)[1:]}" if more else "_CONTAINER"

    rows = [
        f"{module!r}: ({arguments!r}, {table(options)}, {anywhere!r})"
        for module, (arguments, options, anywhere) in grammars.items()
    ]
    return f"""{_GRAMMAR_HEAD}\
COMMANDS: dict[tuple[str, ...], str] = {commands!r}

_CONTAINER = {shared!r}  # of all that make one
GRAMMARS: dict[str, Grammar] = {{{", ".join(rows)},}}
"""


def _all_commands() -> Iterator[tuple[str, str, Any]]:
    top = group()
    context: Any = top.make_context("pycontain", ["ps"], resilient_parsing=True)
    for name, row in COMMANDS.items():
        yield name, row[0], top.get_command(context, name)
    for name, (_, table) in GROUPS.items():
        members: Any = top.get_command(context, name)
        for member, row in table.items():
            command = members.get_command(context, member)
            yield f"{name} {member}", row[0], command
            yield from ((f"{name} {alias}", row[0], command) for alias in ALIASES if ALIASES[alias] == member)


def _is_argument(param: Any) -> bool:
    return bool(param.param_type_name == "argument")


def _count(param: Any) -> str:
    if param.nargs == -1:
        return "many" if param.required else "any"
    assert param.nargs == 1, param
    return "one" if param.required else "maybe"


def _spellings(param: Any) -> Iterator[tuple[str, str]]:
    assert param.nargs == 1, param
    assert not param.count, param
    assert param.callback is None, param
    if param.is_flag:
        kind = "flag"
    else:
        kind = _KINDS[param.type.name]
        if param.multiple:
            assert kind == "text", param
            kind = "list"
    yield from ((spelling, kind) for spelling in param.opts)
    yield from ((spelling, "no") for spelling in param.secondary_opts)


def main() -> int:
    """Write both, or say whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when one is out of date")
    check = parser.parse_args().check
    commands, grammars = grammar()
    stale = []
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        stale.append(PAGE)
        if not check:
            PAGE.write_text(page(), encoding="utf-8")
    if (commands, grammars) != (written.COMMANDS, written.GRAMMARS):
        stale.append(GRAMMAR)
        if not check:
            GRAMMAR.write_text(_module(commands, grammars), encoding="utf-8")
            subprocess.run(["ruff", "format", "--quiet", GRAMMAR], check=True)
    if stale and check:
        names = ", ".join(str(file.relative_to(TOP)) for file in stale)
        print(f"out of date: {names}: run `python docs/generate_cli.py`", file=sys.stderr)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
