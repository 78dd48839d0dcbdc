"""Secrets and configs: files that a container gets at each start, in memory of its own.

io.pycontain.secrets    where each comes from, and where it goes: in the configuration on disk
io.pycontain.contents   what is in them: in the one that the launcher is given for a start, and nowhere else
"""

from __future__ import annotations

import json
import os
import stat
from posixpath import basename, join, normpath

from pycontain.errors import InvalidOption, Unsupported
from pycontain.runtime.document import encode, utf8
from pycontain.runtime.mounts import csv_fields, target_path
from pycontain.runtime.sizes import invalid, path, string, whole
from pycontain.types import MemoryFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from typing import Any

    from pycontain.runtime.host import Host

__all__ = ["ASKED", "asked", "check_target", "config_file", "content", "secret", "with_contents"]

ASKED = "io.pycontain.secrets"
_CONTENTS = "io.pycontain.contents"
_TYPES = {"secrets": "secret", "configs": "config"}
# of each type: the mode, the directory of targets, and the most that docker takes
_USUAL = {"secret": (0o400, "/run/secrets", 500 << 10), "config": (0o444, "/", 1000 << 10)}
_KEYS = {"id", "source", "env", "type", "target", "uid", "gid", "mode"}
_ALIASES = {"src": "source", "dst": "target", "destination": "target"}
_LAST_ID = (1 << 32) - 2
_OCTAL = "`mode` must be octal digits, 0 to 0777"


def secret(
    name: str,
    source: str | os.PathLike[str] | None = None,
    *,
    env: str | None = None,
    target: str | os.PathLike[str] | None = None,
    uid: int = 0,
    gid: int = 0,
    mode: int = 0o400,
) -> MemoryFile:
    """A file or a variable of the host, read at each start, that is in the container's memory alone.

    Args:
        name: what it is called; and its file below `/run/secrets`, unless `target` says where.
        source: a file of at most 500 KB; a relative path starts at the current directory.
        env: a variable of whoever starts the container instead. Neither: the variable `name` where there is
            one, else the file.
        target: absolute, or below `/run/secrets`.
        uid: whose it is, by the container's ids.
        gid: the group's.
        mode: permission bits; nobody can write it.

    Raises:
        InvalidOption: one of these is not what it should be.
    """
    return _made("secrets", name, source, env, target, uid, gid, mode)


def config_file(
    source: str | os.PathLike[str] | None = None,
    target: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    env: str | None = None,
    uid: int = 0,
    gid: int = 0,
    mode: int = 0o444,
) -> MemoryFile:
    """The same for what need not be secret: of at most 1,000 KB, and anybody in the container may read it.

    Args:
        source: the file; a relative path starts at the current directory.
        target: absolute, or below `/`; None: there by its name.
        name: what it is called; None: as the file or the variable.
        env: a variable of whoever starts the container instead of a file.
        uid: whose it is, by the container's ids.
        gid: the group's.
        mode: permission bits; nobody can write it.

    Raises:
        InvalidOption: one of these is not what it should be.
    """
    return _made("configs", name, source, env, target, uid, gid, mode)


def parsed(option: str, value: str) -> MemoryFile:
    """`--secret` and `--config`: `id=NAME,src=FILE,target=PATH` and its kin; quoted as a line of CSV.

    As of `docker build`, a `type=env` says that it comes from a variable; as of podman, a secret may begin
    with its name alone, and `type=mount` says that it is a file.
    """
    fields = _fields(option, value)
    kind = fields.get("type", "").lower()
    if kind not in {"", "file", "env", "mount"}:
        raise invalid(option, value, "`type` must be file, env or mount")
    source, env = fields.get("source"), fields.get("env")
    if kind == "env" and env is None:
        source, env = None, source or fields.get("id")
    if kind == "file" and env is not None:
        raise invalid(option, value, "`env` does not go with type file")
    numbers = {
        key: whole(option, fields.get(key, "0"), 0, _LAST_ID, f"`{key}` must be a number")
        for key in ("uid", "gid")
    }
    mode = _USUAL[_TYPES[option]][0]
    if "mode" in fields:
        digits = fields["mode"].removeprefix("0o")
        if not digits or len(digits) > 5 or not set(digits) <= set("01234567"):
            raise invalid(option, value, _OCTAL)
        mode = int(digits, 8)
    return _made(
        option, fields.get("id"), source, env, fields.get("target"), **numbers, mode=mode, given=value
    )


