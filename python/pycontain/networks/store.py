"""Which networks there are.

    <root>/networks/<name>        what it is, JSON; made by link(2), so that a name is one network's
    <run>/networks/<bridge>/      who has which of its addresses: `leases`

`bridge`, `host` and `none` are always there. What of a network is the kernel's is made when its first
container starts: after a restart of the machine as well.
"""

from __future__ import annotations

import contextlib
import os

from pycontain.errors import Conflict, InvalidOption, NameInUse, NetworkNotFound, StillInUse, StoreError
from pycontain.networks.definition import DEFAULT, PREDEFINED, Definition, check_name
from pycontain.networks.leases import Leases
from pycontain.paths import ANOTHER_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain.paths import Paths

__all__ = ["NetworkStore"]


class NetworkStore:
    """The networks of one store.

    Args:
        paths: where they are.
    """

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._directory = paths.root + "/networks"

    def add(self, definition: Definition) -> None:
        """Let it be there.

        Raises:
            NameInUse: there is one of this name.
            StoreError: it cannot be written.
        """
        if definition.name in PREDEFINED:
            raise Conflict(f"network `{definition.name}` is predefined")
        try:
            os.makedirs(self._directory, exist_ok=True)
            _appear(self._directory, definition.name, definition.to_json())
        except FileExistsError:
            raise NameInUse(
                f"a network `{definition.name}` is there already", hint="`pycontain network rm` removes it"
            ) from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise StoreError(
                f"cannot write network `{definition.name}`: {reason}",
                errno=error.errno,
                filename=self._directory,
                hint=ANOTHER_ROOT,
            ) from error

    def all(self) -> Iterator[Definition]:
        """Those that were made, in no order."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return
        except PermissionError as error:
            raise _unreadable(error) from error
        for name in names:
            with contextlib.suppress(NetworkNotFound):
                yield self._read(name)

    def get(self, name: str) -> Definition:
        """By name, by id, or by how an id begins.

        Raises:
            InvalidOption: several ids begin so.
            NetworkNotFound: there is none.
        """
        with contextlib.suppress(InvalidOption, NetworkNotFound):
            return self._read(check_name(name))
        found = [one for one in self.all() if name and one.id.startswith(name)]
        if len(found) > 1:
            raise InvalidOption(
                f"several networks have an id that begins with `{name}`", hint="give more of it"
            )
        if not found:
            raise _no_network(name)
        return found[0]

    def default(self) -> bytes | None:
        """What the network `bridge` is, if it was used since the machine started: the same for all stores."""
        try:
            with open(f"{self.paths.run}/networks/{DEFAULT}.json", "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def set_default(self, text: bytes) -> bytes:
        """Let it be that, unless somebody was faster; returns what it is."""
        os.makedirs(f"{self.paths.run}/networks", exist_ok=True)
        with contextlib.suppress(FileExistsError):
            _appear(f"{self.paths.run}/networks", f"{DEFAULT}.json", text)
        return self.default() or text

    def leases(self, definition: Definition) -> Leases:
        """Who has which of its addresses."""
        return Leases(f"{self.paths.run}/networks/{definition.bridge}")

    def remove(self, definition: Definition) -> None:
        """Let it not be there any more.

        A start takes an address, and then looks whether the network is there; this looks the other way round.

        Raises:
            NetworkNotFound: it is gone already.
            StillInUse: a container that runs is in it.
        """
        if definition.name in PREDEFINED:
            raise Conflict(f"network `{definition.name}` is predefined")
        self._refuse_if_used(definition)
        try:
            os.unlink(f"{self._directory}/{definition.name}")
        except FileNotFoundError:
            raise _no_network(definition.name) from None
        try:
            self._refuse_if_used(definition)
        except StillInUse:
            with contextlib.suppress(NameInUse):
                self.add(definition)
            raise

    def _refuse_if_used(self, definition: Definition) -> None:
        users = {holder.get("name", address) for address, holder in self.leases(definition).held()}
        if users:
            raise StillInUse(
                f"network `{definition.name}` is in use by {', '.join(sorted(users)[:3])}",
                hint="stop its containers first",
            )

    def _read(self, name: str) -> Definition:
        try:
            with open(f"{self._directory}/{name}", "rb") as file:
                return Definition.from_json(file.read())
        except FileNotFoundError:
            raise _no_network(name) from None
        except PermissionError as error:
            raise _unreadable(error) from error


def _appear(directory: str, name: str, text: bytes) -> None:
    descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(text)
        # with a directory given link(3) is linkat(2), which follows that link: open(2) has it
        os.link(f"/proc/self/fd/{descriptor}", f"{directory}/{name}", src_dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _unreadable(error: OSError) -> StoreError:
    return StoreError(
        f"cannot read networks: {str(error.strerror).lower()}",
        errno=error.errno,
        filename=error.filename,
        hint=ANOTHER_ROOT,
    )


def _no_network(name: str) -> NetworkNotFound:
    return NetworkNotFound(
        f"no such network: `{name}`", hint="`pycontain network ls` lists those that are there"
    )
