"""Mounts as they are asked for: `--volume`, `--mount`, `--tmpfs`, `--rootfs`, `bind` and `tmpfs_mount`.

Nothing here looks at the disk: whether a source exists is found out later.
"""

from __future__ import annotations

from posixpath import normpath

from pycontain.errors import InvalidOption, Unsupported
from pycontain.paths import absolute
from pycontain.runtime.sizes import invalid, size
from pycontain.types import Mount, RootFilesystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
# SELinux labels and Docker Desktop's caches: no meaning here, and every compose file has them
_NO_EFFECT = {"z", "Z", "consistent", "cached", "delegated", "nocopy"}
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")
_PAIRS = (
    "ro rw", "noexec exec", "nosuid suid", "nodev dev", "sync async", "noatime atime", "nodiratime diratime",
    "norelatime relatime", "nostrictatime strictatime", "nomand mand",
)  # fmt: skip
# each flag of a tmpfs, and the one that it takes the place of
_TMPFS_FLAGS = {flag: other for pair in _PAIRS for flag, other in (pair.split(), reversed(pair.split()))}
_TMPFS_KEYS = {"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"}
_ABSOLUTE = "the path in the container must be absolute, and not /"


def target_path(option: str, value: str, entry: str | None = None) -> str:
    """The place of a mount in the container."""
    path = normpath(value) if value.startswith("/") and "\0" not in value else "/"
    path = "/" + path.lstrip("/")  # POSIX keeps two leading slashes
    if path == "/":
        raise invalid(option, value if entry is None else entry, _ABSOLUTE)
    return path


def bind_mount(
    source: str,
    target: str,
    *,
    read_only: bool = False,
    propagation: str = "rprivate",
    recursive: bool = True,
    option: str = "mounts",
    create_source: bool = False,
) -> Mount:
    """A bind mount; a relative source stays so until the caller's directory is known."""
    if not source or "\0" in source:
        raise invalid(option, source, "a bind mount needs a source on the host")
    if propagation not in PROPAGATIONS:
        raise invalid(option, propagation, f"the propagation must be one of {', '.join(PROPAGATIONS)}")
    options = ("rbind" if recursive else "bind", "ro" if read_only else "rw", propagation)
    return Mount("bind", source, target_path(option, target), options, create_source)


def volume(value: str) -> Mount:
    """`--volume`: `/on/host:/inside[:options]`, or `/inside` alone for an anonymous volume."""
    fields = value.split(":")
    allowed = "must be /on/host:/inside[:options] or /inside"
    if len(fields) > 3 or not all(fields):
        raise invalid("volumes", value, allowed)
    if len(fields) == 1:
        return Mount("volume", "", target_path("volumes", fields[0], value))
    source, target = fields[0], target_path("volumes", fields[1], value)
    if source[0] not in "/.":
        if "/" in source:
            raise invalid("volumes", value, "a path on the host must begin with / or .")
        raise Unsupported(
            f"named volume `{source}` in `{value}`: there are no named volumes yet",
            hint=f"give a directory of the host: `./{source}:{fields[1]}`",
        )
    read_only, propagation = _volume_options(value, fields[2] if len(fields) == 3 else "")
    return bind_mount(
        source, target, read_only=read_only, propagation=propagation, option="volumes", create_source=True
    )


def _volume_options(value: str, text: str) -> tuple[bool, str]:
    chosen: dict[str, str] = {}
    for word in text.split(",") if text else ():
        if word in {"ro", "rw"}:
            kind = "access"
        elif word in PROPAGATIONS:
            kind = "propagation"
        elif word in _NO_EFFECT:
            kind = "label" if word in "zZ" else "copy" if word == "nocopy" else "consistency"
        else:
            raise invalid(
                "volumes", value, f"option `{word}` is none of ro, rw, z, Z, {', '.join(PROPAGATIONS)}"
            )
        if kind in chosen:
            raise invalid("volumes", value, f"options `{chosen[kind]}` and `{word}` exclude each other")
        chosen[kind] = word
    return chosen.get("access") == "ro", chosen.get("propagation", "rprivate")


def tmpfs(value: str) -> Mount:
    """`--tmpfs`: `/run:rw,size=64m,mode=1777`; noexec, nosuid and nodev unless it says otherwise."""
    target, _, text = value.partition(":")
    target = target_path("tmpfs", target, value)
    words = [word for word in text.split(",") if word]
    for word in words:
        key, equals, content = word.partition("=")
        if equals and key in _TMPFS_KEYS and content:
            continue
        if word not in _TMPFS_FLAGS:
            raise invalid("tmpfs", value, f"`{word}` is not an option of a tmpfs")
    return Mount("tmpfs", "tmpfs", target, _tmpfs_options(words))


def _tmpfs_options(words: Iterable[str]) -> tuple[str, ...]:
    flags = list(_TMPFS_DEFAULTS)
    data: dict[str, str] = {}
    for word in words:
        key, equals, content = word.partition("=")
        if equals:
            data[key] = content
            continue
        flags = [flag for flag in flags if flag not in {_TMPFS_FLAGS[word], word}]
        flags.append(word)
    return (*flags, *(f"{key}={content}" for key, content in data.items()))


def tmpfs_from_fields(
    option: str, target: str, *, size: int | str | None, mode: int | None, read_only: bool
) -> Mount:
    """A tmpfs from separate values: bytes or a size string, permission bits."""
    words = []
    if size is not None:
        words.append(f"size={_bytes(option, size)}")
    if mode is not None:
        words.append(f"mode={mode:o}")
    if read_only:
        words.append("ro")
    return Mount("tmpfs", "tmpfs", target_path(option, target), _tmpfs_options(words))


