"""Who one is at a registry: docker's `config.json`, and the programs `docker-credential-*` that it names.

$DOCKER_CONFIG/config.json, else ~/.docker/config.json
    auths         {host: {auth: base64 of user:password, identitytoken: …}}
    credsStore    the program for all hosts          docker-credential-<name> get | store | erase
    credHelpers   {host: name}, before credsStore
"""

from __future__ import annotations

import os

from pycontain.errors import RegistryError
from pycontain.registry.received import shown
from pycontain.registry.settings import DOCKER_HUB
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Credentials", "Keychain", "registry_of"]

_HUB_KEY = "https://index.docker.io/v1/"
_TOKEN_USER = "<token>"  # noqa: S105 - as helpers name the user whose secret is an identity token
_HELPER_SECONDS = 60
_OF_ENTRY = ("auth", "username", "password", "identitytoken")
_NOT_FOUND = "credentials not found"


class Credentials(Value):
    """A user's name and password, or the identity token that a registry gave in place of the password."""

    __slots__ = ("username", "password", "identity_token")  # noqa: RUF023 - the constructor's order
    username: str
    password: str
    identity_token: str

    def __init__(self, username: str = "", password: str = "", identity_token: str = "") -> None:
        self._set(username=username, password=password, identity_token=identity_token)

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, …)"


class Keychain:
    """What is known of one user.

    Args:
        directory: where `config.json` is; None: `$DOCKER_CONFIG`, else `~/.docker`.
    """

    def __init__(self, directory: str | None = None) -> None:
        chosen = directory or os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        self.path = os.path.join(chosen, "config.json")

    def get(self, registry: str) -> Credentials | None:
        """What to log in to `registry` with; None: nothing.

        Raises:
            RegistryError: the file is not valid, or a program fails.
        """
        document = self._document()
        helper = _helper(document, registry)
        if helper:
            found = _by_helper(helper, "get", _key(registry))
            if found is None:
                return None
            user, secret = str(found.get("Username", "")), str(found.get("Secret", ""))
            if user == _TOKEN_USER:
                return Credentials(identity_token=secret)
            return Credentials(user, secret)
        return self._of_entry(document, registry)

    def store(self, registry: str, credentials: Credentials) -> str | None:
        """Keep them; returns the file when they are readable in it, None when a program keeps them.

        Raises:
            RegistryError: they cannot be kept.
        """
        document = self._document()
        helper = _helper(document, registry)
        auths = document["auths"] = document.get("auths") or {}
        if helper:
            token = credentials.identity_token
            entry = {
                "ServerURL": _key(registry),
                "Username": _TOKEN_USER if token else credentials.username,
                "Secret": token or credentials.password,
            }
            _by_helper(helper, "store", entry)
            auths[_key(registry)] = {}
        else:
            import base64

            password = "" if credentials.identity_token else credentials.password
            pair = f"{credentials.username}:{password}".encode()
            auths[_key(registry)] = {"auth": base64.b64encode(pair).decode()}
            if credentials.identity_token:
                auths[_key(registry)]["identitytoken"] = credentials.identity_token
        self._write(document)
        return None if helper else self.path

    def erase(self, registry: str) -> bool:
        """Forget them; whether there were any.

        Raises:
            RegistryError: the file or the program does not let it.
        """
        document = self._document()
        helper = _helper(document, registry)
        if helper:
            _by_helper(helper, "erase", _key(registry))
        auths = document.get("auths") or {}
        keys = [key for key in auths if registry_of(key) == registry]
        for key in keys:
            del auths[key]
        if keys:
            self._write(document)
        return bool(keys)

    def _of_entry(self, document: dict[str, Any], registry: str) -> Credentials | None:
        import base64

        auths = document.get("auths") or {}
        # docker has written hosts with and without `https://` and `/v1/`
        keys = [key for key in (_key(registry), *auths) if key in auths and registry_of(key) == registry]
        for entry in filter(None, (auths[key] for key in keys)):
            user, password = entry.get("username") or "", entry.get("password") or ""
            if entry.get("auth"):
                try:
                    user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
                except ValueError as error:
                    raise RegistryError(
                        f"`{self.path}`: `auth` of `{registry}` is not valid",
                        hint=f"`pycontain login {registry}` writes it anew",
                    ) from error
            return Credentials(user, password.rstrip("\0"), entry.get("identitytoken") or "")
        return None

    def _document(self) -> dict[str, Any]:
        import json

        try:
            with open(self.path, "rb") as file:
                document = json.loads(file.read() or b"{}")
            _check(document)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise RegistryError(f"cannot read `{self.path}`: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise RegistryError(
                f"`{self.path}` is not valid: {error}", hint="correct it, or remove it"
            ) from error
        found: dict[str, Any] = document
        return found

    def _write(self, document: dict[str, Any]) -> None:
        """All of it or nothing, and never readable by others, not even for a moment."""
        import contextlib
        import json

        target = os.path.realpath(self.path)
        part = f"{target}.{os.urandom(6).hex()}"
        try:
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with open(descriptor, "w", encoding="utf-8") as file:
                    json.dump(document, file, indent="\t")
                    file.write("\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(part, target)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part)
                raise
        except OSError as error:
            raise RegistryError(f"cannot write `{self.path}`: {error.strerror}") from error


def _check(document: object) -> None:
    """Raises: ValueError: what is read here of `config.json` is not of its kind."""

    def check(what: str, value: object, kind: type) -> None:
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"{what} is not {'an object' if kind is dict else 'a text'}")

    if not isinstance(document, dict):
        raise ValueError("it is not an object")
    for name, kind in (("auths", dict), ("credHelpers", dict), ("credsStore", str)):
        check(f"`{name}`", document.get(name), kind)
    for helper in (document.get("credHelpers") or {}).values():
        check("what is in `credHelpers`", helper, str)
    for entry in (document.get("auths") or {}).values():
        check("what is in `auths`", entry, dict)
        for name in _OF_ENTRY:
            check(f"`{name}` in `auths`", (entry or {}).get(name), str)


