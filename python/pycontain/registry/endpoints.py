"""Where a registry is reached: at which host, over which protocols, behind which mirrors."""

from __future__ import annotations

from pycontain.errors import InvalidOption
from pycontain.registry.settings import DOCKER_HUB
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.registry.settings import Settings

__all__ = ["HUB_HOSTS", "Endpoint", "endpoint", "endpoints", "is_loopback"]

_HUB_HOST = "registry-1.docker.io"
HUB_HOSTS = frozenset({DOCKER_HUB, _HUB_HOST, "index.docker.io", "auth.docker.io"})


class Endpoint(Value):
    """One place to ask.

    Attributes:
        registry: what credentials are kept for: `docker.io`, `registry.lan:5000`.
        host: who is asked, with the port if any.
        prefix: what a mirror has before the repository's path; empty, or ends in `/`.
        schemes: `https`, `http` or both, in the order in which they are tried.
        verified: whether its certificate must be valid.
    """

    __slots__ = ("registry", "host", "prefix", "schemes", "verified")  # noqa: RUF023 - the constructor's order
    registry: str
    host: str
    prefix: str
    schemes: tuple[str, ...]
    verified: bool

    def __init__(
        self, registry: str, host: str, prefix: str, schemes: tuple[str, ...], verified: bool
    ) -> None:
        self._set(registry=registry, host=host, prefix=prefix, schemes=schemes, verified=verified)


def endpoint(registry: str, settings: Settings) -> Endpoint:
    """The registry itself."""
    host = _HUB_HOST if registry == DOCKER_HUB else registry
    if registry in settings.insecure:
        return Endpoint(registry, host, "", ("https", "http"), verified=False)
    # plain HTTP first, because next to nobody has a certificate for 127.0.0.1; one probe without credentials
    schemes = ("http", "https") if is_loopback(host) else ("https",)
    return Endpoint(registry, host, "", schemes, verified=True)


def endpoints(registry: str, settings: Settings) -> tuple[Endpoint, ...]:
    """Its mirrors and then the registry itself: what a pull asks, in this order."""
    mirrors = settings.mirrors.get(registry, ())
    return (*(_mirror(url, settings) for url in mirrors), endpoint(registry, settings))


def is_loopback(host: str) -> bool:
    """Whether `host`, with or without a port, is this machine itself."""
    import ipaddress

    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _mirror(url: str, settings: Settings) -> Endpoint:
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    host, _, prefix = rest.strip("/").partition("/")
    if scheme not in {"", "http", "https"} or not host or "@" in host:
        raise InvalidOption(f"mirror `{url}` is not `[http[s]://]HOST[:PORT][/PREFIX]`")
    prefix = prefix.removeprefix("v2/")
    itself = endpoint(host, settings)
    schemes = (scheme,) if scheme else itself.schemes
    return Endpoint(host, itself.host, f"{prefix}/" if prefix else "", schemes, itself.verified)
