"""A container that nobody attends: when it is started again, how it is, and where its output goes."""

from __future__ import annotations

import math

from pycontain.errors import Unsupported
from pycontain.runtime.environment import strings
from pycontain.runtime.sizes import exclude, invalid, seconds, size, whole
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pycontain.images.config import Healthcheck

__all__ = ["OPTIONS", "Log", "Restart", "check", "health", "log", "restart"]

# option: what it is in the image, and docker's default
_TIMES = {
    "health_interval": ("interval", 30.0),
    "health_timeout": ("timeout", 30.0),
    "health_start_period": ("start_period", 0.0),
    "health_start_interval": ("start_interval", 5.0),
}
_HEALTH = frozenset({"health_cmd", "health_retries", *_TIMES})
_RETRIES = 3
_SHORTEST = 0.1
OPTIONS = _HEALTH | {"log_driver", "log_opt", "no_healthcheck", "restart"}
_POLICIES = ("no", "on-failure", "always", "unless-stopped")
_MOST = (1 << 31) - 1


class Restart(Value):
    """When a container is started again.

    Attributes:
        policy: `no`, `on-failure`, `always` or `unless-stopped`.
        most: how often on failures; 0: as often as it fails.
    """

    __slots__ = ("policy", "most")  # noqa: RUF023 - the constructor's order
    policy: str
    most: int

    def __init__(self, policy: str = "no", most: int = 0) -> None:
        self._set(policy=policy, most=most)


class Log(Value):
    """Where output goes.

    Attributes:
        driver: `json-file` or `none`.
        max_size: bytes of a file that is followed by another; None: it grows.
        max_files: how many are kept.
        options: as given.
    """

    __slots__ = ("driver", "max_size", "max_files", "options")  # noqa: RUF023 - the constructor's order
    driver: str
    max_size: int | None
    max_files: int
    options: dict[str, str]

    def __init__(
        self,
        driver: str,
        max_size: int | None = None,
        max_files: int = 1,
        options: dict[str, str] | None = None,
    ) -> None:
        self._set(driver=driver, max_size=max_size, max_files=max_files, options=options or {})


def check(options: Mapping[str, Any]) -> None:
    """Whether they can be had.

    Raises:
        InvalidOption: a value is not one it takes, or two exclude each other.
        Unsupported: there is no such driver for logs yet.
    """
    log(options)
    health(options, None)
    if restart(options).policy != "no" and options.get("remove"):
        raise exclude("restart", "remove")


def restart(options: Mapping[str, Any]) -> Restart:
    """`--restart`: `no`, `on-failure[:N]`, `always`, `unless-stopped`."""
    value = options.get("restart") or "no"
    policy, colon, count = str(value).partition(":")
    if policy not in _POLICIES:
        raise invalid("restart", value, f"must be one of {', '.join(_POLICIES)}")
    if not colon:
        return Restart(policy)
    if policy != "on-failure":
        raise invalid("restart", value, "a count goes with on-failure only")
    return Restart(policy, whole("restart", count, 0, _MOST))


def log(options: Mapping[str, Any]) -> Log:
    """`--log-driver` and `--log-opt`."""
    driver = options.get("log_driver") or "json-file"
    if driver not in {"json-file", "none"}:
        raise Unsupported(f"there is no log driver `{driver}`", hint="use `json-file` or `none`")
    given = _pairs(options.get("log_opt", ()))
    max_size: int | None = None
    max_files = 1
    for key, value in given.items():
        if driver == "none":
            raise invalid("log_opt", f"{key}={value}", "log driver `none` has no options")
        if key == "max-size":
            max_size = None if value == "-1" else size("log_opt", value)
        elif key == "max-file":
            max_files = whole("log_opt", value, 1, _MOST)
        else:
            raise invalid("log_opt", f"{key}={value}", "must be max-size=SIZE or max-file=N")
    return Log(driver, max_size, max_files, given)


def health(options: Mapping[str, Any], image: Healthcheck | None) -> dict[str, Any] | None:
    """How to ask it how it is: docker's `test`, `retries`, and times in milliseconds; None: not at all."""
    if options.get("no_healthcheck"):
        for option in sorted(options.keys() & _HEALTH):
            raise exclude("no_healthcheck", option)
        return None
    if image is None and _HEALTH.isdisjoint(options):
        return None
    retries = whole("health_retries", options.get("health_retries", 0), 0, _MOST)
    times = {
        name: seconds(option, options.get(option, 0)) or _of_image(image, name) or usual
        for option, (name, usual) in _TIMES.items()
    }
    text = options.get("health_cmd")
    test = ["CMD-SHELL", text] if text else list(image.test) if image is not None else []
    if not test or test[0] == "NONE":
        return None
    found: dict[str, Any] = {name: math.ceil(time * 1000) for name, time in times.items()}
    return {"test": test, "retries": retries or getattr(image, "retries", 0) or _RETRIES, **found}


def _of_image(image: Healthcheck | None, name: str) -> float:
    """A stranger's: not so short that the monitor, whom no limit of the container bounds, is never idle."""
    time: float = getattr(image, name, 0)
    return max(time, _SHORTEST) if time > 0 else 0


def _pairs(value: Any) -> dict[str, str]:
    if hasattr(value, "items"):
        return {str(key): str(text) for key, text in value.items()}
    found = {}
    for text in strings("log_opt", value):
        key, equals, content = text.partition("=")
        if not equals:
            raise invalid("log_opt", text, "must be KEY=VALUE")
        found[key] = content
    return found
