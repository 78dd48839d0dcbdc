"""An image out of one tar of a file system, such as `docker export` or debootstrap make."""

from __future__ import annotations

import json
import os

from pycontain.errors import ImageInvalid, ImageNotFound
from pycontain.images import changes as instructions
from pycontain.images.config import machine_platform
from pycontain.images.entries import piped
from pycontain.images.reference import parse_tag
from pycontain.images.stage import NewImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import IO, Any

    from pycontain.images.platforms import Platform
    from pycontain.images.stage import Stage
    from pycontain.images.store import Store, StoredImage

__all__ = ["import_file_system"]


def import_file_system(
    store: Store,
    source: str | os.PathLike[str] | IO[bytes],
    name: str | None = None,
    *,
    changes: Iterable[str] = (),
    message: str = "",
    platform: Platform | None = None,
    finish: Callable[[], None] | None = None,
) -> StoredImage:
    """Add an image of one layer.

    Args:
        store: where to.
        source: a tar, as it is or compressed by gzip or zstd.
        name: its name; None: it has none.
        changes: instructions of a Dockerfile for its configuration, such as `CMD ["sh"]`.
        message: goes into its history.
        platform: what it is for; None: this machine.
        finish: asked when the tar has been read, before the image appears: raises if whoever wrote it failed.

    Raises:
        ImageInvalid: the tar is damaged; nothing was added.
        InvalidOption: the name or a change is not valid.
    """
    reference = parse_tag(name, "import") if name else None
    config: dict[str, Any] = {}
    instructions.apply(config, changes)
    described = os.fspath(source) if isinstance(source, str | os.PathLike) else "-"
    with store.stage() as stage:
        try:
            diff_id = _unpack(stage, source, described)
        except ImageInvalid:
            if finish is not None:
                finish()  # why it is damaged
            raise
        if finish is not None:
            finish()
        document = _configuration(config, diff_id, message or f"Imported from {described}", platform)
        image = NewImage(document, (diff_id,), (reference.key,) if reference else ())
        stage.commit([image])
        return store.get(image.id)


def _unpack(stage: Stage, source: str | os.PathLike[str] | IO[bytes], described: str) -> str:
    if isinstance(source, str | os.PathLike):
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ImageNotFound(f"no such file: `{described}`") from error
        except OSError as error:
            raise ImageInvalid(f"cannot open `{described}`: {error.strerror}") from error
        try:
            if os.path.isdir(descriptor):
                raise ImageInvalid(
                    f"`{described}` is a directory",
                    hint=f"pipe it: `tar -C {described} -c . | pycontain import -`",
                )
            return stage.unpack(descriptor, described).diff_id
        finally:
            os.close(descriptor)
    with piped(source) as reading:
        return stage.unpack(reading, described).diff_id


def _configuration(config: dict[str, Any], diff_id: str, message: str, platform: Platform | None) -> bytes:
    import datetime

    system, architecture = (platform.os, platform.architecture) if platform else machine_platform()
    variant = {"variant": platform.variant} if platform and platform.variant else {}
    created = datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
    document = {
        "architecture": architecture,
        **variant,
        "os": system,
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "comment": message}],
    }
    return json.dumps(document, separators=(",", ":")).encode()
