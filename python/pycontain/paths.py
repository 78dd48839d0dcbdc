"""Where things are on this machine."""

from __future__ import annotations

import os

from pycontain.errors import PathNotFound, StoreError
from pycontain.types import Value

__all__ = ["ANOTHER_ROOT", "Paths", "absolute", "find", "unusable"]

ANOTHER_ROOT = "`--root` or $PYCONTAIN_ROOT names another place for images and containers"  # a hint


class Paths(Value):
    """The directories of one store, and the run directory that all stores of a user share.

    Attributes:
        root: what is kept: images, layers, containers.
        run: what is gone after a restart of the machine: sockets, locks. Not below `root`: id ranges and the
            launchers' locks are the machine's, and two roots must see each other's.
    """

    __slots__ = ("root", "run")
    root: str
    run: str

    def __init__(self, root: str, run: str) -> None:
        self._set(root=root, run=run)

    @property
    def database(self) -> str:
        """Names, images, layer chains: SQLite."""
        return self.root + "/images.db"

    @property
    def blobs(self) -> str:
        """Layers as they came, compressed, named by their digest."""
        return self.root + "/blobs/sha256"

    @property
    def used(self) -> str:
        """A file for each image, whose time is that of its last use."""
        return self.root + "/used"

    @property
    def layers(self) -> str:
        """Unpacked layers, named by their diff id."""
        return self.root + "/layers"

    @property
    def staging(self) -> str:
        """What is being made, each entry held by a lock of who makes it."""
        return self.root + "/staging"

    @property
    def synced(self) -> str:
        """A file for each stage whose layers have been written to disk since it ended."""
        return self.root + "/synced"

    @property
    def downloads(self) -> str:
        """A file for each layer that is being downloaded, locked by who does it."""
        return self.root + "/downloads"

    @property
    def host(self) -> str:
        """Skeletons of the image `host`."""
        return self.root + "/host"

    @property
    def mount_points(self) -> str:
        """The lowest layer of every container."""
        return self.root + "/mount-points"

    @property
    def containers(self) -> str:
        """A directory for each container."""
        return self.root + "/containers"

    @property
    def shared(self) -> str:
        """What containers had written when they were forked, a directory for each layer."""
        return self.root + "/shared"

    @property
    def ephemeral(self) -> str:
        """A directory for each container that goes with its command."""
        return self.root + "/ephemeral"

    @property
    def volumes(self) -> str:
        """A directory for each volume."""
        return self.root + "/volumes"

    @property
    def names(self) -> str:
        """A link for each container's name."""
        return self.root + "/names"


def find(root: str | os.PathLike[str] | None = None) -> Paths:
    """The paths of this user; `root` or `$PYCONTAIN_ROOT` replaces the usual one. The run directory is made.

    Raises:
        InvalidOption: the root is no path.
        StoreError: the root is no directory; the run directory cannot be made, or belongs to somebody else.
    """
    return Paths(_root(root), _run())


def absolute(path: str | os.PathLike[str]) -> str:
    """A path of the host's as one that begins with `/`.

    Raises:
        PathNotFound: it is relative, and this process's current directory was removed.
    """
    try:
        return os.path.abspath(path)
    except FileNotFoundError as error:
        raise PathNotFound(
            "the current directory was removed", hint="paths that begin with / need none"
        ) from error


def unusable(what: str, error: OSError) -> StoreError:
    """The error for a directory of the store's that cannot be made; `what` says which of them, and where."""
    return StoreError(
        f"cannot make {what}: {(error.strerror or str(error)).lower()}",
        errno=error.errno,
        filename=error.filename,
        hint=ANOTHER_ROOT,
    )


def _root(given: str | os.PathLike[str] | None) -> str:
    if given is None:
        chosen = os.environ.get("PYCONTAIN_ROOT", "")
    else:
        from pycontain.runtime.sizes import path

        chosen = path("root", given)
    if chosen:
        if os.path.exists(chosen) and not os.path.isdir(chosen):
            raise StoreError(
                f"`{chosen}` is not a directory",
                filename=chosen,
                hint=ANOTHER_ROOT,
            )
        return absolute(chosen)
    if os.geteuid() == 0:
        return "/var/lib/pycontain"
    data = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data):  # the XDG base directory specification: relative paths are to be ignored
        data = os.path.expanduser("~/.local/share")
    return os.path.join(data, "pycontain")


def _run() -> str:
    user = os.geteuid()
    if user == 0:
        return _own_directory("/run/pycontain", user)
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # after `su` the variable still names the directory of the user before
    if os.path.isabs(runtime) and _owner(runtime) == user:
        return _own_directory(os.path.join(runtime, "pycontain"), user)
    return _own_directory(f"/tmp/pycontain-{user}", user)  # noqa: S108 - made exclusively and checked below


def _owner(path: str) -> int | None:
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def _own_directory(path: str, user: int) -> str:
    import stat

    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        found = os.lstat(path)
    except OSError as error:
        raise StoreError(
            f"cannot make the run directory `{path}`: {error.strerror}", errno=error.errno, filename=path
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o022:
        raise StoreError(
            f"run directory `{path}` is not a directory that only user {user} can write",
            filename=path,
            hint=f"remove `{path}`, or set XDG_RUNTIME_DIR to a directory of your own",
        )
    return path
