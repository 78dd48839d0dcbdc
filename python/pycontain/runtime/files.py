"""The three files that are made for every container: /etc/hostname, /etc/hosts, /etc/resolv.conf."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from pycontain.runtime.host import Host
    from pycontain.runtime.lookup import Lookup

_LOOPBACK = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
_NO_RESOLVER = "# this container has no network\n"


def files(
    hostname: str,
    names: str,
    *,
    network: str,
    covered: Container[str],
    host: Host,
    lookup: Lookup | None = None,
) -> dict[str, str]:
    """Path to text, without those that a mount of the user's own covers."""
    if network.startswith("container:"):
        return {}  # they are that container's
    result = {"/etc/hostname": f"{hostname}\n"}
    if network == "host":
        result["/etc/hosts"] = host.read_if_there("/etc/hosts") or _LOOPBACK
        result["/etc/resolv.conf"] = host.read_if_there("/etc/resolv.conf")
    elif network == "none":
        # its own name can only mean the loopback device
        result["/etc/hosts"] = f"{_LOOPBACK}127.0.0.1\t{names}\n"
        result["/etc/resolv.conf"] = _NO_RESOLVER
    else:  # its addresses, its servers, and what was asked for come with each start
        result["/etc/hosts"] = _LOOPBACK
        result["/etc/resolv.conf"] = ""
    if lookup is not None and network in {"none", "host"}:
        _look_up(result, lookup)
    return {path: text for path, text in result.items() if path not in covered}


def _look_up(made: dict[str, str], asked: Lookup) -> None:
    from pycontain.runtime.lookup import host_lines
    from pycontain.runtime.resolv_conf import ResolvConf

    hosts = made["/etc/hosts"]
    lines = host_lines(asked.hosts, ["127.0.0.1"])  # in the host's network that is the host
    made["/etc/hosts"] = f"{hosts}{lines}" if hosts.endswith("\n") else f"{hosts}\n{lines}"
    if asked.of_servers:
        made["/etc/resolv.conf"] = str(ResolvConf.parse(made["/etc/resolv.conf"]).changed(asked))
