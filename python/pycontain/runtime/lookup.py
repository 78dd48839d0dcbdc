"""How a container finds others by name: `--dns`, `--dns-search`, `--dns-option`, `--add-host`, `--link`."""

from __future__ import annotations

import ipaddress
import re

from pycontain.errors import InvalidOption
from pycontain.runtime.environment import strings
from pycontain.runtime.sizes import invalid, string
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

__all__ = ["HOST_GATEWAY", "Lookup", "host_lines", "lookup"]

HOST_GATEWAY = "host-gateway"  # in place of an address: this machine's, as the container sees it

_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.*[a-z])(?P<name>{_LABEL}(\.{_LABEL})*)\.?\Z", re.IGNORECASE | re.DOTALL)
_LONGEST_DOMAIN = 254
_WORD = re.compile(r"[!-~]+\Z")
# what ends a name, or a line, in hosts(5), and what this option takes for the end of one
_HOST = re.compile(r"[^\s#:=\x00-\x1f\x7f]+\Z")
_LINKED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_ALIAS = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9_])?\Z")


class Lookup(Value):
    """What was asked for.

    Attributes:
        servers: addresses of name servers; empty: the host's.
        search: domains in which short names are looked up; None: the host's.
        options: as in resolv.conf(5); empty: the host's.
        hosts: names, each with an address or `host-gateway`.
        links: other containers, each with a name for it.
    """

    __slots__ = ("servers", "search", "options", "hosts", "links")  # noqa: RUF023 - the constructor's order
    servers: tuple[str, ...]
    search: tuple[str, ...] | None
    options: tuple[str, ...]
    hosts: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]

    def __init__(
        self,
        servers: Iterable[str] = (),
        search: Iterable[str] | None = None,
        options: Iterable[str] = (),
        hosts: Iterable[Sequence[str]] = (),
        links: Iterable[Sequence[str]] = (),
    ) -> None:
        self._set(
            servers=tuple(servers),
            search=None if search is None else tuple(search),
            options=tuple(options),
            hosts=tuple((name, address) for name, address in hosts),
            links=tuple((container, alias) for container, alias in links),
        )

    @property
    def of_servers(self) -> bool:
        """Whether anything of it is for resolv.conf(5)."""
        return bool(self.servers or self.search is not None or self.options)


def lookup(options: Mapping[str, Any], network: str = "") -> Lookup:
    """Out of `ContainerOptions`.

    Raises:
        InvalidOption: one of them is not what it should be, or means nothing in this network.
    """
    search = [_domain(text) for text in strings("dns_search", options.get("dns_search") or ())]
    hosts = [_host(text) for text in _pairs("add_host", options.get("add_host") or ())]
    if network == "none" and any(address == HOST_GATEWAY for _, address in hosts):
        raise InvalidOption(
            f"`add_host={HOST_GATEWAY}` has no meaning with `network=none`",
            hint="this machine is not reached from there",
        )
    return Lookup(
        [_server(text) for text in strings("dns", options.get("dns") or ())],
        [domain for domain in search if domain != "."] if search else None,
        [_option(text) for text in strings("dns_options", options.get("dns_options") or ())],
        hosts,
        [_link(text) for text in _pairs("links", options.get("links") or ())],
    )


def host_lines(hosts: Iterable[tuple[str, str]], gateways: Sequence[str]) -> str:
    """As /etc/hosts has them; `host-gateway` is all of these addresses."""
    return "".join(
        f"{address}\t{name}\n"
        for name, given in hosts
        for address in (gateways if given == HOST_GATEWAY else (given,))
    )


def _pairs(option: str, value: object) -> list[str]:
    if hasattr(value, "items"):
        return [f"{string(option, name)}:{string(option, other)}" for name, other in value.items()]
    return strings(option, value)


def _server(text: str) -> str:
    found = _address(text.strip())
    if found is None:
        raise invalid("dns", text, "must be the address of a name server: 10.0.0.2")
    return found


def _address(text: str) -> str | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if "%" in text else str(found)


def _domain(text: str) -> str:
    name = text.strip(" ")
    if name == ".":
        return name
    found = _DOMAIN.match(name)
    if found is None or len(name) > _LONGEST_DOMAIN:
        raise invalid("dns_search", text, "must be a domain, such as example.com, or `.`: none")
    return found["name"]


def _option(text: str) -> str:
    if not _WORD.match(text):
        raise invalid("dns_options", text, "must be one word, as in resolv.conf(5): ndots:2")
    return text


def _host(text: str) -> tuple[str, str]:
    name, equals, given = text.partition("=")
    if not equals:
        name, _, given = text.partition(":")
    if not _HOST.match(name):
        raise invalid("add_host", text, "must be NAME:ADDRESS, or NAME:host-gateway")
    if given == HOST_GATEWAY:
        return name, given
    address = _address(given[1:-1] if given.startswith("[") and given.endswith("]") else given)
    if address is None:
        raise invalid(
            "add_host", text, f"`{given}` is no address", hint="such as 10.0.0.2, ::1, host-gateway"
        )
    return name, address


def _link(text: str) -> tuple[str, str]:
    container, colon, alias = text.partition(":")
    if container.startswith("/"):  # as `inspect` has it: /db:/web/db
        container, alias = container[1:], alias.rpartition("/")[2]
    alias = alias if colon else container
    if not _LINKED.match(container) or not (_ALIAS.match(alias) or alias == container):
        raise invalid("links", text, "must be CONTAINER or CONTAINER:ALIAS")
    return container, alias
