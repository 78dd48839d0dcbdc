"""What the user or the machine says of registries: mirrors, plain HTTP, the default registry, certificates.

/etc/pycontain/registries.toml                  the machine's
$XDG_CONFIG_HOME/pycontain/registries.toml      the user's, which wins, entry by entry

default = "registry.lan:5000"       # what `alpine` stands in; docker.io when it is left out
timeout = 30                        # seconds without a byte until a connection counts as broken
retries = 5                         # how often something is tried again
parallel = 3                        # layers at once

[registry."docker.io"]
mirrors = ["https://mirror.lan", "http://127.0.0.1:5001/hub"]   # asked first, in this order, for pulls

[registry."registry.lan:5000"]
insecure = true                     # plain HTTP where there is no HTTPS, and any certificate

certs.d/<host[:port]>/{*.crt, *.cert + *.key}   beside either file, and in /etc/docker and /etc/containers
"""

from __future__ import annotations

import os

from pycontain.errors import InvalidOption
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

__all__ = ["DOCKER_HUB", "Settings", "config_directories", "default_registry", "load"]

DOCKER_HUB = "docker.io"
_LONGEST_TIMEOUT = 86400
_FILE = "registries.toml"
_CERTIFICATES = ("/etc/docker/certs.d", "/etc/containers/certs.d")
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "default": ((str,), "a host"),
    "timeout": ((int, float), "seconds"),
    "retries": ((int,), "a number"),
    "parallel": ((int,), "a number"),
    "registry": ((dict,), "tables by registry"),
}


class Settings(Value):
    """All that is configured.

    Attributes:
        default: the registry of names that name none.
        mirrors: of a registry, the URLs to ask before it.
        insecure: registries that may speak plain HTTP, or show any certificate.
        timeout: seconds without a byte until a connection counts as broken.
        retries: how often something is tried again.
        parallel: layers at once.
        certificates: directories with a directory for each host.
    """

    __slots__ = ("default", "mirrors", "insecure", "timeout", "retries", "parallel", "certificates")  # noqa: RUF023
    default: str
    mirrors: Mapping[str, tuple[str, ...]]
    insecure: frozenset[str]
    timeout: float
    retries: int
    parallel: int
    certificates: tuple[str, ...]

    def __init__(
        self,
        default: str = DOCKER_HUB,
        mirrors: Mapping[str, Sequence[str]] | None = None,
        insecure: frozenset[str] = frozenset(),
        timeout: float = 30,
        retries: int = 5,
        parallel: int = 3,
        certificates: Sequence[str] = _CERTIFICATES,
    ) -> None:
        self._set(
            default=default,
            mirrors={registry: tuple(urls) for registry, urls in (mirrors or {}).items()},
            insecure=insecure,
            timeout=timeout,
            retries=retries,
            parallel=parallel,
            certificates=tuple(certificates),
        )

    def __hash__(self) -> int:
        return hash((self.default, tuple(sorted(self.mirrors.items())), self.insecure))


def config_directories() -> tuple[str, ...]:
    """Where settings are, the machine's first."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(home):  # the XDG base directory specification: relative paths are to be ignored
        home = os.path.expanduser("~/.config")
    return "/etc/pycontain", f"{home}/pycontain"


def load() -> Settings:
    """The settings of this user on this machine.

    Raises:
        InvalidOption: a file is not valid; names it and the entry.
    """
    directories = config_directories()
    top: dict[str, Any] = {}
    registries: dict[str, dict[str, Any]] = {}
    for directory in directories:
        document = _document(f"{directory}/{_FILE}")
        for name, table in document.pop("registry", {}).items():
            registries.setdefault(name, {}).update(table)
        top |= document
    return Settings(
        mirrors={name: table["mirrors"] for name, table in registries.items() if table.get("mirrors")},
        insecure=frozenset(name for name, table in registries.items() if table.get("insecure")),
        certificates=(*_CERTIFICATES, *(f"{directory}/certs.d" for directory in directories)),
        **top,
    )


def default_registry() -> str:
    """The registry of names that name none. Without any file: two system calls."""
    if not any(os.path.exists(f"{directory}/{_FILE}") for directory in config_directories()):
        return DOCKER_HUB
    return load().default


def _document(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidOption(f"cannot read `{path}`: {error.strerror}") from error
    import tomllib

    try:
        document = tomllib.loads(data.decode())
    except ValueError as error:
        raise InvalidOption(f"`{path}` is not valid: {error}") from error
    for name, value in document.items():
        if name not in _TYPES:
            raise InvalidOption(
                f"`{path}`: there is no setting `{name}`", hint=f"there are {', '.join(_TYPES)}"
            )
        types, what = _TYPES[name]
        if not isinstance(value, types) or isinstance(value, bool):
            raise InvalidOption(f"`{path}`: `{name}` is not {what}")
        if isinstance(value, int | float):
            if value < 0 or (value == 0 and name != "retries"):
                raise InvalidOption(f"`{path}`: `{name}` is {value}, too little")
            if name == "timeout" and not value <= _LONGEST_TIMEOUT:  # nor NaN
                raise InvalidOption(f"`{path}`: `{name}` is {value}, not at most {_LONGEST_TIMEOUT}")
    for name, table in document.get("registry", {}).items():
        _check_registry(path, name, table)
    return document


def _check_registry(path: str, name: str, table: object) -> None:
    known = isinstance(table, dict) and not table.keys() - {"mirrors", "insecure"}
    if not isinstance(table, dict) or not known:
        raise InvalidOption(f"`{path}`: registry `{name}` takes `mirrors` and `insecure`, no more")
    if not isinstance(table.get("insecure", False), bool):
        raise InvalidOption(f"`{path}`: `insecure` of registry `{name}` is neither true nor false")
    mirrors = table.get("mirrors", [])
    if not isinstance(mirrors, list) or not all(isinstance(url, str) and url for url in mirrors):
        raise InvalidOption(f"`{path}`: `mirrors` of registry `{name}` is not a list of URLs")
