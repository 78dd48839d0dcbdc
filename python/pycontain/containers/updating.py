"""New limits and another restart policy for a container: for this run, if it runs, and for those after it."""

from __future__ import annotations

import json

from pycontain.containers import keeping
from pycontain.errors import InvalidOption
from pycontain.images import staging
from pycontain.options import Updates
from pycontain.runtime import events, kept, lifecycle, limits, records
from pycontain.runtime.host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pycontain._core import Monitor
    from pycontain.paths import Paths
    from pycontain.runtime.kept import Kept

__all__ = ["OPTIONS", "update"]

OPTIONS = tuple(Updates.__annotations__)
_NEITHER_WITH = {"cpus": ("cpu_period", "cpu_quota"), "cpu_period": ("cpus",), "cpu_quota": ("cpus",)}


def update(paths: Paths, container: Kept, changes: Mapping[str, Any]) -> None:
    """Change what `changes` names.

    Raises:
        ContainerNotFound: it is gone.
        InvalidOption: an option is not one that can be changed, or its value is not one it takes.
        StartError: the kernel does not take a limit; then nothing else of the container has changed.
    """
    for name in changes:
        if name not in OPTIONS:
            raise InvalidOption(
                f"option `{name}` cannot be changed", hint=f"those that can: {', '.join(OPTIONS)}"
            )
    with kept.there(container), staging.locked(paths.names):  # who writes the record holds this
        now = kept.find(paths, container.id)
        options = _merged(now.record.options, changes)
        lifecycle.check(options)
        resources = limits.resources(options, Host())
        keeper = keeping.monitor(now) if now.state.is_alive else None
        if keeper is not None:
            _apply(keeper, options, changes, resources)
        document = json.loads(now.own_config)
        kinds = document["linux"]["resources"]
        document["linux"]["resources"] = {**resources, "devices": kinds["devices"]}
        records.replace_file(f"{now.path}/config.json", json.dumps(document).encode())
        record = records.changed(now.record, options=options)
        records.write_record(now.path, record)
    events.of_container(paths, "update", record)


def _merged(options: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    replaced = {name for change in changes for name in _NEITHER_WITH.get(change, ())} - changes.keys()
    return {**{name: value for name, value in options.items() if name not in replaced}, **changes}


def _apply(
    keeper: Monitor, options: Mapping[str, Any], changes: Mapping[str, Any], resources: Mapping[str, Any]
) -> None:
    """To what runs; nothing is done where it has just ended."""
    wanted = dict(resources)
    if "pids_limit" in changes and "pids" not in wanted:
        wanted["pids"] = {"limit": -1}
    try:
        if changes.keys() - {"restart"}:
            keeper.update(json.dumps(wanted).encode())
        if "restart" in changes:
            keeper.set_restart(json.dumps(keeping.restart_policy(options)).encode())
    except ConnectionError:
        pass
