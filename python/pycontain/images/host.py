"""The image `host`: the programs of this machine, seen through read-only layers, without its secrets.

    /usr (and /bin, /lib, ... where they are real directories)   overlays of the machine's own directories
    everything else                                              a skeleton: <root>/host/<fingerprint>/

The skeleton's /etc holds what programs need of it to run, by an allow-list: what is not known to be harmless
is left out, and so is every file that not everybody may read. It is made anew when what it was made of has
changed, and with every boot: so it need not be synced to disk, which takes a second where others write much.
"""

from __future__ import annotations

import os
import stat

from pycontain.images.config import ImageConfig
from pycontain.paths import unusable
from pycontain.types import RootFilesystem, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain.paths import Paths

__all__ = ["HostImage", "host_image"]

_VERSION = 1  # of what is made here: another one makes every skeleton anew
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_DIRECTORIES = (
    *(("usr", 0o755), ("etc", 0o755), ("home", 0o755), ("media", 0o755), ("mnt", 0o755), ("opt", 0o755)),
    *(("srv", 0o755), ("run", 0o755), ("dev", 0o755), ("proc", 0o555), ("sys", 0o555)),
    *(("root", 0o700), ("tmp", 0o1777)),
    *(("var", 0o755), ("var/cache", 0o755), ("var/lib", 0o755), ("var/log", 0o755), ("var/tmp", 0o1777)),
)
_LINKS = (("var/run", "/run"), ("var/lock", "/run/lock"), ("etc/mtab", "../proc/self/mounts"))

# `*` stands for any ending. Directories are taken as a whole, except what `_copy` refuses.
_OF_ETC = (
    *("alternatives", "bash.bashrc", "bashrc", "ca-certificates*", "crypto-policies", "debian_version"),
    *("ethertypes", "fonts", "gai.conf", "host.conf", "inputrc", "java*", "ld.so.cache", "ld.so.conf"),
    *("ld.so.conf.d", "locale*", "localtime", "magic*", "mime.types", "os-release", "perl"),
    *("pki/ca-trust/extracted", "pki/tls/cert.pem", "pki/tls/certs", "pki/tls/openssl.cnf", "profile"),
    *("protocols", "python3*", "rpc", "services", "shells", "skel", "ssl/cert.pem", "ssl/certs"),
    *("ssl/openssl.cnf", "terminfo", "timezone", "xattr.conf"),
)
_ACCOUNTS = ("passwd", "group")
_LONGEST_FILE = 16 << 20
_NAME_SERVICES = """\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
"""


class HostImage(Value):
    """The machine's own programs as an image.

    Attributes:
        root: what its root file system is made of.
        config: defaults for containers.
    """

    __slots__ = ("root", "config")  # noqa: RUF023 - the constructor's order
    root: RootFilesystem
    config: ImageConfig

    def __init__(self, root: RootFilesystem, config: ImageConfig) -> None:
        self._set(root=root, config=config)


def host_image(paths: Paths) -> HostImage:
    """The image `host` as the machine is now; the skeleton is made if it is not there.

    Raises:
        StoreError: the skeleton cannot be made.
    """
    skeleton = f"{paths.host}/{_fingerprint()}"
    if not os.path.isdir(skeleton):
        try:
            _make(paths, skeleton)
        except OSError as error:
            raise unusable(f"the image `host` in `{paths.host}`", error) from error
    shell = "bash" if os.path.exists("/bin/bash") or os.path.exists("/usr/bin/bash") else "sh"
    own = [f"/{name}" for name in ("usr", *_PROGRAMS) if _is_directory(f"/{name}")]
    return HostImage(
        RootFilesystem((skeleton,), [(path, path) for path in own]),
        ImageConfig(env=(f"PATH={_PATH}",), cmd=(shell,)),
    )


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _fingerprint() -> str:
    """Changes when what the skeleton is made of does: a new file shows in its directory's time."""
    import zlib

    facts: list[object] = [_VERSION, os.geteuid(), _boot()]
    facts += [_program_directory(f"/{name}") for name in _PROGRAMS]
    for name in (*_sources(), *_ACCOUNTS):
        facts += _states(f"/etc/{name}")
    text = repr(facts).encode()
    return f"{zlib.crc32(text):08x}{zlib.adler32(text):08x}{len(text):x}"


def _boot() -> bytes:
    with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
        return file.read()


def _program_directory(path: str) -> str | bool:
    try:
        return os.readlink(path)
    except OSError:
        return _is_directory(path)


def _states(path: str) -> Iterator[tuple[int, int, int, int]]:
    try:
        found = os.lstat(path)
    except OSError:
        return
    yield found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    # two links, its name and its `.`: no directory in it. File systems that do not count have 1.
    if stat.S_ISDIR(found.st_mode) and found.st_nlink != 2:
        try:
            with os.scandir(path) as entries:
                below = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            return
        for directory in below:
            yield from _states(directory)


def _sources() -> Iterator[str]:
    """What the allow-list finds on this machine, relative to /etc."""
    names = sorted(os.listdir("/etc"))
    for allowed in _OF_ETC:
        if allowed.endswith("*"):
            yield from (name for name in names if name.startswith(allowed[:-1]))
        elif allowed.partition("/")[0] in names:
            yield allowed


