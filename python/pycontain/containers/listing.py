"""Lists of containers: read from their directories, two small files for each, and nothing else."""

from __future__ import annotations

from pycontain.runtime import kept
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycontain.containers.filters import ContainerFilters
    from pycontain.images import Images
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept
    from pycontain.runtime.records import MountRecord, State

__all__ = ["Summary", "select", "summary"]


class Summary(Value):
    """A container, as a list shows it.

    Attributes:
        id: 64 hexadecimal digits.
        name: what it is called.
        image: as it was given; empty where its root is a directory.
        image_id: `sha256:<hex>`, `host`, or empty.
        args: its command.
        created: seconds since the epoch.
        labels: names to values.
        state: what it does: `status started finished exit_code …`.
        mounts: what of the host is mounted in it, its volumes, and files of images.
        network: as it was made with: `none`, `host`, `container:ID`, or a network's name.
        networks: the names of those that it is in.
        exposed: its ports that serve: `80/tcp`.
    """

    __slots__ = (  # noqa: RUF023 - the constructor's order
        "id", "name", "image", "image_id", "args", "created", "labels", "state", "mounts", "network",
        "networks", "exposed",
    )  # fmt: skip
    id: str
    name: str
    image: str
    image_id: str
    args: tuple[str, ...]
    created: float
    labels: Mapping[str, str]
    state: State
    mounts: tuple[MountRecord, ...]
    network: str
    networks: tuple[str, ...]
    exposed: tuple[str, ...]

    def __init__(
        self,
        id: str,
        name: str,
        image: str,
        image_id: str,
        args: tuple[str, ...],
        created: float,
        labels: Mapping[str, str],
        state: State,
        mounts: tuple[MountRecord, ...],
        network: str,
        networks: tuple[str, ...] = (),
        exposed: tuple[str, ...] = (),
    ) -> None:
        self._set(
            id=id,
            name=name,
            image=image,
            image_id=image_id,
            args=args,
            created=created,
            labels=labels,
            state=state,
            mounts=mounts,
            network=network,
            networks=networks,
            exposed=exposed,
        )

    def __hash__(self) -> int:
        return hash((self.id, self.name, self.state.status))


def summary(one: Kept) -> Summary:
    """What a list shows of it."""
    record = one.record
    return Summary(
        one.id,
        record.name,
        record.image,
        record.image_id,
        record.args,
        record.created,
        record.labels,
        one.state,
        record.mounts,
        record.network,
        record.networks,
        record.exposed,
    )


def select(
    paths: Paths,
    images: Images,
    filters: ContainerFilters,
    *,
    all: bool = False,
    last: int | None = None,
) -> list[Kept]:
    """Those that are meant, the youngest first; as with docker, `status` and `last` mean all of them."""
    found = list(kept.all_of(paths))
    if filters:
        from pycontain.containers.filters import tests

        checks = tests(paths, images, filters)
        found = [one for one in found if not any(not check(one) for check in checks)]
    if not (all or last is not None or "status" in filters):
        found = [one for one in found if one.state.is_alive]
    found.sort(key=lambda one: one.record.created, reverse=True)
    return found if last is None else found[:last]
