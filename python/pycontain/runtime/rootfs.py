"""`root` and `mounts`: the root file system, what every container has mounted, and what its options add."""

from __future__ import annotations

from posixpath import join, normpath, split

from pycontain.errors import InvalidOption, Unsupported
from pycontain.runtime import mounts
from pycontain.runtime.document import encode, once
from pycontain.runtime.environment import strings
from pycontain.runtime.sizes import size, string
from pycontain.types import Mount, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from pycontain.runtime.command import ImageConfig
    from pycontain.runtime.confinement import Security
    from pycontain.runtime.host import Host
    from pycontain.runtime.namespaces import Namespaces
    from pycontain.runtime.volumes import VolumeUse
    from pycontain.types import RootFilesystem

_SHM_SIZE = 64 << 20
_HIDDEN = ("nosuid", "noexec", "nodev")
# by the namespace that is joined: what comes with it
_SHARED = (
    ("network", "/etc/hostname", ()),
    ("network", "/etc/hosts", ()),
    ("network", "/etc/resolv.conf", ()),
    ("ipc", "/dev/shm", ("directory",)),  # noqa: S108 - a mount
)


class Layout(Value):
    """The mounts of a container, and the directories behind them.

    Attributes:
        path: `root.path`.
        mounts: `mounts`, the inside of the JSON list.
        volumes: those that it uses.
        images: the ids of further images whose files it mounts.
        directories: to be made below the container's directory.
        missing_sources: to be made on the host.
        covered: the targets that the options and the image named.
    """

    __slots__ = ("path", "mounts", "volumes", "images", "directories", "missing_sources", "covered")  # noqa: RUF023
    path: str
    mounts: str
    volumes: Sequence[VolumeUse]
    images: Sequence[str]
    directories: list[str]
    missing_sources: list[str]
    covered: frozenset[str]

    def __init__(
        self,
        path: str,
        mounts: str,
        volumes: Sequence[VolumeUse],
        images: Sequence[str],
        directories: list[str],
        missing_sources: list[str],
        covered: frozenset[str],
    ) -> None:
        self._set(
            path=path,
            mounts=mounts,
            volumes=volumes,
            images=images,
            directories=directories,
            missing_sources=missing_sources,
            covered=covered,
        )


def layout(
    options: Mapping[str, Any],
    image: ImageConfig,
    root: RootFilesystem,
    spaces: Namespaces,
    security: Security,
    directory: str,
    scratch: str | None,
    host: Host,
) -> Layout:
    """Everything that is mounted, the root first, then docker's defaults, then the options' own by depth."""
    asked = _asked(options, host)
    covered = frozenset(asked)
    for target in image.volumes:
        clean = mounts.target_path("volumes", target)
        if clean.split("/")[1] in {"dev", "proc", "sys"}:
            raise InvalidOption(f"the image wants a volume at `{target}`: what is there is the kernel's")
        if clean not in asked:
            asked[clean] = Mount("volume", "", clean)
    if root.overlays or any(mount.type in {"volume", "image"} for mount in asked.values()):
        scratch = None
    path, base, directories = _root(root, directory, scratch, volatile=bool(options.get("remove")))

    writable = bool(options.get("privileged")), security.writable_cgroups
    shm = size("shm_size", options.get("shm_size", 0)) or _SHM_SIZE
    nowhere = frozenset[str]()  # what the host has mounted nowhere
    ipc = "joined" if "ipc" in spaces.donors else spaces.ipc
    if ipc == "host" and not host.exists("/dev/mqueue"):
        nowhere = frozenset(("/dev/mqueue",))
    if not asked and shm == _SHM_SIZE:
        key = f"mounts {writable} {ipc} {len(nowhere)}"
        standard = once(key, lambda: _standard(ipc, *writable, shm, nowhere))[1:-1]
    else:
        standard = encode(_standard(ipc, *writable, shm, covered | nowhere))[1:-1]

    missing: list[str] = []
    own: list[dict[str, object]] = []
    volumes: list[VolumeUse] = []
    images: list[str] = []
    for mount in sorted(asked.values(), key=lambda mount: mount.target.count("/")):
        if mount.type == "volume":
            used, made = _volume(mount, directory, host)
            volumes.append(used)
        elif mount.type == "image":
            id, layers = host.image(mount.source)
            nothing = f"{directory}/nothing"  # overlayfs takes no single directory
            if nothing not in directories:
                directories.append(nothing)
            lower = [f"lowerdir+={layer}" for layer in (*layers, nothing)]
            images.append(id)
            made = _mount(mount.target, "overlay", mount.source, [*lower, "ro", *mount.options])
        else:
            made = _mount(mount.target, mount.type, _source(mount, host, missing), mount.options)
        own.append(made)
    parts = [encode(base)[1:-1], standard, encode([*_joined(spaces, covered), *own])[1:-1]]
    return Layout(path, ",".join(filter(None, parts)), volumes, images, directories, missing, covered)


