"""An image out of a container: its image's configuration, and one layer more."""

from __future__ import annotations

import json
import os

from pycontain.errors import ImageInvalid, InvalidOption, Unsupported
from pycontain.images import changes as instructions
from pycontain.images.blobs import MOST_LAYERS
from pycontain.images.feeding import fed
from pycontain.images.reference import parse_tag
from pycontain.images.stage import NewImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from pycontain._core import Packed
    from pycontain.images.stage import Stage
    from pycontain.images.store import Store, StoredImage

__all__ = ["commit", "source_date_epoch"]


def commit(
    store: Store,
    base: str,
    packers: Sequence[Callable[[int], Packed]],
    name: str | None = None,
    *,
    args: Sequence[str] = (),
    author: str = "",
    message: str = "",
    changes: Iterable[str] = (),
) -> StoredImage:
    """Add an image: that of the id `base` with layers on top, most often one.

    Args:
        store: where to.
        base: the id of the image that the container was made from.
        packers: each writes a layer to an fd, and tells what it wrote; the lowest first.
        name: the new image's; None: it has none.
        args: the command that made the layer.
        author: goes into the image and its history.
        message: goes into its history.
        changes: instructions of a Dockerfile for its configuration, such as `CMD ["sh"]`.

    Raises:
        InvalidOption: the name or a change is not valid.
        Unsupported: the image would have too many layers.
    """
    reference = parse_tag(name, "commit") if name else None
    document = json.loads(store.configuration(base))
    below = store.get(base).diff_ids
    if len(below) + len(packers) > MOST_LAYERS:
        raise Unsupported(
            f"image `{base}` has {len(below)} layers already, overlayfs takes {MOST_LAYERS}",
            hint="make one layer of them: `pycontain export` and `pycontain import`",
        )
    config = document["config"] = document.get("config") or {}
    instructions.apply(config, changes)
    with store.stage() as stage:
        for diff_id in dict.fromkeys(below):
            if not stage.claim(diff_id):
                raise ImageInvalid(f"layer {diff_id} of image `{base}` is gone")
        made = [_layer(stage, pack) for pack in packers]
        diff_ids = (*below, *made)
        _describe(document, diff_ids, len(made), args=args, author=author, message=message)
        image = NewImage(
            json.dumps(document, separators=(",", ":")).encode(),
            diff_ids,
            (reference.key,) if reference else (),
        )
        stage.commit([image])
        return store.get(image.id)


_LAST_SECOND = 253_402_300_799  # of the year 9999


def source_date_epoch() -> int | None:
    """`$SOURCE_DATE_EPOCH`, which stands in for now in what is to be reproducible.

    Raises:
        InvalidOption: it is not a number of seconds, or after the year 9999.
    """
    value = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not value:
        return None
    if not value.isdecimal() or len(value) > len(str(_LAST_SECOND)) or int(value) > _LAST_SECOND:
        raise InvalidOption(f"`SOURCE_DATE_EPOCH={value}` is not a number of seconds, or after the year 9999")
    return int(value)


def _layer(stage: Stage, pack: Callable[[int], Packed]) -> str:
    """Pack into a pipe, and unpack out of it, at once: the diff id."""
    outcome: list[Packed] = []
    with fed(lambda pipe: outcome.append(pack(pipe))) as reading:
        unpacked = stage.unpack(reading, "the container's files", own=True)
    (packed,) = outcome
    if (packed.digest, packed.diff_id) != (unpacked.digest, unpacked.diff_id):
        raise ImageInvalid(f"the layer was packed as {packed.digest} and arrived as {unpacked.digest}")
    return unpacked.diff_id


def _describe(
    document: dict[str, Any],
    diff_ids: Sequence[str],
    added: int,
    *,
    args: Sequence[str],
    author: str,
    message: str,
) -> None:
    import datetime
    import shlex

    epoch = source_date_epoch()
    now = datetime.datetime.now(datetime.UTC)
    when = now if epoch is None else datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    created = when.isoformat().replace("+00:00", "Z")
    for member in ("container", "container_config", "id", "parent"):
        document.pop(member, None)  # what older docker said of the container that made the image below
    # what a container wrote before it was forked has no author
    below = [{"created": created, "created_by": shlex.join(args)} for _ in range(added - 1)]
    entry = {"created": created, "created_by": shlex.join(args), "author": author, "comment": message}
    document |= {
        "created": created,
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [
            *(document.get("history") or ()),
            *below,
            {name: value for name, value in entry.items() if value},
        ],
    }
    if author:
        document["author"] = author
