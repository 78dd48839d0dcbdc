"""What is kept on disk: images by their layers, containers by the files that they wrote, and volumes."""

from __future__ import annotations

import os

from pycontain.images import staging
from pycontain.runtime import kept
from pycontain.runtime import volumes as of_volumes
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pycontain.images.usage import ImageUsage, StoreUsage
    from pycontain.paths import Paths
    from pycontain.runtime.records import State

__all__ = ["ContainerUsage", "DiskUsage", "Share", "VolumeUsage", "disk_usage", "size_below"]


class ContainerUsage(Value):
    """What one container takes.

    Attributes:
        id: 64 hexadecimal digits.
        name: empty where it has none.
        image: as it was given; empty for one that goes with its command.
        args: its command.
        created: seconds since the epoch.
        size: bytes that it wrote.
        state: what it does; None of one that goes with its command, and runs.
        volumes: how many it has mounted.
    """

    __slots__ = ("id", "name", "image", "args", "created", "size", "state", "volumes")  # noqa: RUF023 - the constructor's order
    id: str
    name: str
    image: str
    args: tuple[str, ...]
    created: float
    size: int
    state: State | None
    volumes: int

    def __init__(
        self,
        id: str,
        name: str,
        image: str,
        args: tuple[str, ...],
        created: float,
        size: int,
        state: State | None = None,
        volumes: int = 0,
    ) -> None:
        self._set(
            id=id,
            name=name,
            image=image,
            args=args,
            created=created,
            size=size,
            state=state,
            volumes=volumes,
        )

    @property
    def running(self) -> bool:
        """Whether its command runs."""
        return self.state is None or self.state.is_alive


class VolumeUsage(Value):
    """What one volume takes.

    Attributes:
        name: its name.
        links: how many containers use it, running or not.
        size: bytes of its files.
    """

    __slots__ = ("name", "links", "size")  # noqa: RUF023 - the constructor's order
    name: str
    links: int
    size: int

    def __init__(self, name: str, links: int, size: int) -> None:
        self._set(name=name, links=links, size=size)


class Share(Value):
    """What one kind of things takes on disk.

    Attributes:
        total, active: how many there are, and how many of them are in use.
        size, reclaimable: bytes of all, and of what is not in use.
    """

    __slots__ = ("total", "active", "size", "reclaimable")  # noqa: RUF023 - the constructor's order
    total: int
    active: int
    size: int
    reclaimable: int

    def __init__(self, total: int = 0, active: int = 0, size: int = 0, reclaimable: int = 0) -> None:
        self._set(total=total, active=active, size=size, reclaimable=reclaimable)


class DiskUsage(Value):
    """What an engine keeps on disk.

    Attributes:
        images: their layers, each counted once: unpacked, and as it came.
        containers: the files that they wrote; those of a running one are in use.
        volumes: those that no container has are not in use.
        build_cache: nothing: there is none yet.
        blobs: bytes of `images` that are layers as they came, kept for `push` and `save`.
        per_image, per_container: each of them, the youngest first.
        per_volume: each of them, by name.
    """

    __slots__ = (  # noqa: RUF023 - the constructor's order
        "images", "containers", "volumes", "build_cache", "blobs", "per_image", "per_container",
        "per_volume",
    )  # fmt: skip
    images: Share
    containers: Share
    volumes: Share
    build_cache: Share
    blobs: int
    per_image: tuple[ImageUsage, ...]
    per_container: tuple[ContainerUsage, ...]
    per_volume: tuple[VolumeUsage, ...]

    def __init__(
        self,
        images: Share,
        containers: Share,
        volumes: Share,
        blobs: int,
        per_image: Sequence[ImageUsage],
        per_container: Sequence[ContainerUsage],
        per_volume: Sequence[VolumeUsage],
    ) -> None:
        self._set(
            images=images,
            containers=containers,
            volumes=volumes,
            build_cache=Share(),
            blobs=blobs,
            per_image=tuple(per_image),
            per_container=tuple(per_container),
            per_volume=tuple(per_volume),
        )


def disk_usage(paths: Paths, images: StoreUsage) -> DiskUsage:
    """Of the images as given, and of the containers as they are."""
    made = containers(paths)
    kept_volumes = tuple(
        VolumeUsage(one.name, len(of_volumes.users(paths, one.name)), size_below(one.mountpoint))
        for one in of_volumes.all_of(paths)
    )
    return DiskUsage(
        Share(
            len(images.images),
            sum(image.containers > 0 for image in images.images),
            images.layers + images.blobs,
            images.reclaimable,
        ),
        Share(
            len(made),
            sum(one.running for one in made),
            sum(one.size for one in made),
            sum(one.size for one in made if not one.running),
        ),
        Share(
            len(kept_volumes),
            sum(one.links > 0 for one in kept_volumes),
            sum(one.size for one in kept_volumes),
            sum(one.size for one in kept_volumes if not one.links),
        ),
        images.blobs,
        images.images,
        made,
        kept_volumes,
    )


def containers(paths: Paths) -> tuple[ContainerUsage, ...]:
    """Of all containers, the youngest first; one that goes away meanwhile is left out.

    One that is removed in the end and has neither a name nor volumes counts when it has written something.
    """
    found = [
        ContainerUsage(
            one.id,
            one.record.name,
            one.record.image,
            one.record.args,
            one.record.created,
            size_of(one.path),
            one.state,
            len(of_volumes.of_container(one.path)),
        )
        for one in kept.all_of(paths)
    ]
    found += filter(None, (_usage(f"{paths.ephemeral}/{id}") for id in staging.names(paths.ephemeral)))
    return tuple(sorted(found, key=lambda one: one.created, reverse=True))


def size_of(directory: str) -> int:
    """Bytes that the container of this directory wrote."""
    return size_below(f"{directory}/upper")


def size_below(directory: str) -> int:
    """Bytes of the files there."""
    return sum(_sizes(directory))


def _usage(directory: str) -> ContainerUsage | None:
    try:
        if "-" in os.path.basename(directory) and not os.listdir(f"{directory}/upper"):
            return None  # a launcher's, which no container has, or one that wrote nothing
        if os.path.islink(f"{directory}/image") and not staging.is_held(directory):
            return None  # left by one that was killed
        created = os.stat(directory).st_mtime
    except OSError:
        return None
    return ContainerUsage(os.path.basename(directory), "", "", (), created, size_of(directory))


def _sizes(directory: str) -> Iterator[int]:
    """Of each file below, one of several names once."""
    seen: set[tuple[int, int]] = set()
    waiting = [directory]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue  # gone meanwhile
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                yield status.st_size
