"""All about one image, in the shape of docker's JSON."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.images.store import Store

__all__ = ["inspect"]

_NEVER = "0001-01-01T00:00:00Z"  # what Go has for a time that is not known


def inspect(store: Store, id: str) -> dict[str, Any]:
    """The image of this id; of what docker's has, `GraphDriver` has where the layers are.

    Raises:
        ImageNotFound: there is none.
    """
    image = store.get(id)
    document = json.loads(store.configuration(image.id))
    history = document.get("history") or [{}]
    config = {name: value for name, value in (document.get("config") or {}).items() if value is not None}
    result = {
        "Id": image.id,
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Parent": "",
        "Comment": document.get("comment") or history[-1].get("comment") or "",
        "Created": image.created or _NEVER,
        "DockerVersion": document.get("docker_version") or "",
        "Author": document.get("author") or "",
        "Config": config,
        "Architecture": image.architecture,
        "Variant": document.get("variant") or "",
        "Os": image.os or "linux",
        "OsVersion": document.get("os.version") or "",
        "Size": image.size,
        "GraphDriver": {"Data": _directories(image.layers), "Name": "overlay"},
        "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
        "Metadata": {"LastTagTime": _rfc3339(store.last_tagged(image.id))},
    }
    return {name: value for name, value in result.items() if value or name not in {"Variant", "OsVersion"}}


def _rfc3339(seconds: float | None) -> str:
    import datetime

    if seconds is None:
        return _NEVER
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")


def _directories(layers: tuple[str, ...]) -> dict[str, str]:
    """As docker names them: the topmost one, and those below it."""
    named = {"UpperDir": layers[:1], "LowerDir": layers[1:]}
    return {name: ":".join(paths) for name, paths in named.items() if paths}
