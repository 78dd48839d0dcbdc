"""The three files that are made for every container: /etc/hostname, /etc/hosts, /etc/resolv.conf."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from pycontain.runtime.host import Host

_LOOPBACK = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
_NO_RESOLVER = "# this container has no network\n"


def files(hostname: str, names: str, *, network: str, covered: Container[str], host: Host) -> dict[str, str]:
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
    else:
        result["/etc/hosts"] = _LOOPBACK  # its addresses come with its start
        result["/etc/resolv.conf"] = host.read_if_there("/etc/resolv.conf")
    return {path: text for path, text in result.items() if path not in covered}