def _source(mount: Mount, host: Host, missing: list[str]) -> str:
    if mount.type != "bind":
        return mount.source
    source = normpath(mount.source if mount.source.startswith("/") else join(host.directory, mount.source))
    if not host.exists(source):
        if not mount.create_source:
            raise InvalidOption(
                f"cannot mount `{source}` on `{mount.target}`: there is no such file or "
                f"directory on the host",
                hint="make it, or use `--volume`, which does",
            )
        missing.append(source)
    return source


def _volume(mount: Mount, directory: str, host: Host) -> tuple[VolumeUse, dict[str, object]]:
    from pycontain.runtime.volumes import ANONYMOUS, VolumeUse

    said: dict[str, dict[str, str]] = {"label": {}, "opt": {}}
    words: list[str] = []
    for word in mount.options:
        kind, _, pair = word.partition("=")
        if kind in said:
            key, _, content = pair.partition("=")
            said[kind][key] = content
        else:
            words.append(word)
    parent, id = split(directory)
    anonymous = not mount.source or "anonymous" in words
    name = mount.source
    if not name:
        from hashlib import sha256

        name = sha256(f"{id} {mount.target}".encode()).hexdigest()
        said["label"].setdefault(ANONYMOUS, "")
        words.append("anonymous")
    place = f"{split(parent)[0]}/volumes/{name}"
    driver = host.volume_options(place)
    instead = mounts.driver_options(said["opt"] if driver is None else driver)
    device = next((word.partition("=")[2] for word in instead if word.startswith("device=")), None)
    if device is not None and not host.exists(device):
        raise InvalidOption(
            f"cannot mount volume `{name}` on `{mount.target}`: there is no `{device}` on the host"
        )
    is_other = instead and instead[0] != "type=none"
    if is_other and any(word.startswith("subpath=") for word in words):
        raise Unsupported(f"volume `{name}` is a file system of its own, of which no subpath can be mounted")
    made = _mount(mount.target, "volume", f"{place}/_data", [*instead, *words])
    return VolumeUse(name, said["label"], said["opt"], anonymous), made


def _asked(options: Mapping[str, Any], host: Host) -> dict[str, Mount]:
    result: dict[str, Mount] = {}
    given: list[tuple[str, Mount]] = []
    for entry in options.get("mounts", ()):
        given += [("mounts", entry if isinstance(entry, Mount) else mounts.mount(string("mounts", entry)))]
    given += [
        ("volumes", mounts.volume(text)) for text in _colon_pairs("volumes", options.get("volumes", ()))
    ]
    given += [("tmpfs", mounts.tmpfs(text)) for text in _colon_pairs("tmpfs", options.get("tmpfs", ()))]
    for option, mount in given:
        is_kernels = mount.target == "/proc" or f"{mount.target}/".startswith("/proc/sys/")
        if is_kernels and not mount.source.startswith("/proc"):
            raise InvalidOption(f"cannot mount on `{mount.target}` for `{option}`: it has to be the kernel's")
        if mount.target in result:
            raise InvalidOption(f"duplicate mount point `{mount.target}` for `{option}`")
        result[mount.target] = mount
    for text in strings("volumes_from", options.get("volumes_from", ())):
        for mount in host.mounts_of(*mounts.inherited(text)):
            result.setdefault(mount.target, mount)
    if driver := string("volume_driver", options.get("volume_driver", "")):
        from pycontain.runtime.volumes import check_driver

        check_driver(driver)
    return result


