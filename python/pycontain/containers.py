"""Containers that stay: `engine.containers`, and the handles it gives out."""

from __future__ import annotations

import contextlib
import os

from pycontain.errors import InvalidOption, StoreError, Unsupported
from pycontain.images.committing import commit, source_date_epoch
from pycontain.runtime import kept
from pycontain.types import FileChange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import IO

    from pycontain._core import Launcher, Packed
    from pycontain.images import Image, Images
    from pycontain.paths import Paths

__all__ = ["Container", "Containers"]


class Container:
    """A container of an engine that was run without `remove`. Made by `Containers` only."""

    __slots__ = ("_images", "_kept", "_launcher")

    def __init__(self, found: kept.Kept, images: Images, launcher: Callable[[], Launcher]) -> None:
        self._kept = found
        self._images = images
        self._launcher = launcher

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self._kept.id

    @property
    def name(self) -> str | None:
        """Its name, if it was given one."""
        name = self._kept.state.get("name")
        return None if name is None else str(name)

    @property
    def _called(self) -> str:
        return self.name or self.id[:12]

    def diff(self) -> tuple[FileChange, ...]:
        """What it changed in the files of its image, sorted; a directory with changes in it is changed too.

        Raises:
            Unsupported: its root is a directory of this machine.
        """
        found = self._launcher().changes(self._kept.config, skip=self._kept.mount_points)
        return tuple(FileChange(kind, os.fspath(path)) for kind, path in found)

    def export(self, target: str | os.PathLike[str] | IO[bytes]) -> None:
        """Write all of its files as a tar, as it sees them; not what is mounted there.

        `$SOURCE_DATE_EPOCH` is the latest time that is written.

        Args:
            target: a path, which appears when all is written, or something open to write to.

        Raises:
            StoreError: it could not be written.
        """
        latest = source_date_epoch()
        with _writing(target) as descriptor:
            self._launcher().export(self._kept.config, descriptor, latest=latest)

    def commit(
        self,
        name: str | None = None,
        *,
        author: str = "",
        message: str = "",
        changes: Iterable[str] = (),
        pause: bool = True,
    ) -> Image:
        """Make an image of it: the configuration of its image, and one layer more.

        With `$SOURCE_DATE_EPOCH` the same files give the same image.

        Args:
            name: the new image's name.
            author: goes into the image.
            message: goes into its history.
            changes: instructions of a Dockerfile for its configuration: `CMD ["sh"]`.
            pause: whether nothing in it runs meanwhile, if it runs.

        Raises:
            ImageNotFound: its image is gone.
            InvalidOption: the name or a change is not valid.
            Unsupported: it has no image of layers, or cannot be paused.
        """
        base = str(self._kept.state.get("image_id") or "")
        if not base.startswith("sha256:"):
            what = f"the image `{base}`, whose" if base else "a root file system whose"
            raise Unsupported(
                f"cannot commit container `{self._called}`: it was made from {what} files are this machine's",
                hint="`pycontain export` writes all of its files, `pycontain import` makes an image of them",
            )
        if name == "host":
            raise InvalidOption("cannot commit as `host`: that is this machine's own image")
        latest = source_date_epoch()

        def pack(target: int) -> Packed:
            skip = self._kept.mount_points
            return self._launcher().pack_layer(self._kept.config, target, skip=skip, latest=latest)

        with self._standing_still() if pause else contextlib.nullcontext():
            return self._images.add(
                lambda store: commit(
                    store,
                    base,
                    pack,
                    name,
                    args=self._kept.state.get("args") or (),
                    author=author,
                    message=message,
                    changes=changes,
                )
            )

    @contextlib.contextmanager
    def _standing_still(self) -> Iterator[None]:
        with kept.only_stopped(self._kept) as stopped:
            if stopped:
                yield
                return
        group = kept.cgroup(self._kept)
        if group is None:
            raise Unsupported(
                f"cannot pause container `{self._called}`: it has no control group of its own",
                hint="commit it as it runs: `pause=False`, `--pause=false` on the command line",
            )
        launcher = self._launcher()
        launcher.freeze(group, True)
        try:
            yield
        finally:
            launcher.freeze(group, False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Container) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Container {self.id[:12]}>"


class Containers:
    """The containers of an engine that were run without `remove`."""

    def __init__(self, paths: Paths, images: Images, launcher: Callable[[], Launcher]) -> None:
        self._paths = paths
        self._images = images
        self._launcher = launcher

    def get(self, name: str) -> Container:
        """The container of this name, id, or beginning of an id.

        Raises:
            ContainerNotFound: there is none.
            InvalidOption: several ids begin so.
        """
        return Container(kept.find(self._paths, name), self._images, self._launcher)


@contextlib.contextmanager
def _writing(target: str | os.PathLike[str] | IO[bytes]) -> Iterator[int]:
    if not isinstance(target, str | os.PathLike):
        with _piped_to(target) as descriptor:
            yield descriptor
        return
    path = os.fspath(target)
    # a device or a pipe is written to; a file is replaced when all is there
    final = not os.path.exists(path) or os.path.isfile(path)
    made = f"{path}.{os.urandom(6).hex()}" if final else path
    flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if final else 0)
    try:
        descriptor = os.open(made, flags, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot write `{path}`: {(error.strerror or str(error)).lower()}",
            errno=error.errno,
            filename=path,
        ) from error
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        if final:
            os.rename(made, path)
    except BaseException:
        if final:
            os.unlink(made)
        raise


@contextlib.contextmanager
def _piped_to(target: IO[bytes]) -> Iterator[int]:
    import io
    import shutil
    import threading

    try:
        target.flush()
        yield target.fileno()
        return
    except io.UnsupportedOperation:
        pass
    reading, writing = os.pipe()

    def copy() -> None:
        with open(reading, "rb") as source:
            shutil.copyfileobj(source, target)

    thread = threading.Thread(target=copy, name="export")
    thread.start()
    try:
        yield writing
    finally:
        os.close(writing)
        thread.join()
