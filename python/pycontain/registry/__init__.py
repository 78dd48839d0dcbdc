"""The client of registries: what they have, who one is there, how bytes come and go. It knows no store."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from types import TracebackType

    from pycontain.registry.credentials import Credentials
    from pycontain.registry.repository import Repository
    from pycontain.registry.settings import Settings
    from pycontain.registry.transport import Reply

__all__ = ["Client"]

_LARGEST_ANSWER = 16 << 20


class Client:
    """Talks with registries, for any number of threads; to be closed.

    Args:
        settings: None: what is configured.
        credentials: for every registry; None: those of docker's `config.json`.
        stop: set when nothing is worth waiting for any more.
        wants_identity_token: to log in with.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        credentials: Credentials | None = None,
        stop: threading.Event | None = None,
        *,
        wants_identity_token: bool = False,
    ) -> None:
        from pycontain.registry import settings as configured
        from pycontain.registry.authentication import Authenticator
        from pycontain.registry.credentials import Keychain
        from pycontain.registry.transport import Transport

        self.settings = configured.load() if settings is None else settings
        self.transport = Transport(self.settings, stop)
        known = Keychain().get if credentials is None else lambda _registry: credentials
        self.authenticator = Authenticator(self.transport, known, wants_identity_token=wants_identity_token)

    def source(self, registry: str, path: str) -> Repository:
        """A repository to pull from: mirrors first."""
        from pycontain.registry.endpoints import endpoints
        from pycontain.registry.repository import Repository

        return Repository(self.transport, self.authenticator, endpoints(registry, self.settings), path)

    def target(self, registry: str, path: str) -> Repository:
        """A repository to push to: in the registry itself."""
        from pycontain.registry.endpoints import endpoint
        from pycontain.registry.repository import Repository

        itself = (endpoint(registry, self.settings),)
        return Repository(self.transport, self.authenticator, itself, path, "pull,push")

    def request(self, registry: str, rest: str, scope: str = "") -> Reply:
        """A GET of what belongs to no repository: `/v2/`, `/v2/_catalog`, or a whole URL there."""
        from pycontain.registry.endpoints import endpoint
        from pycontain.registry.repository import request

        itself = endpoint(registry, self.settings)
        url = rest if "://" in rest else self.transport.base(itself) + rest
        return request(self.transport, self.authenticator, itself, scope, "GET", url, limit=_LARGEST_ANSWER)

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