def _make(paths: Paths, skeleton: str) -> None:
    import errno
    import shutil

    from pycontain.images import staging

    os.makedirs(paths.host, mode=0o711, exist_ok=True)
    held = staging.hold(paths.staging)
    try:
        made = held.path + "/skeleton"
        os.mkdir(made, 0o755)
        os.chmod(made, 0o755)  # noqa: S103 - a root directory
        _fill(made)
        # when another process was quicker, its skeleton is the same
        try:
            os.rename(made, skeleton)
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                raise
        _retire(paths, held.path)
    finally:
        shutil.rmtree(held.path, ignore_errors=True)
        held.release()


def _retire(paths: Paths, staged: str) -> None:
    """Move away old skeletons, except the last before this one and those that containers are made of."""
    import contextlib

    skeletons = sorted(os.scandir(paths.host), key=lambda entry: entry.stat().st_ctime_ns, reverse=True)
    for entry in skeletons[2:]:
        if not _in_use(paths, entry.name):
            with contextlib.suppress(FileNotFoundError):
                os.rename(entry.path, f"{staged}/{entry.name}")


def _in_use(paths: Paths, fingerprint: str) -> bool:
    import contextlib

    from pycontain.images import staging

    named = f"/host/{fingerprint}".encode()
    for container in staging.names(paths.containers):
        with contextlib.suppress(OSError), open(f"{paths.containers}/{container}/config.json", "rb") as file:
            if named in file.read():
                return True
    return False


def _fill(root: str) -> None:
    for name, mode in _DIRECTORIES:
        os.mkdir(f"{root}/{name}")
        os.chmod(f"{root}/{name}", mode)
    for name, target in _LINKS:
        os.symlink(target, f"{root}/{name}")
    for name in _PROGRAMS:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
        elif _is_directory(f"/{name}"):
            os.mkdir(f"{root}/{name}", 0o755)
    for name in _sources():
        _make_parents(f"{root}/etc", name)
        _copy(f"/etc/{name}", f"{root}/etc/{name}")
    users = _system_users()
    _write(f"{root}/etc/passwd", "".join(line for line, _ in users.values()).encode())
    _write(f"{root}/etc/group", "".join(_system_groups(set(users))).encode())
    _write(f"{root}/etc/nsswitch.conf", _NAME_SERVICES.encode())
    for name in ("hosts", "hostname", "resolv.conf"):  # each container has its own mounted over these
        _write(f"{root}/etc/{name}", b"")


def _make_parents(root: str, name: str) -> None:
    parent = os.path.dirname(name)
    if parent and not os.path.isdir(f"{root}/{parent}"):
        _make_parents(root, parent)
        os.mkdir(f"{root}/{parent}")
        os.chmod(f"{root}/{parent}", 0o755)  # noqa: S103 - directories of /etc


def _copy(source: str, target: str) -> None:
    """Copy a file, a link or a tree; what not everybody may read, and keys, are left out."""
    try:
        found = os.lstat(source)
        if stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(source), target)
        elif stat.S_ISDIR(found.st_mode) and found.st_mode & 0o005 == 0o005:
            names = os.listdir(source)
            os.mkdir(target)
            os.chmod(target, 0o755)  # noqa: S103 - directories of /etc
            for name in names:
                _copy(f"{source}/{name}", f"{target}/{name}")
        elif stat.S_ISREG(found.st_mode):
            _copy_file(source, target)
    except (FileNotFoundError, PermissionError):
        pass  # gone meanwhile, or not for this user to see


def _copy_file(source: str, target: str) -> None:
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        readable = stat.S_ISREG(found.st_mode) and found.st_mode & 0o004
        if not readable or found.st_size > _LONGEST_FILE:
            return
        data = file.read()
    if b"PRIVATE KEY" not in data:
        _write(target, data, 0o755 if found.st_mode & 0o001 else 0o644)


def _write(path: str, data: bytes, mode: int = 0o644) -> None:
    with open(path, "xb", buffering=0) as file:
        file.write(data)
        os.fchmod(file.fileno(), mode)


def _system_users() -> dict[str, tuple[str, int]]:
    """Lines of /etc/passwd, by name, with the uid: those of no person, without a password."""
    users = {"root": ("root:x:0:0:root:/root:/bin/sh\n", 0)}
    for fields in _lines("/etc/passwd", 7):
        if fields[2].isdigit() and (int(fields[2]) < 1000 or fields[0] == "nobody"):
            fields[1] = "x"
            users[fields[0]] = (":".join(fields) + "\n", int(fields[2]))
    return users


def _system_groups(users: set[str]) -> Iterator[str]:
    """Lines of /etc/group: the system's groups, their members only from `users`."""
    found = {"root": "root:x:0:\n"}
    for name, _, gid, members in _lines("/etc/group", 4):
        if gid.isdigit() and (int(gid) < 1000 or name in {"nogroup", "nobody"}):
            known = ",".join(member for member in members.split(",") if member in users)
            found[name] = f"{name}:x:{gid}:{known}\n"
    yield from found.values()


def _lines(path: str, fields: int) -> Iterator[list[str]]:
    import contextlib

    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            parts = line.rstrip("\n").split(":")
            if len(parts) == fields:
                yield parts
