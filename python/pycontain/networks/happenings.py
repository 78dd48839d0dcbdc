"""What happens to networks is told to whoever follows events."""

from __future__ import annotations

import time

from pycontain.runtime.events import Event, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.networks.definition import Definition
    from pycontain.paths import Paths

__all__ = ["tell"]


def tell(paths: Paths, action: str, definition: Definition | None = None, **more: str) -> None:
    """Something happened to a network; of none, to several."""
    if definition is None:
        write(paths, Event("network", action, "", {"reclaimed": "0"}, time.time_ns()))
        return
    attributes = {"name": definition.name, "type": definition.driver, **more}
    write(paths, Event("network", action, definition.id, attributes, time.time_ns()))
