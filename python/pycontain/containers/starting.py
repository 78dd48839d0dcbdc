"""The first start of a container that stays: in the background, on this process's streams, for a block."""

from __future__ import annotations

import contextlib

from pycontain.errors import Conflict, ContainerNotFound, NotFound, StartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from pycontain._core import Launcher
    from pycontain.containers.handle import Container
    from pycontain.options import ContainerOptions
    from pycontain.paths import Paths
    from pycontain.runtime.preparing import Preparation

__all__ = ["for_block", "in_background", "in_foreground"]


def in_background(
    made: Preparation,
    container: Container,
    paths: Paths,
    launcher: Callable[[], Launcher],
    options: ContainerOptions,
) -> None:
    """See `Engine.start`."""
    from pycontain.containers import keeping

    with _removed_if_not_started(container, options), made:
        assert made.lock is not None
        keeping.start_first(paths, made.kept, launcher(), made.prepared.config, made.lock)


def in_foreground(
    container: Container,
    options: ContainerOptions,
    *,
    streams: Collection[str],
    detach_keys: str,
    pass_signals: bool,
) -> int:
    """See `Engine.run_foreground`."""
    with _removed_if_not_started(container, options):
        status = container.show(
            start=True,
            stdin="stdin" in streams,
            outputs=streams,
            detach_keys=detach_keys,
            pass_signals=pass_signals,
            end_by_signals=True,
            tied=bool(options.get("remove")) and not options.get("name"),
        )
    return status or 0


@contextlib.contextmanager
def for_block(container: Container) -> Iterator[None]:
    """See `Engine.container`."""
    container._tied = True
    try:
        container.start()
        yield
    finally:
        with contextlib.suppress(ContainerNotFound):  # it was to be removed at its end
            container.remove(force=True, volumes=True)
        container._tied, container._tie = False, None  # only now


@contextlib.contextmanager
def _removed_if_not_started(container: Container, options: ContainerOptions) -> Iterator[None]:
    try:
        yield
    except (Conflict, NotFound, StartError):
        if options.get("remove"):
            with contextlib.suppress(ContainerNotFound):  # its monitor removes it, if it got one
                container.remove(force=True)
        raise