_bytes = size  # `size` is also the name of a parameter above

_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "readonly": "readonly",
}
_KEYS = {
    "bind": {"bind-propagation", "bind-nonrecursive", "bind-recursive", "consistency"},
    "tmpfs": {"tmpfs-size", "tmpfs-mode"},
    "volume": {"volume-nocopy", "volume-label", "volume-driver", "volume-opt", "volume-subpath"},
}
_FLAGS = {"readonly", "bind-nonrecursive", "volume-nocopy"}
_TRUTH = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


def mount(value: str) -> Mount:
    """`--mount`: `type=bind,source=/on/host,target=/inside,readonly` and its kin; quoted as a line of CSV."""
    fields = _mount_fields(value)
    kind = fields.pop("type", "volume").lower()
    if kind in {"image", "npipe", "cluster"}:
        raise Unsupported(f"mount type `{kind}` in `{value}`", hint="use `bind` or `tmpfs`")
    if kind not in _KEYS:
        raise invalid("mounts", value, "`type` must be bind or tmpfs")
    for key in fields:
        if key not in _KEYS[kind] and key not in {"source", "target", "readonly"}:
            raise invalid("mounts", value, f"`{key}` does not go with type {kind}")
    if not fields.get("target"):
        raise invalid("mounts", value, "`target` is required")
    read_only = _truth(value, fields, "readonly")
    if kind == "volume":
        return _volume_mount(value, fields, read_only)
    if kind == "tmpfs":
        return _tmpfs_mount(value, fields, read_only)
    recursive = fields.get("bind-recursive", "enabled")
    if recursive not in {"enabled", "disabled", "writable", "readonly"}:
        raise invalid("mounts", value, "`bind-recursive` must be enabled, disabled, writable or readonly")
    if recursive in {"writable", "readonly"} and not read_only:
        raise invalid("mounts", value, f"`bind-recursive={recursive}` goes with readonly only")
    propagation = fields.get("bind-propagation", "rprivate")
    if recursive == "readonly" and propagation != "rprivate":
        raise invalid("mounts", value, "`bind-recursive=readonly` goes with `bind-propagation=rprivate` only")
    return bind_mount(
        fields.get("source", ""),
        target_path("mounts", fields["target"], value),
        read_only=read_only,
        propagation=propagation,
        recursive=recursive != "disabled" and not _truth(value, fields, "bind-nonrecursive"),
        option="mounts",
    )


def _mount_fields(value: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for field in _csv(value):
        key, equals, content = field.partition("=")
        key = _ALIASES.get(key.lower(), key.lower())
        known = key in {"type", "source", "target", "readonly"} or any(key in keys for keys in _KEYS.values())
        if not equals and key not in _FLAGS:
            raise invalid("mounts", value, f"`{field}` must be key=value")
        if not known:
            raise invalid("mounts", value, f"unknown key `{key}`")
        fields[key] = content if equals else "true"
    return fields


def _csv(value: str) -> list[str]:
    if '"' not in value:
        return value.split(",")
    import csv

    try:
        return next(csv.reader([value], strict=True))
    except (csv.Error, StopIteration):
        raise invalid("mounts", value, "its quotes do not match") from None


def _truth(value: str, fields: dict[str, str], key: str) -> bool:
    if key not in fields:
        return False
    text = fields[key].lower()
    if text not in _TRUTH:
        raise invalid("mounts", value, f"`{key}` must be true or false")
    return _TRUTH[text]


def _volume_mount(value: str, fields: dict[str, str], read_only: bool) -> Mount:
    if fields.get("source"):
        raise Unsupported(
            f"named volume `{fields['source']}` in `{value}`: there are no named volumes yet",
            hint="use `type=bind` with a directory of the host",
        )
    if set(fields) - {"source", "target", "readonly", "volume-nocopy"}:
        raise Unsupported(
            f"volume options in `{value}`: there are no named volumes yet", hint="use `type=bind`"
        )
    if read_only:
        raise Unsupported(
            f"`{value}`: anonymous volumes cannot be read-only",
            hint="use `type=bind` with a directory of the host",
        )
    return Mount("volume", "", target_path("mounts", fields["target"], value))


def _tmpfs_mount(value: str, fields: dict[str, str], read_only: bool) -> Mount:
    if fields.get("source"):
        raise invalid("mounts", value, "`source` does not go with type tmpfs")
    mode: int | None = None
    if "tmpfs-mode" in fields:
        text = fields["tmpfs-mode"].removeprefix("0o")
        if not text or len(text) > 5 or not set(text) <= set("01234567"):
            raise invalid("mounts", value, "`tmpfs-mode` must be octal digits")
        mode = int(text, 8)
    try:
        return tmpfs_from_fields(
            "mount", fields["target"], size=fields.get("tmpfs-size"), mode=mode, read_only=read_only
        )
    except InvalidOption as error:
        raise invalid("mounts", value, str(error)) from None


def rootfs(value: str) -> RootFilesystem:
    """`--rootfs`: `DIR` is read below a writable layer; `DIR:rw` is the root itself.

    Raises:
        PathNotFound: it is relative, and this process's current directory was removed.
    """
    directory = value.removesuffix(":rw").removesuffix(":O")
    if not directory or "\0" in directory:
        raise invalid("rootfs", value, "must be a directory, or a directory and `:rw`")
    path = absolute(directory)
    return RootFilesystem(directory=path) if value.endswith(":rw") else RootFilesystem(lower=[path])
