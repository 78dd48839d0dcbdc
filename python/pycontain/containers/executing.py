"""Further processes in a container that runs: `exec`."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TypedDict

from pycontain.containers import keeping
from pycontain.errors import Conflict, InvalidOption
from pycontain.runtime import command, confinement, environment, kept, namespaces
from pycontain.runtime.document import utf8
from pycontain.runtime.host import Host
from pycontain.runtime.sizes import invalid, limit, path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from pycontain._core import Process as Started
    from pycontain.containers.process import Process
    from pycontain.options import Duration, Path
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept
    from pycontain.types import Completed

__all__ = ["ExecOptions", "begin", "in_foreground", "prepared", "run"]


class ExecOptions(TypedDict, total=False):
    """What may differ from the container's own command; the rest is as with that."""

    env: Mapping[str, str | None] | Iterable[str]
    """`{"K": "V"}` or `["K=V"]`, on top of the container's. None, or `"K"` alone: as in the caller's."""
    env_file: Path | Iterable[Path]
    """Files of `K=V` lines; `env` wins over them."""
    workdir: Path
    """Absolute path in the container."""
    user: str | int
    """`name`, `uid`, `name:group` or `uid:gid`, looked up in the container."""
    privileged: bool
    """All capabilities that the container's namespaces allow."""
    tty: bool
    """Give it a terminal."""


def run(
    paths: Paths,
    container: Kept,
    args: str | Sequence[str],
    options: ExecOptions,
    *,
    input: bytes | str | None,
    text: bool,
    check: bool,
    timeout: Duration | None,
) -> Completed[bytes | str]:
    """See `Container.run`."""
    from pycontain.runtime.completing import completed, given

    most = limit("timeout", timeout)
    with begin(paths, container, args, options, stdin=input is not None) as process:
        ended, out, err = process._finished(given(input), most, text=text)
    return completed(process.args, ended, out, err, text=text, check=check)


def begin(
    paths: Paths, container: Kept, args: str | Sequence[str], options: ExecOptions, *, stdin: bool
) -> Process:
    """See `Container.exec`."""
    from pycontain.containers.process import Process

    if options.get("tty"):
        raise InvalidOption("`tty` needs a terminal: `exec_foreground` has one")
    words, start = prepared(paths, container, args, options)
    return Process(words, start, stdin=stdin, container=container.record.name)


def in_foreground(
    paths: Paths,
    container: Kept,
    args: str | Sequence[str],
    options: ExecOptions,
    *,
    stdin: bool,
    detach: bool,
    detach_keys: str,
) -> int:
    """See `Container.exec_foreground`."""
    from pycontain.runtime import attached, foreground

    keys = attached.detach_keys(detach_keys)
    terminal = bool(options.get("tty")) and not detach
    _, start = prepared(paths, container, args, options, detached=detach)
    if detach:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            started = start((null, null, null))
        finally:
            os.close(null)
        with contextlib.closing(started), keeping.watched(container.record.name):
            started.pid  # noqa: B018 - waits until the command is executed
        return 0
    foreground.check_terminal(terminal=terminal, stdin=stdin)
    with keeping.watched(container.record.name):
        return foreground.show(start, terminal=terminal, stdin=stdin, init=True, keys=keys)


def prepared(
    paths: Paths, container: Kept, args: str | Sequence[str], options: ExecOptions, *, detached: bool = False
) -> tuple[tuple[str, ...], Callable[[tuple[int, int, int]], Started]]:
    """The command's words, and what starts it on three fds.

    Raises:
        Conflict: the container does not run, is paused, or has no monitor.
        InvalidOption: an option's value is not one it takes.
    """
    words = command.words("args", args)
    if not words or not words[0]:
        raise InvalidOption("no command: say what to run in the container")
    config = _config(container.config, words, options)

    def start(streams: tuple[int, int, int]) -> Started:
        name = container.record.name
        state = kept.state(paths, container)
        if state.status == "paused":
            raise Conflict(f'container "{name}" is paused', hint="unpause it first")
        keeper = keeping.monitor(container) if state.is_alive else None
        try:
            if keeper is not None:
                return keeper.exec(config, streams, detached=detached)
        except ConnectionError:
            pass  # it has just ended
        if kept.state(paths, container).is_alive:
            raise Conflict(
                f'cannot run a command in container "{name}": it is about to end',
                hint="start it with `--detach`",
            )
        raise Conflict(f'container "{name}" is not running', hint="start it first")

    return tuple(words), start


def _config(own: bytes, words: list[str], options: ExecOptions) -> bytes:
    """The container's configuration with another process in it."""
    for name in options.keys() - ExecOptions.__annotations__.keys():
        raise InvalidOption(
            f"unknown option `{name}`", hint=f"options are {', '.join(ExecOptions.__annotations__)}"
        )
    config: dict[str, Any] = json.loads(own)
    process, annotations = config["process"], config["annotations"]
    process |= {"args": words, "terminal": bool(options.get("tty"))}
    process["env"] = _variables(process["env"], options)
    workdir = path("workdir", options.get("workdir") or process["cwd"])
    if not workdir.startswith("/"):
        raise invalid("workdir", workdir, "must be an absolute path in the container")
    process["cwd"] = workdir
    annotations.pop("io.pycontain.make-workdir", None)
    if options.get("user") not in (None, ""):
        text, uid, gid = namespaces.user(options["user"])
        annotations["io.pycontain.user"] = text
        process["user"] |= {"uid": uid or 0, "gid": gid or 0}
        if uid or not text.partition(":")[0].isdecimal():
            # execve(2) leaves a user other than root no capability beyond the bounding set
            bounding = process["capabilities"].get("bounding", [])
            as_root = text.partition(":")[0] == "root"
            kinds = ("bounding", "effective", "permitted") if as_root else ("bounding",)
            process["capabilities"] = dict.fromkeys(kinds, bounding)
        else:
            bounding = process["capabilities"].get("bounding", [])
            process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), bounding)
    if options.get("privileged"):
        every = list(confinement.CAPABILITIES)
        process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), every)
        annotations.pop("io.pycontain.seccomp", None)
    return utf8(json.dumps(config, ensure_ascii=False))


def _variables(own: list[str], options: ExecOptions) -> list[str]:
    host = Host()
    result = dict(entry.partition("=")[::2] for entry in own)
    if options.get("tty"):
        result.setdefault("TERM", "xterm")
    for name in command.paths("env_file", options.get("env_file", ())):
        lines = environment.file_lines("env_file", name, host.read("env_file", name))
        found = environment.variables("env_file", lines, host.environ)
        result |= {name: text for name, text in found.items() if text is not None}
    for name, text in environment.variables("env", options.get("env", ()), host.environ).items():
        if text is None:
            result.pop(name, None)
        else:
            result[name] = text
    return [f"{name}={text}" for name, text in result.items()]