def _key(registry: str) -> str:
    return _HUB_KEY if registry == DOCKER_HUB else registry


def registry_of(key: str) -> str:
    """The registry that is meant by `https://index.docker.io/v1/` or `registry.lan`."""
    host = key.partition("://")[2] if "://" in key else key
    host = host.partition("/")[0]
    return DOCKER_HUB if host in {"index.docker.io", "registry-1.docker.io", DOCKER_HUB} else host


def _helper(document: dict[str, Any], registry: str) -> str:
    helpers = document.get("credHelpers") or {}
    named: str = helpers.get(_key(registry)) or helpers.get(registry) or document.get("credsStore") or ""
    # it becomes part of a program's name: no path may come out of that
    if "/" in named or not named.isprintable():
        raise RegistryError(f"credential helper `{shown(named)}` is not a name")
    return named


def _by_helper(name: str, verb: str, subject: str | dict[str, str]) -> dict[str, Any] | None:
    """Talk with a helper; None when it does not know the host."""
    import json
    import subprocess

    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, verb],
            input=(subject if isinstance(subject, str) else json.dumps(subject)).encode(),
            capture_output=True,
            check=False,
            timeout=_HELPER_SECONDS,
        )
    except FileNotFoundError as error:
        raise RegistryError(
            f"cannot run `{program}`: not found in $PATH", hint="install it, or take it out of config.json"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RegistryError(f"cannot run `{program} {verb}`: {error}") from error
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode:
        if _NOT_FOUND in said.lower():
            return None
        # of `get` stdout is the secret, but only where it succeeded
        why = shown(" ".join((said or done.stderr.decode(errors="replace")).split())) or "no word"
        raise RegistryError(f"`{program} {verb}` ended with {done.returncode}: {why}")
    if verb != "get":
        return {}
    try:
        answer = json.loads(said)
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"`{program} get` did not answer with JSON") from error
    return answer if isinstance(answer, dict) else None
