"""What the options need to know of the machine and the caller: the only place that reads them."""

from __future__ import annotations

import os

from pycontain.errors import InvalidOption, Unsupported
from pycontain.paths import absolute
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pycontain.runtime.donors import Donor
    from pycontain.types import Mount


class Device(Value):
    """A device node of the host: `type` is `c` or `b`, `mode` its permission bits."""

    __slots__ = ("path", "type", "major", "minor", "mode", "uid", "gid")  # noqa: RUF023
    path: str
    type: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int

    def __init__(self, path: str, type: str, major: int, minor: int, mode: int, uid: int, gid: int) -> None:
        self._set(path=path, type=type, major=major, minor=minor, mode=mode, uid=uid, gid=gid)


class Host:
    """The machine, as seen by this process. Tests put one in its place that knows everything beforehand."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The caller's environment variables."""
        return os.environ

    @property
    def directory(self) -> str:
        """The caller's current directory."""
        return absolute(".")

    @property
    def hostname(self) -> str:
        """The host's own name."""
        return os.uname().nodename

    @property
    def network(self) -> str:
        """That of containers which name none: `$PYCONTAIN_NETWORK`, else the bridge if it is root's."""
        return self.environ.get("PYCONTAIN_NETWORK") or ("bridge" if os.geteuid() == 0 else "none")

    @property
    def processors(self) -> int:
        """How many processors there are."""
        return os.cpu_count() or 1

    def exists(self, path: str) -> bool:
        """Whether there is something at `path`."""
        return os.path.lexists(path)

    def read(self, option: str, path: str) -> str:
        """A small text file that an option names."""
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
            raise InvalidOption(f"cannot read `{path}` for `{option}`: {reason.lower()}") from error

    def read_if_there(self, path: str) -> str:
        """A text file of the host, empty where it cannot be read."""
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def volume_options(self, path: str) -> Mapping[str, str] | None:
        """What the volume of this directory was made with; None: it is not there."""
        import json

        try:
            with open(f"{path}/volume.json", encoding="utf-8") as file:
                options: Mapping[str, str] = json.load(file).get("options", {})
                return options
        except (OSError, ValueError):
            return None

    def image(self, name: str) -> tuple[str, Sequence[str]]:
        """The id of an image, and the directories of its layers, the topmost first."""
        raise Unsupported(f"image `{name}`: there is no store of images here")

    def mounts_of(self, container: str, access: str) -> Iterable[Mount]:
        """The binds and volumes of a container; `access`: `ro`, `rw`, or as they are there."""
        raise Unsupported(f"container `{container}`, {access}: there are no containers here")

    def donor(self, container: str) -> Donor:
        """A container whose namespaces another is to be in."""
        raise Unsupported(f"the namespaces of container `{container}`, which is not here, cannot be joined")

    def devices(self, option: str, path: str) -> list[Device]:
        """The device at `path`; of a directory, every one below it."""
        try:
            if not os.path.isdir(path):
                return [self._device(option, path)]
            found = []
            for top, _, names in os.walk(path):
                for name in sorted(names):
                    try:
                        found.append(self._device(option, os.path.join(top, name)))
                    except InvalidOption:
                        continue  # something else among the devices
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InvalidOption(f"cannot use device `{path}` for `{option}`: {reason}") from error
        if not found:
            raise InvalidOption(f"cannot use `{path}` for `{option}`: there is no device in this directory")
        return found

    def _device(self, option: str, path: str) -> Device:
        import stat

        status = os.stat(path)
        kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
        if not kind:
            raise InvalidOption(f"cannot use `{path}` for `{option}`: it is not a device")
        number = status.st_rdev
        return Device(
            path,
            kind,
            os.major(number),
            os.minor(number),
            status.st_mode & 0o777,
            status.st_uid,
            status.st_gid,
        )
