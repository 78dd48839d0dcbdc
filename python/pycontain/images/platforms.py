"""Which image of an index is meant: by operating system, architecture and variant."""

from __future__ import annotations

from pycontain.errors import InvalidOption
from pycontain.images.config import machine_platform, runs_here
from pycontain.registry.received import number
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pycontain.images.documents import Descriptor

__all__ = ["Platform", "best", "parse"]

_ALIASES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
}
# what an architecture without a variant means; a processor runs programs for lower variants too
_VARIANTS = {"amd64": 1, "arm": 7, "arm64": 8}


class Platform(Value):
    """What is wanted: `linux/arm/v7`.

    Attributes:
        os, architecture: in the words of images: `linux`, `amd64`.
        variant: `v7`, or empty: the usual.
    """

    __slots__ = ("os", "architecture", "variant")  # noqa: RUF023 - the constructor's order
    os: str
    architecture: str
    variant: str

    def __init__(self, os: str, architecture: str, variant: str = "") -> None:
        self._set(os=os, architecture=architecture, variant=variant)

    def __str__(self) -> str:
        return "/".join(part for part in self._fields() if isinstance(part, str) and part)

    def rank(self, os: str, architecture: str, variant: str = "") -> int | None:
        """How far this is from what is wanted: 0 is it exactly; None: it does not do."""
        architecture, variant = _normal(architecture, variant)
        if os != self.os or architecture != self.architecture:
            return None
        distance = _number(architecture, self.variant) - _number(architecture, variant)
        return distance if distance >= 0 else None

    def is_served_by(self, os: str, architecture: str, variant: str = "") -> bool:
        """Whether an image of which this much is known will do."""
        return (
            self.rank(os or self.os, architecture or self.architecture, variant or self.variant) is not None
        )


def parse(text: str) -> Platform:
    """The platform `os/architecture[/variant]`, or one of them alone.

    Raises:
        InvalidOption: it is none.
    """
    parts = text.lower().split("/")
    if not all(part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in parts):
        raise InvalidOption(f"invalid value `{text}` for `platform`: must be OS/ARCHITECTURE[/VARIANT]")
    system, native = machine_platform()
    if len(parts) == 1:
        if parts[0] in {"linux", "windows", "darwin", "freebsd"}:
            return Platform(parts[0], native)
        return Platform(system, *_normal(parts[0], ""))
    if len(parts) > 3:
        raise InvalidOption(f"invalid value `{text}` for `platform`: must be OS/ARCHITECTURE[/VARIANT]")
    return Platform(parts[0], *_normal(parts[1], parts[2] if len(parts) == 3 else ""))


def best(members: Iterable[Descriptor], wanted: Platform | None) -> Descriptor | None:
    """The member of an index that is nearest to `wanted`; None: to this machine."""
    ranked: list[tuple[int, int, Descriptor]] = []
    here = wanted or Platform(*machine_platform(), _own_variant())
    for position, member in enumerate(members):
        platform = member.platform
        if platform is None:
            continue
        rank = here.rank(platform.os, platform.architecture, platform.variant)
        # 32 bits on a machine of 64: better than nothing, unless it was asked for something
        if rank is None and wanted is None and runs_here(platform.os, platform.architecture):
            rank = 100
        if rank is not None:
            ranked.append((rank, position, member))
    return min(ranked, key=lambda entry: entry[:2])[2] if ranked else None


def _own_variant() -> str:
    import os

    return {"armv6l": "v6", "armv7l": "v7"}.get(os.uname().machine, "")


def _normal(architecture: str, variant: str) -> tuple[str, str]:
    normal, usual = _ALIASES.get(architecture, (architecture, variant))
    return normal, variant or usual


def _number(architecture: str, variant: str) -> int:
    told = number(variant.removeprefix("v").partition(".")[0])
    return _VARIANTS.get(architecture, 0) if told is None else told
