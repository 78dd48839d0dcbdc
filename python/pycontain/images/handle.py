"""Handles of images: cheap, equal by the image's id; what may change is asked for."""

from __future__ import annotations

from pycontain.errors import ImageNotFound
from pycontain.images.reference import HOST
from pycontain.runtime.sizes import string
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.images.config import HistoryEntry, ImageConfig
    from pycontain.images.removal import Removal
    from pycontain.images.store import Store, StoredImage
    from pycontain.runtime.command import ImageConfig as Defaults
    from pycontain.types import RootFilesystem

__all__ = ["HOST", "Image", "StartImage", "not_host"]


class StartImage(Value):
    """What a container is made of.

    Attributes:
        id: the image's; `host` for the image `host`, whose content is the machine's.
        root: its root file system.
        config: defaults for the container.
    """

    __slots__ = ("id", "root", "config")  # noqa: RUF023 - the constructor's order
    id: str
    root: RootFilesystem
    config: Defaults

    def __init__(self, id: str, root: RootFilesystem, config: Defaults) -> None:
        self._set(id=id, root=root, config=config)


class Image:
    """An image of an engine; equal and hashable by its id. Made by `Images` only."""

    __slots__ = ("_store", "_stored")

    def __init__(self, store: Store, stored: StoredImage) -> None:
        self._store = store
        self._stored = stored

    @property
    def id(self) -> str:
        """`sha256:<hex>`."""
        return self._stored.id

    @property
    def tags(self) -> tuple[str, ...]:
        """Its names as they are now: `alpine:3.20`."""
        return self._store.get(self.id).tags

    @property
    def digests(self) -> tuple[str, ...]:
        """What registries know it by, as it is now: `alpine@sha256:…`."""
        return self._store.get(self.id).digests

    @property
    def size(self) -> int:
        """Bytes of its layers, unpacked."""
        return self._stored.size

    @property
    def created(self) -> str:
        """RFC 3339, as the image says; may be empty."""
        return self._stored.created

    @property
    def os(self) -> str:
        """`linux`, or empty where it does not say."""
        return self._stored.os

    @property
    def architecture(self) -> str:
        """`amd64`, `arm64`, …, or empty where it does not say."""
        return self._stored.architecture

    @property
    def config(self) -> ImageConfig:
        """Its defaults for containers."""
        return self._stored.config

    @property
    def layers(self) -> tuple[str, ...]:
        """The diff ids of its layers, lowest first."""
        return self._stored.diff_ids

    @property
    def history(self) -> tuple[HistoryEntry, ...]:
        """How it was made, the first step first."""
        return self._store.history(self.id)

    def inspect(self) -> dict[str, Any]:
        """All about it as it is now, in the shape of docker's JSON."""
        from pycontain.images.inspecting import inspect

        return inspect(self._store, self.id)

    def tag(self, name: str) -> None:
        """Give it one more name; another image of that name loses it.

        Raises:
            InvalidOption: it is no name, or not one that can be given.
        """
        self._store.tag(self.id, name)

    def remove(self, *, force: bool = False) -> Removal:
        """Remove it with its name, and with all its names if `force`; layers that other images have stay.

        Raises:
            StillInUse: containers are made from it.
            Conflict: it has several names.
        """
        return self._store.remove(self.id, force=force)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Image {self.id[7:19]}>"


def not_host(name: str) -> str:
    """The name as given.

    Raises:
        ImageNotFound: it is `host`.
        InvalidOption: it is no string.
    """
    if string("image", name) == HOST:
        raise ImageNotFound(
            f"image `{HOST}` is not kept: it is this machine's own programs",
            hint="`pycontain run host` runs them",
        )
    return name
