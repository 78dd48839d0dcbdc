"""Lists of images: what a table shows of each, read with two queries however many there are."""

from __future__ import annotations

import datetime
import json
import time

from pycontain.errors import ImageNotFound, InvalidOption
from pycontain.images.filters import has_label, moment, pattern, several
from pycontain.images.reference import Reference, parse
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    import sqlite3
    from collections.abc import Iterable, Mapping
    from typing import Any

    from pycontain.images.filters import ImageFilters

__all__ = ["Summary", "select", "summaries"]


class Summary(Value):
    """An image, as a list shows it.

    Attributes:
        id: `sha256:<hex>`.
        tags: its tags, each with its repository.
        digests: what registries know it by.
        size: bytes of its layers, unpacked.
        created: seconds since the epoch; None where it does not say.
        labels: names to values.
        added: when it came here, seconds since the epoch.
    """

    __slots__ = ("id", "tags", "digests", "size", "created", "labels", "added")  # noqa: RUF023 - the constructor's order
    id: str
    tags: tuple[Reference, ...]
    digests: tuple[Reference, ...]
    size: int
    created: float | None
    labels: Mapping[str, str]
    added: float

    def __init__(
        self,
        id: str,
        tags: Iterable[Reference],
        digests: Iterable[Reference],
        size: int,
        created: float | None,
        labels: Mapping[str, str],
        added: float,
    ) -> None:
        self._set(
            id=id,
            tags=tuple(tags),
            digests=tuple(digests),
            size=size,
            created=created,
            labels=labels,
            added=added,
        )

    @property
    def dangling(self) -> bool:
        """Whether it has no tag."""
        return not self.tags

    @property
    def references(self) -> tuple[Reference, ...]:
        """All its names."""
        return self.tags + self.digests

    def __hash__(self) -> int:
        return hash(self.id)


def summaries(connection: sqlite3.Connection) -> list[Summary]:
    """All images, the newest first."""
    names: dict[str, list[Reference]] = {}
    for id, key in connection.execute("SELECT image, reference FROM names ORDER BY reference"):
        names.setdefault(id, []).append(Reference.of_key(key))
    rows = connection.execute("SELECT id, configuration, size, added FROM images")
    found = [
        _summary(id, configuration, size, added, names.get(id, ())) for id, configuration, size, added in rows
    ]
    return sorted(found, key=lambda one: (one.created or 0, one.added), reverse=True)


def _summary(id: str, configuration: bytes, size: int, added: float, names: Iterable[Reference]) -> Summary:
    document: dict[str, Any] = json.loads(configuration)
    return Summary(
        id,
        [name for name in names if name.tag],
        [name for name in names if name.digest],
        size,
        created_seconds(document.get("created")),
        (document.get("config") or {}).get("Labels") or {},
        added,
    )


def created_seconds(text: str | None) -> float | None:
    """Seconds since the epoch of what an image says; None where that is nothing, or no time."""
    try:
        made = datetime.datetime.fromisoformat(text or "")
    except ValueError:
        return None
    # docker writes the year 1 where it knows nothing
    return made.timestamp() if made.tzinfo is not None and made.year >= 1970 else None


def select(images: Iterable[Summary], filters: ImageFilters) -> list[Summary]:
    """Those that all filters let through; of their names, those that fit.

    Raises:
        ImageNotFound: there is no such image as `before` or `since` names.
        InvalidOption: a filter is not valid.
    """
    images = list(images)
    chosen = images
    for name in filters:
        if name not in _FILTERS:
            raise InvalidOption(f"unknown filter `{name}`", hint=f"filters are {', '.join(_FILTERS)}")
    for name, choose in _FILTERS.items():
        if (value := filters.get(name)) is not None:
            chosen = choose(chosen, value, images)
    return chosen


def _dangling(chosen: list[Summary], wanted: Any, _all: list[Summary]) -> list[Summary]:
    # what only a digest names is in both, as in docker
    return [image for image in chosen if (image.dangling if wanted else image.references)]


def _labels(chosen: list[Summary], wanted: Any, _all: list[Summary]) -> list[Summary]:
    wanted = several("label", wanted)
    return [image for image in chosen if all(has_label(image.labels, label) for label in wanted)]


def _without_labels(chosen: list[Summary], unwanted: Any, _all: list[Summary]) -> list[Summary]:
    unwanted = several("without_label", unwanted)
    return [image for image in chosen if not any(has_label(image.labels, label) for label in unwanted)]


def _before(chosen: list[Summary], name: Any, images: list[Summary]) -> list[Summary]:
    limit = _named(images, name).created or 0
    return [image for image in chosen if (image.created or 0) < limit]


def _since(chosen: list[Summary], name: Any, images: list[Summary]) -> list[Summary]:
    limit = _named(images, name).created or 0
    return [image for image in chosen if (image.created or 0) > limit]


def _until(chosen: list[Summary], text: Any, _all: list[Summary]) -> list[Summary]:
    limit = moment(text, time.time())
    return [image for image in chosen if (image.created or 0) < limit]


def _references(chosen: list[Summary], texts: Any, _all: list[Summary]) -> list[Summary]:
    patterns = [pattern(form) for text in several("reference", texts) for form in _forms(text)]
    if not patterns:
        return chosen
    fitting = (
        Summary(
            image.id,
            [name for name in image.tags if _fits(name, patterns)],
            [name for name in image.digests if _fits(name, patterns)],
            image.size,
            image.created,
            image.labels,
            image.added,
        )
        for image in chosen
    )
    return [image for image in fitting if image.references]


_FILTERS = {
    "dangling": _dangling,
    "label": _labels,
    "without_label": _without_labels,
    "before": _before,
    "since": _since,
    "until": _until,
    "reference": _references,
}


def _forms(text: str) -> list[str]:
    """A pattern; a name written in full is found by the short one that people write."""
    try:
        return [text, parse(text).familiar]
    except InvalidOption:
        return [text]


def _fits(name: Reference, patterns: list[re.Pattern[str]]) -> bool:
    familiar, repository = name.familiar, name.familiar_repository
    return any(one.fullmatch(familiar) or one.fullmatch(repository) for one in patterns)


def _named(images: list[Summary], name: str) -> Summary:
    from pycontain.images.reference import id_prefix

    prefix = id_prefix(name)
    try:
        key = parse(name).key
    except InvalidOption:
        if prefix is None:
            raise
        key = ""
    for image in images:
        if any(reference.key == key for reference in image.references):
            return image
    found = [image for image in images if prefix and image.id.startswith(prefix)]
    if len(found) != 1:
        raise ImageNotFound(f"no such image: `{name}`", hint="`pycontain images` lists those that are here")
    return found[0]
