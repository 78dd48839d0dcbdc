"""Ports as they are asked for: `--publish`, `--expose`, and `ports={80: 8080}`.

    [ADDRESS:][HOST-PORTS:]CONTAINER-PORTS[/PROTOCOL]    80  8080:80  127.0.0.1::53/udp  [::1]:8000-8009:80-89

Nothing here looks at what is in use.
"""

from __future__ import annotations

import ipaddress

from pycontain.errors import InvalidOption
from pycontain.runtime.sizes import invalid
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["PublishedPort", "exposed", "pair", "published"]

_PROTOCOLS = ("tcp", "udp", "sctp")
_HIGHEST = 65535
_PUBLISHED = "must be [ADDRESS:][HOST-PORT:]PORT[/tcp|udp|sctp], or ranges of ports"
_EXPOSED = "must be PORT[/tcp|udp|sctp], or a range of ports"


class PublishedPort(Value):
    """A port of a container that the host passes on.

    Attributes:
        container: the number inside.
        protocol: `tcp`, `udp` or `sctp`.
        address: of the host; empty: all that it has.
        first, last: the numbers that it may have on the host, the first that is free is taken; 0, 0: any.
    """

    __slots__ = ("container", "protocol", "address", "first", "last")  # noqa: RUF023 - the constructor's order
    container: int
    protocol: str
    address: str
    first: int
    last: int

    def __init__(
        self,
        container: int,
        protocol: str = "tcp",
        address: str = "",
        first: int = 0,
        last: int | None = None,
    ) -> None:
        last = first if last is None else last
        self._set(container=container, protocol=protocol, address=address, first=first, last=last)


def published(value: object) -> list[PublishedPort]:
    """What the option `ports` says.

    >>> published(["8080:80", "127.0.0.1::53/udp"])
    [PublishedPort(container=80, protocol='tcp', address='', first=8080, last=8080), ...]

    Args:
        value: texts as `--publish` takes them; or a dict: a port inside, as a number or `"53/udp"`, to one of
            the host: a number, 0 or None for any, an `(address, number)`, or a list of those.

    Raises:
        InvalidOption: it is none of these.
    """
    found: list[PublishedPort] = []
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        raise invalid("ports", value, "must be a list of texts, or a dict: {80: 8080}")
    if isinstance(value, dict):
        for inside, outside in value.items():
            found += _pair(value, inside, outside)
    else:
        for text in _texts(value):
            found += _text(text)
    return list(dict.fromkeys(found))


def exposed(value: Iterable[object], option: str = "expose") -> list[tuple[int, str]]:
    """The ports that `--expose` or an image names, each with its protocol."""
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        raise invalid(option, value, "must be a list of ports")
    found: list[tuple[int, str]] = []
    for entry in value:
        text = str(entry)
        ports, protocol = _protocol(option, text, text, _EXPOSED)
        first, last = _range(option, ports, text, _EXPOSED)
        found += ((number, protocol) for number in range(first, last + 1))
    return list(dict.fromkeys(found))


def pair(address: str, port: int) -> str:
    """Both in one text: `127.0.0.1:80`, `[::1]:80`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _texts(value: Iterable[object]) -> Iterable[str]:
    for entry in value:
        if isinstance(entry, bool) or not isinstance(entry, str | int):
            raise invalid("ports", entry, _PUBLISHED)
        yield str(entry)


def _text(text: str) -> list[PublishedPort]:
    address, outside, inside = _parts(text)
    inside, protocol = _protocol("ports", inside, text, _PUBLISHED)
    first, last = _range("ports", inside, text, _PUBLISHED)
    if not outside:
        return [PublishedPort(number, protocol, address) for number in range(first, last + 1)]
    low, high = _range("ports", outside, text, _PUBLISHED, least=0)
    if first == last:
        return [PublishedPort(first, protocol, address, low, high)]
    if high - low != last - first:
        raise invalid("ports", text, "both ranges must have as many ports")
    return [PublishedPort(first + n, protocol, address, low + n) for n in range(last - first + 1)]


def _parts(text: str) -> tuple[str, str, str]:
    if text.startswith("["):
        address, closed, rest = text[1:].partition("]:")
        if not closed:
            raise invalid("ports", text, _PUBLISHED)
        outside, _, inside = rest.rpartition(":")
        return _address(address, text), outside, inside
    address, colon, rest = text.partition(":")
    if ":" in rest:
        outside, _, inside = rest.rpartition(":")
        return _address(address, text), outside, inside
    return ("", address, rest) if colon else ("", "", text)


def _address(address: str, text: object) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        hint = "an IPv6 address is in brackets: `[::1]:80:80`" if ":" in str(text) else None
        raise invalid("ports", text, f"`{address}` is no address of the host", hint=hint) from None
    return "" if found.version == 4 and found.is_unspecified else str(found)


def _protocol(option: str, ports: str, value: object, allowed: str) -> tuple[str, str]:
    ports, slash, protocol = ports.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in _PROTOCOLS:
        raise invalid(option, value, allowed)
    return ports, protocol


def _range(option: str, text: str, value: object, allowed: str, least: int = 1) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    numbers = (low, high if dash else low)
    if not all(number.isascii() and number.isdigit() and len(number) < 6 for number in numbers):
        raise invalid(option, value, allowed)
    first, last = (int(number) for number in numbers)
    if not (least if first == last else 1) <= first <= last <= _HIGHEST:
        raise invalid(option, value, f"ports are numbers from 1 to {_HIGHEST}")
    return first, last


def _pair(whole: Mapping[object, object], inside: object, outside: object) -> list[PublishedPort]:
    if isinstance(inside, bool) or not isinstance(inside, int | str):
        raise invalid("ports", whole, f"`{inside!r}` is no port of a container")
    ports, protocol = _protocol("ports", str(inside), inside, _EXPOSED)
    number, last = _range("ports", ports, inside, _EXPOSED)
    if number != last:
        raise invalid("ports", inside, "a key is one port")
    places = outside if isinstance(outside, list) else [outside]
    return [PublishedPort(number, protocol, *_place(whole, place)) for place in places]


def _place(whole: object, place: object) -> tuple[str, int]:
    address, number = place if isinstance(place, tuple) and len(place) == 2 else ("", place)
    number = 0 if number is None else number
    if isinstance(number, bool) or not isinstance(number, int | str) or not isinstance(address, str):
        raise InvalidOption(
            f"invalid value `{whole}` for `ports`: `{place!r}` is no port of the host",
            hint="a number, 0 for any, or (address, number)",
        )
    first, last = _range("ports", str(number), whole, _PUBLISHED, least=0)
    if first != last:
        raise invalid("ports", whole, "a value is one port")
    return _address(address, whole) if address else "", first
