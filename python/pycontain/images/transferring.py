"""What a pull and a push have in common: several layers at once, and whoever is told of each step."""

from __future__ import annotations

import threading

from pycontain.registry.retries import Stopped
from pycontain.types import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from pycontain.registry import Client

    T = TypeVar("T")

__all__ = ["Transfer"]


class Transfer:
    """Moves layers by one client.

    Args:
        client: closed by the caller.
        progress: is told of each step, by several threads but never by two at once.

    Attributes:
        stop: set when one layer has failed: nobody wants the others any more.
    """

    def __init__(self, client: Client, progress: Callable[[Progress], None] | None) -> None:
        self._client = client
        self._progress = progress
        self._lock = threading.Lock()
        self.stop = client.transport.stop

    def say(self, layer: str, phase: str, done: int = 0, total: int = 0) -> None:
        """Tell of a step."""
        if self._progress is not None:
            with self._lock:
                self._progress(Progress(layer, phase, done, total))

    def each(self, layers: Iterable[T], move: Callable[[T], None]) -> None:
        """Move all of them, several at once; raises the failure that stopped the others."""
        # not by concurrent.futures: to import that takes as long as to ask a registry for a manifest
        waiting, lock = iter(layers), threading.Lock()
        failures: list[BaseException] = []

        def work(ended: threading.Event) -> None:
            try:
                while not self.stop.is_set():
                    with lock:
                        layer = next(waiting, None)
                    if layer is None:
                        return
                    move(layer)
            except BaseException as error:  # noqa: BLE001, RUF100 - raised again by the caller's thread
                failures.append(error)
                self._client.transport.give_up()
            finally:
                ended.set()

        # not `join`: one that Ctrl-C interrupts takes the thread for ended (bpo-45274)
        ends = [threading.Event() for _ in range(self._client.settings.parallel)]
        threads = [threading.Thread(target=work, args=(ended,), daemon=True) for ended in ends]
        try:
            for thread in threads:
                thread.start()
            for ended in ends:
                ended.wait()
        except BaseException:
            self._client.transport.give_up()
            for thread, ended in zip(threads, ends, strict=True):
                if thread.ident is not None:  # else it ends as soon as it begins, if it ever does
                    ended.wait()
            raise
        for failure in sorted(failures, key=lambda one: isinstance(one, Stopped)):
            raise failure
