"""What an image says of itself, as values: its defaults for containers, its platform, its history."""

from __future__ import annotations

import os

from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

__all__ = ["Healthcheck", "HistoryEntry", "ImageConfig", "machine_platform", "runs_here"]

# what uname(2) calls a machine, and what images call it
_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "loongarch64": "loong64",
}
# what the kernel of such a machine executes as well, without an emulator
_ALSO = {"amd64": ("386",)}


class Healthcheck(Value):
    """How to ask a container whether it is well.

    Attributes:
        test: `("CMD", ...)`, `("CMD-SHELL", text)` or `("NONE",)`.
        interval, timeout, start_period: seconds; 0: the default.
        retries: 0: the default.
        start_interval: seconds from one to the next in the start period; 0: the default.
    """

    __slots__ = (  # noqa: RUF023 - the constructor's order
        "test",
        "interval",
        "timeout",
        "start_period",
        "retries",
        "start_interval",
    )
    test: tuple[str, ...]
    interval: float
    timeout: float
    start_period: float
    retries: int
    start_interval: float

    def __init__(
        self,
        test: Iterable[str],
        interval: float = 0,
        timeout: float = 0,
        start_period: float = 0,
        retries: int = 0,
        start_interval: float = 0,
    ) -> None:
        self._set(
            test=tuple(test),
            interval=interval,
            timeout=timeout,
            start_period=start_period,
            retries=retries,
            start_interval=start_interval,
        )


class ImageConfig(Value):
    """An image's defaults for its containers; what it leaves open is empty.

    Attributes:
        env: `NAME=value` each.
        cmd, entrypoint: arguments; the command is `entrypoint + cmd`.
        workdir, user, stop_signal: as given in the image, or empty.
        volumes, exposed_ports: `/data`; `80/tcp`.
        labels: names to values.
        healthcheck: None when there is none.
        shell: what runs the shell form of a command; empty: `/bin/sh -c`.
    """

    __slots__ = (  # noqa: RUF023 - the constructor's order
        "env",
        "cmd",
        "entrypoint",
        "workdir",
        "user",
        "volumes",
        "stop_signal",
        "labels",
        "exposed_ports",
        "healthcheck",
        "shell",
    )
    env: tuple[str, ...]
    cmd: tuple[str, ...]
    entrypoint: tuple[str, ...]
    workdir: str
    user: str
    volumes: tuple[str, ...]
    stop_signal: str
    labels: Mapping[str, str]
    exposed_ports: tuple[str, ...]
    healthcheck: Healthcheck | None
    shell: tuple[str, ...]

    def __init__(
        self,
        env: Iterable[str] = (),
        cmd: Iterable[str] = (),
        entrypoint: Iterable[str] = (),
        workdir: str = "",
        user: str = "",
        volumes: Iterable[str] = (),
        stop_signal: str = "",
        labels: Mapping[str, str] | None = None,
        exposed_ports: Iterable[str] = (),
        healthcheck: Healthcheck | None = None,
        shell: Iterable[str] = (),
    ) -> None:
        from types import MappingProxyType

        self._set(
            env=tuple(env),
            cmd=tuple(cmd),
            entrypoint=tuple(entrypoint),
            workdir=workdir,
            user=user,
            volumes=tuple(volumes),
            stop_signal=stop_signal,
            labels=MappingProxyType(dict(labels or {})),
            exposed_ports=tuple(exposed_ports),
            healthcheck=healthcheck,
            shell=tuple(shell),
        )

    def __hash__(self) -> int:
        labels = tuple(sorted(self.labels.items()))
        return hash(tuple(labels if field is self.labels else field for field in self._fields()))

    def __reduce__(self) -> tuple[type[Value], tuple[object, ...]]:
        return type(self), tuple(dict(f) if f is self.labels else f for f in self._fields())

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> ImageConfig:
        """From the `config` object of an image's configuration, checked when the image was added."""
        health = document.get("Healthcheck") or {}
        return cls(
            env=document.get("Env") or (),
            cmd=document.get("Cmd") or (),
            entrypoint=document.get("Entrypoint") or (),
            workdir=document.get("WorkingDir") or "",
            user=document.get("User") or "",
            volumes=document.get("Volumes") or (),
            stop_signal=document.get("StopSignal") or "",
            labels=document.get("Labels"),
            exposed_ports=document.get("ExposedPorts") or (),
            healthcheck=_healthcheck(health) if health.get("Test") else None,
            shell=document.get("Shell") or (),
        )


def _healthcheck(document: Mapping[str, Any]) -> Healthcheck:
    def seconds(name: str) -> float:
        return (document.get(name) or 0) / 1_000_000_000

    return Healthcheck(
        document["Test"],
        seconds("Interval"),
        seconds("Timeout"),
        seconds("StartPeriod"),
        document.get("Retries") or 0,
        seconds("StartInterval"),
    )


class HistoryEntry(Value):
    """One step of how an image was made.

    Attributes:
        created: RFC 3339, or empty.
        created_by, author, comment: as given, or empty.
        empty_layer: whether the step made no layer.
        size: bytes of the layer that it made, unpacked.
    """

    __slots__ = ("created", "created_by", "author", "comment", "empty_layer", "size")  # noqa: RUF023
    created: str
    created_by: str
    author: str
    comment: str
    empty_layer: bool
    size: int

    def __init__(
        self,
        created: str = "",
        created_by: str = "",
        author: str = "",
        comment: str = "",
        empty_layer: bool = False,
        size: int = 0,
    ) -> None:
        self._set(
            created=created,
            created_by=created_by,
            author=author,
            comment=comment,
            empty_layer=empty_layer,
            size=size,
        )


def machine_platform() -> tuple[str, str]:
    """The platform of this machine, in the words of images: `("linux", "amd64")`."""
    machine = os.uname().machine
    return "linux", _ARCHITECTURES.get(machine, machine)


def runs_here(system: str, architecture: str) -> bool:
    """Whether this machine's kernel runs programs of such an image, as far as the image tells."""
    here, native = machine_platform()
    return system in {"", here} and architecture in {"", native, *_ALSO.get(native, ())}
