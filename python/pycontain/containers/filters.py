"""Which containers are meant: the filters of `containers.list`, as docker's mean it."""

from __future__ import annotations

import re
from typing import TypedDict

from pycontain.errors import ImageNotFound, InvalidOption
from pycontain.images.filters import has_label, several
from pycontain.runtime import kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pycontain.images import Images
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept

    Test = Callable[[Kept], bool]

__all__ = ["STATUSES", "ContainerFilters", "tests"]

STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_HEALTHS = ("starting", "healthy", "unhealthy", "none")


class ContainerFilters(TypedDict, total=False):
    """What narrows a list down: all kinds must hold, and all labels, else any value of a kind."""

    id: str | Iterable[str]
    """Regular expressions that their ids contain."""
    name: str | Iterable[str]
    """Regular expressions that their names contain, with or without a slash before them."""
    label: str | Iterable[str]
    """`k` or `k=v`."""
    status: str | Iterable[str]
    """`created`, `running`, `paused`, `restarting`, `exited`, `dead`; of those that do not run as well."""
    exited: int | str | Iterable[int | str]
    """Their exit code, of those that have ended; needs `all`."""
    ancestor: str | Iterable[str]
    """Images that they are made from."""
    before: str
    """Made before this container."""
    since: str
    """Made after this container."""
    volume: str | Iterable[str]
    """A directory of the host that they have mounted, or where in them something is."""
    network: str | Iterable[str]
    """Those that they are in, by name."""
    health: str | Iterable[str]
    """`starting`, `healthy`, `unhealthy`, `none`."""
    publish: str | Iterable[str]
    """Those of the container that are published: `80`, `53/udp`, `8000-8009`."""
    expose: str | Iterable[str]
    """Those that it serves, published or not."""
    is_task: bool
    """Of a swarm: of none."""


def tests(paths: Paths, images: Images, filters: ContainerFilters) -> list[Test]:
    """One for each kind of filter, all of which have to hold.

    Raises:
        ContainerNotFound: `before` or `since` is not here.
        InvalidOption: a value is not valid.
    """
    found: list[Test] = []
    for key, value in filters.items():
        if key in _ONE:
            found.append(_ONE[key](kept.find(paths, str(value)).record.created))
        elif key == "is_task":
            found.append(_none if value else _all)
        elif key == "ancestor":
            found.append(_ancestors(images, several(key, value)))
        elif key in _SEVERAL:
            found.append(_SEVERAL[key](several(key, value)))
        else:
            raise InvalidOption(f"unknown filter `{key}`", hint=f"filters are {', '.join(_KEYS)}")
    return found


def _matching(key: str, parts: Callable[[Kept], tuple[str, ...]]) -> Callable[[list[str]], Test]:
    def test(values: list[str]) -> Test:
        try:
            patterns = [re.compile(value) for value in values]
        except re.error as error:
            raise InvalidOption(f"invalid filter `{key}`: {error}") from None
        # a whole value counts even where it is another expression
        return lambda one: any(
            part == value or pattern.search(part)
            for part in parts(one)
            for value, pattern in zip(values, patterns, strict=True)
        )

    return test


def _all(_one: Kept) -> bool:
    return True


def _none(_one: Kept) -> bool:
    return False


def _labels(values: list[str]) -> Test:
    return lambda one: all(has_label(one.record.labels, value) for value in values)


def _statuses(values: list[str]) -> Test:
    for value in values:
        if value not in STATUSES:
            raise InvalidOption(
                f"invalid filter `status={value}`", hint=f"must be one of {', '.join(STATUSES)}"
            )
    return lambda one: one.state.status in values


def _exited(values: list[str]) -> Test:
    try:
        codes = {int(value) for value in values}
    except ValueError:
        raise InvalidOption(f"invalid filter `exited={values[-1]}`: must be a number") from None
    return lambda one: one.state.status in {"exited", "dead"} and one.state.exit_code in codes


def _ancestors(images: Images, values: list[str]) -> Test:
    """By the image's id: a name may mean another image by now than when the container was made."""
    ids = set()
    for value in values:
        try:
            ids.add("host" if value == "host" else images.get(value).id)
        except (ImageNotFound, InvalidOption):
            continue  # as docker: then there is none
    return lambda one: one.record.image_id in ids


def _volumes(values: list[str]) -> Test:
    return lambda one: any(
        value in {mount.name or mount.source, mount.target} for mount in one.record.mounts for value in values
    )


def _networks(values: list[str]) -> Test:
    return lambda one: any(name in values for name in one.record.networks)


def _healths(values: list[str]) -> Test:
    for value in values:
        if value not in _HEALTHS:
            raise InvalidOption(
                f"invalid filter `health={value}`", hint=f"must be one of {', '.join(_HEALTHS)}"
            )
    return lambda one: (one.state.health.status if one.state.health else "none") in values


def _ports(key: str, values: list[str]) -> set[str]:
    from pycontain.runtime.ports import exposed

    try:
        return {f"{number}/{protocol}" for number, protocol in exposed(values)}
    except InvalidOption:
        raise InvalidOption(
            f"invalid filter `{key}={','.join(values)}`",
            hint="must be PORT[/tcp|udp|sctp], or a range of ports",
        ) from None


def _published(values: list[str]) -> Test:
    from pycontain.containers.published import mapped
    from pycontain.runtime.ports import published

    wanted = _ports("publish", values)

    def test(one: Kept) -> bool:
        given = {
            f"{port.container}/{port.protocol}" for port in published(one.record.options.get("ports") or ())
        }
        return not wanted.isdisjoint(given | mapped(one.state.networks).keys())

    return test


def _exposed(values: list[str]) -> Test:
    wanted = _ports("expose", values)
    return lambda one: not wanted.isdisjoint(one.record.exposed)


_ONE: dict[str, Callable[[float], Test]] = {
    "before": lambda moment: lambda one: one.record.created < moment,
    "since": lambda moment: lambda one: one.record.created > moment,
}
_SEVERAL: dict[str, Callable[[list[str]], Test]] = {
    "id": _matching("id", lambda one: (one.id,)),
    "name": _matching("name", lambda one: (one.record.name, f"/{one.record.name}")),
    "label": _labels,
    "status": _statuses,
    "exited": _exited,
    "volume": _volumes,
    "network": _networks,
    "health": _healths,
    "publish": _published,
    "expose": _exposed,
}
_KEYS = (*_SEVERAL, "ancestor", *_ONE, "is_task")
