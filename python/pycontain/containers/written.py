"""What a container wrote: its writable layer, and the layers below that it shares since it was forked."""

from __future__ import annotations

import os

from pycontain.types import FileChange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pycontain._core import Launcher, Packed
    from pycontain.runtime.kept import Kept

__all__ = ["changes", "layers"]


def changes(container: Kept, launcher: Launcher) -> tuple[FileChange, ...]:
    """What is different from its image, sorted."""
    skip = container.mount_points
    found = [launcher.changes(config, skip=skip) for config in reversed(container.written)]
    return _merged([(kind, os.fspath(path)) for kind, path in layer] for layer in found)


def layers(container: Kept, launcher: Launcher, latest: int | None) -> list[Callable[[int], Packed]]:
    """What packs each layer to an fd, the lowest first; `latest` as in `Launcher.pack_layer`."""
    skip = container.mount_points

    def packer(config: bytes) -> Callable[[int], Packed]:
        return lambda target: launcher.pack_layer(config, target, skip=skip, latest=latest)

    return [packer(config) for config in reversed(container.written)]


def _merged(stack: Iterable[Iterable[tuple[str, str]]]) -> tuple[FileChange, ...]:
    """All changes as one: each layer, the lowest first, is compared with those below it."""
    all_of: dict[str, str] = {}
    for layer in stack:
        for kind, path in layer:
            before = all_of.get(path)
            if kind == "D":
                for other in [one for one in all_of if one.startswith(f"{path}/")]:
                    del all_of[other]
                if before == "A":
                    del all_of[path]
                    continue
                all_of[path] = "D"
            elif before == "D":
                all_of[path] = "C"
            else:
                all_of[path] = before or kind
    return tuple(FileChange(kind, path) for path, kind in sorted(all_of.items()))