def _colon_pairs(option: str, value: Mapping[str, str] | Sequence[str]) -> list[str]:
    if hasattr(value, "items"):
        return [f"{key}:{text}" if text else key for key, text in value.items()]
    return strings(option, value)


def _root(
    root: RootFilesystem, directory: str, scratch: str | None, *, volatile: bool
) -> tuple[str, list[dict[str, object]], list[str]]:
    if root.directory is not None:
        return root.directory, [_mount("/", "bind", root.directory, ("rbind", "rw"))], []
    if scratch is not None:
        options = [*(f"lowerdir+={path}" for path in root.lower), f"scratch={scratch}", "volatile"]
        return (
            scratch,
            [_mount("/", "overlay", "overlay", [*options, *(["immutable"] if root.immutable else [])])],
            [],
        )
    upper = f"{directory}/upper"
    result = [_overlay("/", root.lower, upper, f"{directory}/work", volatile=volatile)]
    directories = [upper, f"{directory}/work"]
    for destination, lower in root.overlays:
        work = f"{directory}/work{destination.replace('/', '-')}"
        result.append(_overlay(destination, (lower,), upper + destination, work, volatile=volatile))
        directories += [upper + destination, work]
    return upper, result, directories


def _overlay(
    destination: str, lower: Sequence[str], upper: str, work: str, *, volatile: bool
) -> dict[str, object]:
    # the last unmount of an overlay that is not volatile syncs the upper file system
    options = [f"lowerdir+={path}" for path in lower] + [f"upperdir={upper}", f"workdir={work}"]
    return _mount(destination, "overlay", "overlay", [*options, "volatile"] if volatile else options)


def _mount(destination: str, type: str, source: str, options: Sequence[str]) -> dict[str, object]:
    return {"destination": destination, "type": type, "source": source, "options": options}


def _joined(spaces: Namespaces, covered: frozenset[str]) -> Iterator[dict[str, object]]:
    """What it has in common with those whose namespaces it joins."""
    for kind, target, words in _SHARED:
        donor = spaces.donors.get(kind)
        top = "/dev" if target.startswith("/dev/") else target
        if donor is not None and not {target, top} & covered:
            yield _mount(target, "joined", target, (f"of={donor.monitor}", *words))


def _standard(
    ipc: str, privileged: bool, writable_cgroups: bool, shm: int, covered: frozenset[str]
) -> list[dict[str, object]]:
    read_only = () if privileged else ("ro",)
    cgroup_access = () if privileged or writable_cgroups else ("ro",)
    result = [
        _mount("/proc", "proc", "proc", _HIDDEN),
        _mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        _mount("/sys", "sysfs", "sysfs", (*_HIDDEN, *read_only)),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", (*_HIDDEN, *cgroup_access)),
    ]
    if ipc == "host":  # queues and segments are found by the host's processes through these
        result.append(_mount("/dev/mqueue", "bind", "/dev/mqueue", ("rbind", "rw", "rprivate")))
        result.append(_mount("/dev/shm", "bind", "/dev/shm", ("rbind", "rw", "rprivate")))  # noqa: S108
    else:
        result.append(_mount("/dev/mqueue", "mqueue", "mqueue", _HIDDEN))
    if ipc == "private":
        result.append(_mount("/dev/shm", "tmpfs", "shm", (*_HIDDEN, "mode=1777", f"size={shm}")))  # noqa: S108
    return [
        mount
        for mount in result
        if mount["destination"] not in covered
        and not ("/dev" in covered and str(mount["destination"]).startswith("/dev/"))
    ]
