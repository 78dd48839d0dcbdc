"""Logging in and out: the registry is asked first, then what it accepts is kept where docker keeps it."""

from __future__ import annotations

from pycontain.errors import Unauthorized
from pycontain.registry import Client
from pycontain.registry.credentials import Credentials, Keychain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.registry.settings import Settings

__all__ = ["login", "logout"]


def login(registry: str, username: str, password: str, *, settings: Settings | None = None) -> str | None:
    """Keep name and password for a registry, or the token that it gives in their place.

    Returns:
        The file, when they are readable in it; None when a credential helper keeps them.

    Raises:
        Unauthorized: the registry does not accept them.
        RegistryError: it cannot be asked, or they cannot be kept.
    """
    user = Credentials(username, password)
    with Client(settings, user, wants_identity_token=True) as client:
        try:
            client.request(registry, "/v2/")
        except Unauthorized as error:
            raise Unauthorized(f"registry `{registry}` does not accept this name and password") from error
        token = client.authenticator.identity_token
    return Keychain().store(registry, Credentials(username, identity_token=token) if token else user)


def logout(registry: str) -> bool:
    """Forget what is kept for a registry; whether there was anything."""
    return Keychain().erase(registry)
