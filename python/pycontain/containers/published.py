"""Which ports of a container the host passes on, as docker shows it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from pycontain.runtime.ports import PublishedPort
    from pycontain.runtime.records import Joined, Published

__all__ = ["bound", "listed", "mapped", "ports"]


def ports(networks: Iterable[Joined] | None) -> Iterator[tuple[int, str, Published]]:
    """The port inside, its protocol, and where it is."""
    for one in networks or ():
        for published in one.published:
            yield int(published.to.rpartition(":")[2]), published.protocol, published


def mapped(
    networks: Iterable[Joined] | None, exposed: Iterable[str] = ()
) -> dict[str, list[dict[str, str]] | None]:
    """As `inspect` has it: `{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}`.

    One that is exposed and not published has None, in a network.
    """
    found: dict[str, list[dict[str, str]]] = {}
    for inside, protocol, published in ports(networks):
        place = {"HostIp": published.at, "HostPort": str(published.port)}
        found.setdefault(f"{inside}/{protocol}", []).append(place)
    return {**(dict.fromkeys(exposed) if networks else {}), **found}


def bound(asked: Iterable[PublishedPort]) -> dict[str, list[dict[str, str]]]:
    """As `HostConfig.PortBindings` has what was asked for."""
    found: dict[str, list[dict[str, str]]] = {}
    for port in asked:
        number = "" if not port.first else _range(port.first, port.last)
        place = {"HostIp": port.address, "HostPort": number}
        found.setdefault(f"{port.container}/{port.protocol}", []).append(place)
    return found


def listed(networks: Iterable[Joined] | None, exposed: Iterable[str] = ()) -> str:
    """As `ps` has it: `0.0.0.0:8080->80/tcp, [::]:8080->80/tcp`; one port after the other is a range.

    One that is exposed and not published, in a network, is `80/tcp`.
    """
    given = mapped(networks, exposed)
    hidden = [text.partition("/") for text, places in given.items() if places is None]
    entries = [(protocol, "", int(number), int(number)) for number, _, protocol in hidden]
    entries += [(protocol, one.at, one.port, inside) for inside, protocol, one in ports(networks)]
    groups: list[list[Any]] = []
    for protocol, at, outside, inside in sorted(entries):
        last = groups[-1] if groups else None
        if last and last[0] == (at, protocol) and (last[2] + 1, last[4] + 1) == (outside, inside):
            last[2], last[4] = outside, inside
        else:
            groups.append([(at, protocol), outside, outside, inside, inside])
    return ", ".join(
        (f"{_bracketed(at)}:{_range(first, last)}->" if at else "") + f"{_range(low, high)}/{protocol}"
        for (at, protocol), first, last, low, high in groups
    )


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
