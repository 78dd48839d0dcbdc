"""Mounts as they are asked for: `--volume`, `--mount`, `--tmpfs`, `--rootfs`, `bind` and its kin.

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
    from collections.abc import Iterable, Mapping

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
# SELinux labels and Docker Desktop's caches: no meaning here, and every compose file has them
_NO_EFFECT = {"z", "Z", "consistent", "cached", "delegated"}
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


def volume_mount(
    name: str,
    target: str,
    *,
    read_only: bool = False,
    copy: bool = True,
    subpath: str | None = None,
    labels: Mapping[str, str] | None = None,
    driver_options: Mapping[str, str] | None = None,
    option: str = "mounts",
) -> Mount:
    """A volume; without a name a new one, which goes with the container."""
    from pycontain.runtime.volumes import check_name

    if name:
        check_name(name)
    words = [f"label={key}={text}" for key, text in (labels or {}).items()]
    words += [f"opt={key}={text}" for key, text in (driver_options or {}).items()]
    words += ["ro"] * read_only + ["nocopy"] * (not copy)
    if subpath is not None:
        words.append(f"subpath={_subpath(option, subpath)}")
    return Mount("volume", name, target_path(option, target), words)


def image_mount(image: str, target: str, *, subpath: str | None = None, option: str = "mounts") -> Mount:
    """The files of an image, read-only."""
    if not image or "\0" in image:
        raise invalid(option, image, "a mount of type image needs an image")
    words = () if subpath is None else (f"subpath={_subpath(option, subpath)}",)
    return Mount("image", image, target_path(option, target), words)


def _subpath(option: str, value: str) -> str:
    if not value or value.startswith("/") or ".." in value.split("/") or "\0" in value:
        raise invalid(option, value, "a subpath is relative, and does not lead out by `..`")
    return value


def volume(value: str) -> Mount:
    """`--volume`: `/on/host:/inside[:options]`, `name:/inside[:options]`, or `/inside`: a new volume."""
    fields = value.split(":")
    allowed = "must be /on/host:/inside[:options], NAME:/inside[:options] or /inside"
    if len(fields) > 3 or not all(fields):
        raise invalid("volumes", value, allowed)
    if len(fields) == 1:
        return Mount("volume", "", target_path("volumes", fields[0], value))
    source, target = fields[0], target_path("volumes", fields[1], value)
    is_path = source[0] in "/."
    if not is_path and "/" in source:
        raise invalid("volumes", value, "a path on the host must begin with / or .")
    chosen = _volume_options(value, fields[2] if len(fields) == 3 else "")
    read_only = chosen.get("access") == "ro"
    if is_path:  # for which `nocopy` means nothing, as in docker
        return bind_mount(
            source,
            target,
            read_only=read_only,
            propagation=chosen.get("propagation", "rprivate"),
            option="volumes",
            create_source=True,
        )
    if "propagation" in chosen:
        raise invalid("volumes", value, f"`{chosen['propagation']}` goes with a directory of the host only")
    return volume_mount(source, target, read_only=read_only, copy="copy" not in chosen, option="volumes")


def _volume_options(value: str, text: str) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for word in text.split(",") if text else ():
        if word in {"ro", "rw"}:
            kind = "access"
        elif word in PROPAGATIONS:
            kind = "propagation"
        elif word == "nocopy":
            kind = "copy"
        elif word in _NO_EFFECT:
            kind = "label" if word in "zZ" else "consistency"
        else:
            raise invalid(
                "volumes",
                value,
                f"option `{word}` is none of ro, rw, z, Z, nocopy, {', '.join(PROPAGATIONS)}",
            )
        if kind in chosen:
            raise invalid("volumes", value, f"options `{chosen[kind]}` and `{word}` exclude each other")
        chosen[kind] = word
    return chosen


def inherited(value: str) -> tuple[str, str]:
    """`--volumes-from`: `CONTAINER[:ro|rw]`: its name, and the access or nothing."""
    name, _, access = value.partition(":")
    words = [word for word in access.split(",") if word not in {"z", "Z"}] if access else []
    if not name or not set(words) <= {"ro", "rw"} or len(words) > 1:
        raise invalid("volumes_from", value, "must be CONTAINER[:ro|rw]")
    return name, "".join(words)


_DRIVER_OPTIONS = {"type", "device", "o"}


def driver_options(options: Mapping[str, str]) -> tuple[str, ...]:
    """What the options of docker's driver `local` mount in place of the volume's own directory.

    Raises:
        InvalidOption: they are not what it takes.
        Unsupported: it cannot be had here.
    """
    if not options:
        return ()
    for key in options:
        if key == "size":
            raise Unsupported("a volume cannot have a limited size", hint="`type=tmpfs` takes `o=size=…`")
        if key not in _DRIVER_OPTIONS:
            raise invalid("opt", key, "the driver takes type, device and o")
    for key in ("type", "device"):
        if not options.get(key):
            raise InvalidOption(
                f'missing required option: "{key}"', hint="see `pycontain volume create --help`"
            )
    kind, device = options["type"], options["device"]
    words = [word for word in options.get("o", "").split(",") if word]
    if kind == "tmpfs":
        for word in words:
            key, equals, content = word.partition("=")
            if word not in _TMPFS_FLAGS and not (equals and content and key in _TMPFS_KEYS):
                raise invalid("opt", f"o={word}", "it is not an option of a tmpfs")
        return ("type=tmpfs", *words)
    if not device.startswith("/"):
        raise Unsupported(
            f"a volume of type `{kind}` on `{device}`",
            hint="mount it on the host, and give its directory: `type=none`, `o=bind`, `device=DIR`",
        )
    if {"bind", "rbind"} & set(words):
        return ("type=none", f"device={normpath(device)}", *words)
    if kind == "none":
        raise invalid("opt", "type=none", "it goes with `o=bind`")
    if "loop" in words:
        raise Unsupported(
            f"`{device}` is a file, in which no file system can be mounted",
            hint="give it a device: `losetup --find`",
        )
    return (f"type={kind}", f"device={normpath(device)}", *words)


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
    "subpath": "image-subpath",
}
_SEVERAL = ("volume-label", "volume-opt")  # may be given more than once
_KEYS = {
    "bind": {"bind-propagation", "bind-nonrecursive", "bind-recursive", "consistency"},
    "tmpfs": {"tmpfs-size", "tmpfs-mode"},
    "volume": {"volume-nocopy", "volume-label", "volume-driver", "volume-opt", "volume-subpath"},
    "image": {"image-subpath"},
}
_FLAGS = {"readonly", "bind-nonrecursive", "volume-nocopy"}
_TRUTH = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


def mount(value: str) -> Mount:
    """`--mount`: `type=bind,source=/on/host,target=/inside,readonly` and its kin; quoted as a line of CSV."""
    fields = _mount_fields(value)
    kind = fields.pop("type", "volume").lower()
    if kind in {"npipe", "cluster"}:
        raise Unsupported(
            f"mount type `{kind}` in `{value}`", hint="use `bind`, `volume`, `image` or `tmpfs`"
        )
    if kind not in _KEYS:
        raise invalid("mounts", value, "`type` must be bind, volume, image or tmpfs")
    for key in fields:
        if key not in _KEYS[kind] and key not in {"source", "target", "readonly"}:
            raise invalid("mounts", value, f"`{key}` does not go with type {kind}")
    if not fields.get("target"):
        raise invalid("mounts", value, "`target` is required")
    read_only = _truth(value, fields, "readonly")
    if kind == "volume":
        return _volume_mount(value, fields, read_only)
    if kind == "image":
        return image_mount(
            fields.get("source", ""),
            target_path("mounts", fields["target"], value),
            subpath=fields.get("image-subpath"),
        )
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
    made = bind_mount(
        fields.get("source", ""),
        target_path("mounts", fields["target"], value),
        read_only=read_only,
        propagation=propagation,
        recursive=recursive != "disabled" and not _truth(value, fields, "bind-nonrecursive"),
        option="mounts",
    )
    if recursive != "writable":
        return made
    return Mount(made.type, made.source, made.target, (*made.options, "writable-below"))


def _mount_fields(value: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for field in csv_fields("mounts", value):
        key, equals, content = field.partition("=")
        key = _ALIASES.get(key.lower(), key.lower())
        known = key in {"type", "source", "target", "readonly"} or any(key in keys for keys in _KEYS.values())
        if not equals and key not in _FLAGS:
            raise invalid("mounts", value, f"`{field}` must be key=value")
        if not known:
            raise invalid("mounts", value, f"unknown key `{key}`")
        content = content if equals else "true"
        fields[key] = f"{fields[key]}\0{content}" if key in fields and key in _SEVERAL else content
    return fields


def csv_fields(option: str, value: str) -> list[str]:
    """What is between the commas."""
    if '"' not in value:
        return value.split(",")
    import csv

    try:
        return next(csv.reader([value], strict=True))
    except (csv.Error, StopIteration):
        raise invalid(option, value, "its quotes do not match") from None


def _truth(value: str, fields: dict[str, str], key: str) -> bool:
    if key not in fields:
        return False
    text = fields[key].lower()
    if text not in _TRUTH:
        raise invalid("mounts", value, f"`{key}` must be true or false")
    return _TRUTH[text]


def _volume_mount(value: str, fields: dict[str, str], read_only: bool) -> Mount:
    from pycontain.runtime.volumes import check_driver

    check_driver(fields.get("volume-driver", ""))
    labels, options = (_pairs(fields.get(key)) for key in _SEVERAL)
    return volume_mount(
        fields.get("source", ""),
        target_path("mounts", fields["target"], value),
        read_only=read_only,
        copy=not _truth(value, fields, "volume-nocopy"),
        subpath=fields.get("volume-subpath"),
        labels=labels,
        driver_options=options,
    )


def _pairs(text: str | None) -> dict[str, str]:
    given = [] if text is None else text.split("\0")
    return {key: content for key, _, content in (one.partition("=") for one in given)}


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
