"""Containers that stay: found by name or id, and what is known of them.

A container runs for as long as its directory is locked by the launcher that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re

from pycontain.errors import ContainerNotFound, InvalidOption, StoreError
from pycontain.images import staging
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pycontain.paths import Paths

__all__ = ["Kept", "cgroup", "find", "only_stopped"]

_ID = re.compile(r"[0-9a-f]{1,64}\Z")
# what every container has mounted; the directories are made for that where an image has none
_MOUNTED = ("/dev", "/proc", "/sys")


class Kept(Value):
    """A container as its directory tells of it.

    Attributes:
        id: 64 hexadecimal digits.
        path: its directory.
        config: its `config.json`.
        state: its `state.json`.
    """

    __slots__ = ("id", "path", "config", "state")  # noqa: RUF023 - the constructor's order
    id: str
    path: str
    config: bytes
    state: dict[str, Any]

    def __init__(self, id: str, path: str, config: bytes, state: dict[str, Any]) -> None:
        self._set(id=id, path=path, config=config, state=state)

    @property
    def mount_points(self) -> list[str]:
        """Paths that may have been made for the container rather than by it, and that its mounts hide."""
        files = json.loads(json.loads(self.config).get("annotations", {}).get("io.pycontain.files", "{}"))
        return [*_MOUNTED, *files]


def find(paths: Paths, name: str) -> Kept:
    """The container of this name, id, or beginning of an id.

    Raises:
        ContainerNotFound: there is none.
        InvalidOption: several ids begin so.
    """
    id = _named(paths, name) or _of_prefix(paths, name)
    if id is not None:
        path = f"{paths.containers}/{id}"
        with contextlib.suppress(FileNotFoundError):
            try:
                return Kept(id, path, _read(path, "config.json"), json.loads(_read(path, "state.json")))
            except ValueError as error:
                raise StoreError(f"`{path}/state.json` is damaged: {error}", filename=path) from error
    raise ContainerNotFound(
        f"no such container: `{name}`", hint="a container that is run with `--rm` goes with its command"
    )


def _named(paths: Paths, name: str) -> str | None:
    if "/" in name or not name:
        return None
    with contextlib.suppress(OSError):
        target = os.readlink(f"{paths.names}/{name}")
        if os.path.basename(os.path.dirname(target)) == os.path.basename(paths.containers):
            return os.path.basename(target)
    return None


def _of_prefix(paths: Paths, prefix: str) -> str | None:
    if not _ID.match(prefix):
        return None
    found = [id for id in staging.names(paths.containers) if id.startswith(prefix)]
    if len(found) > 1:
        raise InvalidOption(
            f"several containers have an id that begins with `{prefix}`", hint="give more of it"
        )
    return found[0] if found else None


def _read(path: str, name: str) -> bytes:
    with open(f"{path}/{name}", "rb") as file:
        return file.read()


@contextlib.contextmanager
def only_stopped(container: Kept) -> Iterator[bool]:
    """Whether it is stopped; it then stays so for the block."""
    held = staging.lock(container.path)
    try:
        yield held is not None
    finally:
        if held is not None:
            held.release()


def cgroup(container: Kept) -> str | None:
    """The path of a running container's cgroup, as in /proc/PID/cgroup; None where it has none of its own."""
    parent = json.loads(container.config).get("linux", {}).get("cgroupsPath") or "pycontain"
    try:
        with open(f"/proc/{container.state['pid']}/cgroup") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except (KeyError, OSError):
        return None
    freezers = [path for _, controllers, path in lines if "freezer" in controllers.split(",")]
    for path in freezers or [path for number, _, path in lines if number == "0"]:
        # the number of a process that has ended may be another's by now
        if os.path.dirname(path).strip("/").endswith(parent.strip("/")):
            return path
    return None
