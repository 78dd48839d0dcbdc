"""Who has which address of a network, and by which names.

    <run>/networks/<bridge>/addresses/10.0.0.5      who has it, JSON; locked for as long as they have it
                            names/web/10.0.0.5      an empty file for each name of theirs
                            next4  next6            where to look first

No lock is held while an address is chosen: each is a lock of its own (fcntl_locking(2), of open file
descriptions), which the kernel drops when its holder ends, however that ends. What is not locked is nobody's,
whatever the files say; and a name leads to an address only if who has that says so, too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import json
import os
import struct

from pycontain.errors import AddressInUse, Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    IPv4or6 = ipaddress.IPv4Address | ipaddress.IPv6Address
    Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network

__all__ = ["Lease", "Leases"]

# struct flock: type, whence, start, length, pid; with what the compiler puts between them
_FLOCK = struct.Struct("@hhqqi4x")
_LARGEST = 1 << 20  # looked at until a range counts as full


class Lease:
    """An address that is ours until `close`, or until whoever got the fd ends.

    Attributes:
        address: what it is.
        fd: holds it; a copy of it in another process does, too.
    """

    __slots__ = ("_directory", "address", "fd")

    def __init__(self, directory: str, address: IPv4or6, fd: int) -> None:
        self._directory = directory
        self.address = address
        self.fd = fd

    def describe(self, holder: dict[str, Any], names: Iterable[str] = ()) -> None:
        """Write down who has it, and which names it answers to.

        Args:
            holder: what others may want to know, such as the container's id.
            names: in lower case.
        """
        before, now = _document(self.fd).get("names", ()), tuple(dict.fromkeys(names))
        self._write(holder, (*before, *now))
        for name in now:
            place = f"{self._directory}/names/{name}"
            while True:  # another who had the name may be taking its directory away
                os.makedirs(place, exist_ok=True)
                try:
                    os.close(
                        os.open(f"{place}/{self.address}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644)
                    )
                except FileNotFoundError:
                    continue
                break
        _take_away(self._directory, set(before) - set(now), self.address)
        self._write(holder, now)

    def _write(self, holder: dict[str, Any], names: Iterable[str]) -> None:
        # a line: whoever is killed before the rest is cut off leaves one that is whole
        line = json.dumps({**holder, "names": list(dict.fromkeys(names))}).encode() + b"\n"
        os.pwrite(self.fd, line, 0)
        os.ftruncate(self.fd, len(line))

    def close(self) -> None:
        """Let go of this fd; nobody else's."""
        os.close(self.fd)


class Leases:
    """The addresses of one network on this machine.

    Args:
        directory: the network's.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._addresses = directory + "/addresses"

    def take(self, subnet: Subnet, *, but: Sequence[IPv4or6] = (), within: Subnet | None = None) -> Lease:
        """The next address that nobody has.

        Args:
            subnet: its first and, of IPv4, last address are never given out.
            but: such as the gateway's.
            within: a part of the subnet.

        Raises:
            Conflict: all are taken.
        """
        os.makedirs(self._addresses, exist_ok=True)
        reserved = {subnet.network_address, subnet.broadcast_address, *but}
        for address in self._candidates(within or subnet):
            if address not in reserved and (lease := self._try(address)) is not None:
                self._remember(address)
                return lease
        raise Conflict(
            f"no address is left in {within or subnet}",
            hint="remove containers, or make a larger network: `pycontain network create --subnet`",
        )

    def take_this(self, address: IPv4or6, subnet: Subnet, *, but: Sequence[IPv4or6] = ()) -> Lease:
        """A certain address.

        Raises:
            AddressInUse: somebody has it, or nobody may.
        """
        if address not in subnet or address in {subnet.network_address, subnet.broadcast_address, *but}:
            raise AddressInUse(f"address {address} is none that a container may have in {subnet}")
        os.makedirs(self._addresses, exist_ok=True)
        lease = self._try(address)
        if lease is None:
            raise AddressInUse(
                f"address {address} is in use", hint="leave `--ip` out: the next free one is taken"
            )
        return lease

    def held(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The addresses that somebody has, and who."""
        for name in _entries(self._addresses):
            try:
                descriptor = os.open(f"{self._addresses}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                if _is_locked(descriptor):
                    yield name, _document(descriptor)
            finally:
                os.close(descriptor)

    def sweep(self) -> list[str]:
        """Take away what is left of those who are gone; returns their addresses."""
        gone = []
        for name in _entries(self._addresses):
            lease = self._try(ipaddress.ip_address(name), make=False)
            if lease is not None:
                self._forget(lease)
                gone.append(name)
                lease.close()
        return gone

    def clear(self) -> None:
        """Leave nothing of a network that is gone; what is somebody's stays."""
        self.sweep()
        for version in (4, 6):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._directory}/next{version}")
        for place in (f"{self._directory}/names", self._addresses, self._directory):
            with contextlib.suppress(OSError):  # somebody has come in meanwhile, and will find out
                os.rmdir(place)

    def _forget(self, lease: Lease) -> None:
        """Of a lease that nobody has but us: the file goes last, for what it says is needed until then."""
        _take_away(self._directory, _document(lease.fd).get("names", ()), lease.address)
        os.unlink(f"{self._addresses}/{lease.address}")

    def _candidates(self, subnet: Subnet) -> Iterator[IPv4or6]:
        size = min(subnet.num_addresses, _LARGEST)
        first = (self._next(subnet.version) - int(subnet.network_address)) % size
        for offset in range(size):
            yield subnet[(first + offset) % size]

    def _try(self, address: IPv4or6, *, make: bool = True) -> Lease | None:
        path = f"{self._addresses}/{address}"
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0)
        while True:
            try:
                descriptor = os.open(path, flags, 0o644)
            except FileNotFoundError:
                if not make:
                    return None
                os.makedirs(self._addresses, exist_ok=True)  # the network goes, as the caller will see
                continue
            if not _lock(descriptor):
                os.close(descriptor)
                return None
            if os.fstat(descriptor).st_nlink:
                lease = Lease(self._directory, address, descriptor)
                if make and os.fstat(descriptor).st_size:
                    self._forget(lease)  # of somebody who is gone
                    lease.close()
                    continue
                return lease
            os.close(descriptor)  # swept away between the two
            if not make:
                return None

    def _next(self, version: int) -> int:
        try:
            with open(f"{self._directory}/next{version}", "rb") as file:
                return int.from_bytes(file.read(16), "big")
        except FileNotFoundError:
            return 0

    def _remember(self, address: IPv4or6) -> None:
        # whoever writes last wins, and either is a good place to begin
        place = f"{self._directory}/next{address.version}"
        descriptor = os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(descriptor, (int(address) + 1).to_bytes(16, "big"), 0)
        finally:
            os.close(descriptor)


def _take_away(directory: str, names: Iterable[str], address: IPv4or6) -> None:
    for name in names:
        place = f"{directory}/names/{name}"
        for remove, path in ((os.unlink, f"{place}/{address}"), (os.rmdir, place)):
            try:
                remove(path)
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
                    raise


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _document(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, _LARGEST, 0).partition(b"\n")[0])
    except ValueError:  # killed before it was written
        return {}
    return found if isinstance(found, dict) else {}


def _lock(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        raise
    return True


def _is_locked(descriptor: int) -> bool:
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)
