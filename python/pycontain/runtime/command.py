"""What runs in a container: the command, its environment, its directory, made of options and image."""

from __future__ import annotations

import os

from pycontain.errors import InvalidOption
from pycontain.runtime import environment, sizes
from pycontain.runtime.sizes import invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Protocol

    from pycontain.runtime.host import Host

    class ImageConfig(Protocol):
        """What an image says of the containers made of it."""

        @property
        def env(self) -> Sequence[str]:
            """`K=V` each."""
            ...

        @property
        def cmd(self) -> Sequence[str]:
            """The command where the caller gives none."""
            ...

        @property
        def entrypoint(self) -> Sequence[str]:
            """What goes before the command."""
            ...

        @property
        def workdir(self) -> str:
            """Absolute; empty: `/`."""
            ...

        @property
        def user(self) -> str:
            """As in `--user`; empty: root."""
            ...

        @property
        def volumes(self) -> Iterable[str]:
            """Absolute paths of anonymous volumes."""
            ...

        @property
        def exposed_ports(self) -> Iterable[str]:
            """`80/tcp`: what serves there."""
            ...

        @property
        def stop_signal(self) -> str:
            """Name or number; empty: SIGTERM."""
            ...

        @property
        def labels(self) -> Mapping[str, str]:
            """Names to values."""
            ...


DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class NoImage:
    """The configuration of what has none: a plain directory, or the image `host`."""

    env: Sequence[str] = ()
    cmd: Sequence[str] = ()
    entrypoint: Sequence[str] = ()
    workdir = ""
    user = ""
    volumes: Iterable[str] = ()
    exposed_ports: Iterable[str] = ()
    stop_signal = ""

    @property
    def labels(self) -> Mapping[str, str]:
        """None."""
        return {}


def words(option: str, value: object) -> list[str]:
    """A command: a sequence as it is, a str split as a shell would, without any other work of a shell."""
    if isinstance(value, str):
        import shlex

        try:
            result = shlex.split(value)
        except ValueError as error:
            raise invalid(option, value, f"{error}".lower()) from None
    else:
        result = environment.strings(option, value)
    for word in result:
        if "\0" in word:
            raise invalid(option, word, "must not contain a NUL byte")
    return result


def arguments(args: str | Sequence[str], options: Mapping[str, Any], image: ImageConfig) -> list[str]:
    """Entrypoint and command. An entrypoint of the caller's own, be it empty, drops the image's command."""
    command = words("args", args)
    if options.get("entrypoint") is not None:
        entrypoint = words("entrypoint", options["entrypoint"])
        if entrypoint == [""]:
            entrypoint = []
    else:
        entrypoint = list(image.entrypoint)
        command = command or list(image.cmd)
    result = entrypoint + command
    if not result:
        raise InvalidOption(
            "no command: none was given, and the image has none", hint="say what to run after the image"
        )
    if not result[0]:
        raise InvalidOption("the command's first word is empty")
    return result


def paths(option: str, value: object) -> list[str]:
    """One path or several."""
    if isinstance(value, (str, os.PathLike)):
        return [sizes.path(option, value)]
    try:
        return [sizes.path(option, one) for one in value]  # type: ignore[attr-defined]
    except TypeError:
        raise invalid(option, value, "must be a path or a list of paths") from None


def variables(options: Mapping[str, Any], image: ImageConfig, hostname: str, host: Host) -> list[str]:
    """`process.env`. Later ones win, in the place of the earlier: defaults, image, files, options."""
    result = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if options.get("tty"):
        result["TERM"] = "xterm"
    for entry in image.env:
        name, _, text = entry.partition("=")
        result[name] = text
    for path in paths("env_file", options.get("env_file", ())):
        lines = environment.file_lines("env_file", path, host.read("env_file", path))
        found = environment.variables("env_file", lines, host.environ)
        result |= {name: content for name, content in found.items() if content is not None}
    if "env" in options:
        for name, content in environment.variables("env", options["env"], host.environ).items():
            if content is None:
                result.pop(name, None)
            else:
                result[name] = content
    return [f"{name}={text}" for name, text in result.items()]


def labels(options: Mapping[str, Any], host: Host) -> dict[str, str]:
    """The caller's labels; those of the files first."""
    result: dict[str, str] = {}
    for path in paths("label_file", options.get("label_file", ())):
        lines = environment.file_lines("label_file", path, host.read("label_file", path))
        result |= environment.labels("label_file", lines)
    if "labels" in options:
        result |= environment.labels("labels", options["labels"])
    return result


def working_directory(options: Mapping[str, Any], image: ImageConfig) -> str:
    """`process.cwd`; made by the container's first process where it is missing."""
    from posixpath import normpath

    value = sizes.path("workdir", options.get("workdir") or image.workdir or "/")
    if not value.startswith("/"):
        raise invalid("workdir", value, "must be an absolute path in the container")
    return "/" + normpath(value).lstrip("/")
