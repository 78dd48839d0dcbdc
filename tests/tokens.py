"""A server that gives out tokens which docker-registry believes, and authentication that asks for them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

import pytest
from interposed import Answer, Interposed, Request, Rule
from registries import PASSWORD, USER

if TYPE_CHECKING:
    from pathlib import Path

IDENTITY = "an identity token"


class TokenServer(Interposed):
    """Somebody may do anything, everybody may pull from `public/…`.

    Args:
        directory: where its key and certificate go.
        offline: whether it gives identity tokens to whoever logs in.
    """

    def __init__(self, directory: Path, *, offline: bool = False) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("no openssl on this machine")
        self._offline = offline
        self._key, self._certificate = directory / "tokens.key", directory / "tokens.crt"
        openssl(
            *["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens"],
            *["-keyout", str(self._key), "-out", str(self._certificate)],
        )
        super().__init__(None, Rule("(GET|POST) /token.*", self._answer))

    def __enter__(self) -> TokenServer:
        super().__enter__()
        return self

    @property
    def auth(self) -> dict[str, Any]:
        """For a registry's configuration."""
        return {
            "token": {
                "realm": f"http://{self.host}/token",
                "service": "the tests",
                "issuer": "the token server",
                "rootcertbundle": str(self._certificate),
            }
        }

    def _answer(self, request: Request) -> Answer:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
        known = False
        if request.method == "POST":
            query = urllib.parse.parse_qs(request.body.decode())
            known = query["refresh_token"] == [IDENTITY]
            if query["grant_type"] != ["refresh_token"] or not known:
                return Answer(401)
        elif "authorization" in request.headers:
            known = request.headers["authorization"] == basic(USER, PASSWORD)
            if not known:
                return Answer(401, {}, b'{"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]}')
        assert query["service"] == ["the tests"]
        scopes = [one for text in query.get("scope", []) for one in text.split()]
        document = {"token": self._token(scopes, known), "expires_in": 300}
        if self._offline and query.get("offline_token") == ["true"]:
            document["refresh_token"] = IDENTITY
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _token(self, scopes: list[str], known: bool) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            granted = actions.split(",") if known else ["pull"] * name.startswith("public/")
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(time.time())
        claims = {
            "iss": "the token server",
            "aud": "the tests",
            "sub": USER if known else "",
            "iat": now,
            "nbf": now - 10,
            "exp": now + 300,
            "jti": os.urandom(8).hex(),
            "access": access,
        }
        certificate = "".join(self._certificate.read_text().splitlines()[1:-1])
        header = {"typ": "JWT", "alg": "RS256", "x5c": [certificate]}
        signed = b".".join(_part(json.dumps(one).encode()) for one in (header, claims))
        signature = openssl("dgst", "-sha256", "-sign", str(self._key), input=signed)
        return (signed + b"." + _part(signature)).decode()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def openssl(*words: str, input: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *words], input=input, capture_output=True, check=True).stdout


def _part(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