def _fields(option: str, value: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for number, field in enumerate(csv_fields(option, value)):
        key, equals, text = field.partition("=")
        key = _ALIASES.get(key.lower(), key.lower())
        if not equals:
            if number or option != "secrets" or not field:
                raise invalid(option, value, f"`{field}` must be key=value")
            key, text = "id", field
        if key not in _KEYS:
            raise invalid(option, value, f"unknown key `{key}`")
        if key in fields:
            raise invalid(option, value, f"`{key}` is given twice")
        if not text:
            raise invalid(option, value, f"`{key}` is empty")
        fields[key] = text
    first = value.partition(",")[0]
    if "=" not in first and fields.get("type", "").lower() == "env":
        raise Unsupported(
            f"a secret in a variable of the container: `{value}`",
            hint=f"without `type=env` it is a file in there: /run/secrets/{first}",
        )
    return fields


def _made(
    option: str,
    name: str | None,
    source: str | os.PathLike[str] | None,
    env: str | None,
    target: str | os.PathLike[str] | None,
    uid: int,
    gid: int,
    mode: int,
    *,
    given: str | None = None,
) -> MemoryFile:
    """One whose parts are as they should be; `given` is told when they are not."""
    kind = _TYPES[option]
    if source is not None:
        source = path(option, source)
    if source and env:
        raise invalid(option, given or source, "it has both `src` and `env`")
    if name is None:
        name = basename(source) if source else env
    if not name:
        raise invalid(option, given or "", "`id`, `src` or `env` is required")
    told = name if given is None else given
    name = string(option, name)
    if "/" in name or name in {".", ".."} or not name.isprintable() or len(name) > 255:
        raise invalid(
            option, told, "its name must be that of a file, without slashes", hint="`id=NAME` gives it one"
        )
    if env is not None and (not string(option, env) or "=" in env or not env.isprintable()):
        raise invalid(option, told, f"`{env}` is no name of a variable")
    _, directory, _ = _USUAL[kind]
    wanted = name if target is None else path(option, target)
    place = target_path(option, join(directory, wanted), told)
    if not wanted.startswith("/") and (".." in wanted.split("/") or place == directory):
        raise invalid(option, told, f"`{wanted}` leads out of `{directory}`")
    check_target(option, place)
    if not isinstance(mode, int):
        raise invalid(option, mode, "must be permission bits, such as 0o400")
    allowed = "must be the number of a user or group"
    return MemoryFile(
        kind,
        name,
        source or None,
        env,
        place,
        whole(option, uid, 0, _LAST_ID, allowed),
        whole(option, gid, 0, _LAST_ID, allowed),
        whole(option, mode, 0, 0o777, _OCTAL),
    )


def check_target(option: str, target: str) -> None:
    """That it is no file of the kernel's.

    Raises:
        InvalidOption: it is.
    """
    if target.split("/")[1] in {"proc", "sys"}:
        raise InvalidOption(f"cannot put a file at `{target}` for `{option}`: what is there is the kernel's")


def asked(options: Mapping[str, Any], covered: Container[str], host: Host) -> list[dict[str, object]]:
    """The annotation: each as its fields, with a source that is absolute.

    Args:
        options: `ContainerOptions`.
        covered: the targets of mounts.
        host: whose files and variables they are; all are read once, so that what is missing is told early.

    Raises:
        InvalidOption: one cannot be read, is too large, or two have the same target.
    """
    found: dict[str, dict[str, object]] = {}
    for option in _TYPES:
        for file in _given(option, options.get(option, ())):
            if file.target in found or file.target in covered:
                raise InvalidOption(
                    f"duplicate mount point `{file.target}` for `{option}`",
                    hint="`target=PATH` gives it another",
                )
            fields = dict(zip(file.__slots__, file._fields(), strict=True))
            if file.env is None:
                if file.source is None and file.name in host.environ:
                    fields["env"] = file.name
                else:
                    fields["source"] = normpath(join(host.directory, file.source or file.name))
            content(fields)
            found[file.target] = fields
    return list(found.values())


def _given(option: str, value: Mapping[str, Any] | Iterable[object]) -> Iterator[MemoryFile]:
    if isinstance(value, str):
        yield parsed(option, value)
    elif hasattr(value, "items"):
        for key, source in value.items():
            yield secret(key, source) if option == "secrets" else config_file(source, key)
    elif not hasattr(value, "__iter__"):
        raise invalid(option, value, "must be a list")
    else:
        for entry in value:
            if not isinstance(entry, MemoryFile):
                yield parsed(option, string(option, entry))
            elif entry.type != _TYPES[option]:
                raise invalid(option, entry.name, f"it is a {entry.type}")
            else:
                yield entry


def with_contents(config: bytes) -> bytes:
    """A configuration for a start: with what is in its secrets and configs now.

    Raises:
        InvalidOption: one cannot be read, or is too large.
    """
    document = json.loads(config)
    annotations = document.get("annotations", {})
    if ASKED not in annotations:
        return config
    files = [
        {key: file[key] for key in ("target", "uid", "gid", "mode")}
        | {"content": content(file).decode("latin-1")}  # JSON has no bytes
        for file in json.loads(annotations[ASKED])
    ]
    annotations[_CONTENTS] = encode(files)
    return utf8(encode(document))


def content(file: Mapping[str, Any]) -> bytes:
    """What is in it now.

    Args:
        file: as the annotation has it.

    Raises:
        InvalidOption: it is not there, is no file, or is too large.
    """
    what = f"{file['type']} `{file['name']}`"
    most = _USUAL[file["type"]][2]
    if file["env"] is None:
        found = _read(what, file["source"], most)
    else:
        variable = os.environb.get(os.fsencode(file["env"]))
        if variable is None:
            raise InvalidOption(
                f"no {what}: the variable `{file['env']}` is not set",
                hint="each start reads it, in the environment of whoever starts the container",
            )
        found = variable
    if len(found) > most:
        raise InvalidOption(
            f"{what} has more than {most >> 10} KB", hint="`--volume FILE:TARGET:ro` mounts files of any size"
        )
    return found


def _read(what: str, source: str, most: int) -> bytes:
    """A file, and one byte more than it may have; what could keep a reader waiting is none."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidOption(
            f"cannot read {what} from `{source}`: {reason}",
            hint="it is a file on the host, which each start reads",
        ) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            kind = "a directory" if stat.S_ISDIR(mode) else "no regular file"
            raise InvalidOption(
                f"cannot read {what} from `{source}`: it is {kind}",
                hint="`--volume DIR:TARGET:ro` mounts a directory" if stat.S_ISDIR(mode) else None,
            )
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidOption(f"cannot read {what} from `{source}`: {reason}") from error
    finally:
        os.close(descriptor)
