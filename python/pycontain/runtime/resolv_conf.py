"""The text of a container's /etc/resolv.conf: the host's, with what was asked for in its place."""

from __future__ import annotations

import ipaddress

from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pycontain.runtime.lookup import Lookup

__all__ = ["OF_SYSTEMD", "PLACE", "ResolvConf"]

PLACE = "/etc/resolv.conf"
OF_SYSTEMD = "/run/systemd/resolve/resolv.conf"  # the servers that its stub at 127.0.0.53 asks


class ResolvConf(Value):
    """What a resolv.conf(5) says.

    Attributes:
        servers: addresses.
        search: domains.
        options: a word each.
        others: lines of other kinds, as they are.
    """

    __slots__ = ("servers", "search", "options", "others")  # noqa: RUF023 - the constructor's order
    servers: tuple[str, ...]
    search: tuple[str, ...]
    options: tuple[str, ...]
    others: tuple[str, ...]

    def __init__(
        self,
        servers: Iterable[str] = (),
        search: Iterable[str] = (),
        options: Iterable[str] = (),
        others: Iterable[str] = (),
    ) -> None:
        self._set(servers=tuple(servers), search=tuple(search), options=tuple(options), others=tuple(others))

    @classmethod
    def parse(cls, text: str) -> ResolvConf:
        """Without comments, and what says nothing."""
        servers: list[str] = []
        search: list[str] = []
        options: list[str] = []
        others: list[str] = []
        for line in text.splitlines():
            words = line.split()
            if not words or words[0][0] in "#;":
                continue
            if words[0] == "nameserver":
                servers += words[1:2]
            elif words[0] in {"search", "domain"}:  # the last of them counts
                search = words[1:] or search
            elif words[0] == "options":
                options += words[1:]
            else:
                others.append(line)
        return cls(servers, search, options, others)

    def changed(self, asked: Lookup) -> ResolvConf:
        """With what was asked for in the place of what it says."""
        return ResolvConf(
            asked.servers or self.servers,
            self.search if asked.search is None else asked.search,
            asked.options or self.options,
            self.others,
        )

    def with_servers(self, servers: Iterable[str]) -> ResolvConf:
        """With these in the place of its own."""
        return ResolvConf(servers, self.search, self.options, self.others)

    def by_neighbours(self) -> ResolvConf:
        """For one whose server knows short names: they are looked up as they are before any domain is."""
        kept = [word for word in self.options if not _is_wrong(word)]
        if not any(word.startswith("ndots:") for word in kept):
            kept.append("ndots:0")
        return ResolvConf(self.servers, self.search, kept, self.others)

    def reached(self, *, ipv6: bool) -> tuple[str, ...]:
        """The servers that are reached from a network, which may be without IPv6."""
        return tuple(server for server in self.servers if _is_reached(server, ipv6=ipv6))

    def __str__(self) -> str:
        lines = [f"nameserver {server}" for server in self.servers]
        lines += [f"search {' '.join(self.search)}"] if self.search else []
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(f"{line}\n" for line in (*lines, *self.others))


def _is_wrong(word: str) -> bool:
    name, _, number = word.partition(":")
    return name == "ndots" and not (number.isascii() and number.isdecimal())


def _is_reached(server: str, *, ipv6: bool) -> bool:
    try:
        address = ipaddress.ip_address(server)
    except ValueError:
        return False
    # one with a zone is of a device of the host
    return not address.is_loopback and "%" not in server and (ipv6 or address.version == 4)
