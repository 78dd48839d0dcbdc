"""What headers, names and files mean: without any registry."""

from __future__ import annotations

import base64
import datetime
import email.utils
import http.client
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycontain.errors import InvalidOption, RegistryError, RegistryUnreachable
from pycontain.images import platforms
from pycontain.images.documents import Descriptor
from pycontain.images.documents import Platform as Told
from pycontain.registry.authentication import Challenge, parse_challenges
from pycontain.registry.connections import words
from pycontain.registry.credentials import Credentials, Keychain, registry_of
from pycontain.registry.endpoints import endpoint, endpoints, is_loopback
from pycontain.registry.received import shown
from pycontain.registry.retries import Passing, Retries, Stopped, seconds_of
from pycontain.registry.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

CHALLENGES: list[tuple[list[str], list[tuple[str, dict[str, str]]]]] = [
    (['Basic realm="a b"'], [("basic", {"realm": "a b"})]),
    (["Basic"], [("basic", {})]),
    (["Negotiate, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
    (
        ['Bearer realm="https://auth.example/token",service="r",scope="repository:a/b:pull,push"'],
        [
            (
                "bearer",
                {
                    "realm": "https://auth.example/token",
                    "service": "r",
                    "scope": "repository:a/b:pull,push",
                },
            )
        ],
    ),
    (
        ['bearer Realm="r" , error="invalid_token", Basic realm="say \\"hi\\""'],
        [("bearer", {"realm": "r", "error": "invalid_token"}), ("basic", {"realm": 'say "hi"'})],
    ),
    (['Bearer realm="a"', 'Basic realm="b"'], [("bearer", {"realm": "a"}), ("basic", {"realm": "b"})]),
    (['Bearer realm="a'], [("bearer", {})]),
    ([""], []),
    (["= , ,"], []),
]


@pytest.mark.parametrize(("headers", "expected"), CHALLENGES, ids=lambda value: str(value)[:40])
def test_challenges(headers: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(headers) == [Challenge(*one) for one in expected]


@given(st.text(max_size=200))
def test_any_header_is_read_without_an_error(text: str) -> None:
    for challenge in parse_challenges([text]):
        assert challenge.scheme == challenge.scheme.lower() != ""


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("[::1]:5000", True),
        ("[::1]", True),
        ("0.0.0.0:5000", False),
        ("128.0.0.1", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com:80", False),
        ("registry.lan", False),
        ("[fe80::1]:5000", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
    assert ("http" in endpoint(host, Settings()).schemes) is expected


def test_endpoints_of_a_registry_with_mirrors() -> None:
    settings = Settings(
        mirrors={"docker.io": ["https://a.example/hub/", "http://b.example:80", "c.example"]},
        insecure=frozenset({"c.example"}),
    )
    found = [(one.host, one.prefix, one.schemes, one.verified) for one in endpoints("docker.io", settings)]
    assert found == [
        ("a.example", "hub/", ("https",), True),
        ("b.example:80", "", ("http",), True),
        ("c.example", "", ("https", "http"), False),
        ("registry-1.docker.io", "", ("https",), True),
    ]
    for url in ("ftp://a", "https://user@a", "http://"):
        with pytest.raises(InvalidOption, match="mirror"):
            endpoints("x", Settings(mirrors={"x": [url]}))


def test_retry_after_is_seconds_or_a_date() -> None:
    assert seconds_of("120") == 120
    assert seconds_of(None) is None
    assert seconds_of("soon") is None
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    told = seconds_of(email.utils.format_datetime(later, usegmt=True))
    assert told is not None
    assert 90 < told <= 100
    assert seconds_of("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    for text in ("²", "9" * 5000, "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"):
        assert seconds_of(text) is None


@given(st.text(max_size=100) | st.from_regex(r"(\w{3}, )?\d+ (Jan|\w+) \d+ \d+:\d+:\d+ (GMT|[+-]\d+)"))
def test_any_retry_after_is_read_without_an_error(text: str) -> None:
    assert (seconds_of(text) or 0) >= 0


def test_text_of_a_server_is_part_of_one_line() -> None:
    assert shown("a\x1b[1mb\nc\u202e\ud800") == r"a\x1b[1mb\nc\u202e\ud800"
    assert shown("a" * 300, 10) == "a" * 10 + "…"


def test_reasons_are_lower_case_but_not_what_a_server_sent() -> None:
    assert words(ConnectionResetError("Connection reset by peer.")) == "connection reset by peer"
    assert words(http.client.BadStatusLine("HTTP/1.1 099\x1b\r\n")) == r"HTTP/1.1 099\x1b"


def test_retries_are_used_up_and_start_over() -> None:
    error = RegistryUnreachable("gone")
    retries = Retries(1)
    retries.wait(Passing(error))
    with pytest.raises(RegistryUnreachable):
        retries.wait(Passing(error))
    retries.start_over()
    retries.wait(Passing(error))
    with pytest.raises(RegistryUnreachable):  # nobody waits for an hour
        Retries(5).wait(Passing(error, after=3600))
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        Retries(5, stop).wait(Passing(error))


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("https://registry.lan:5000/v2/", "registry.lan:5000"),
        ("http://registry.lan", "registry.lan"),
        ("registry.lan/", "registry.lan"),
    ],
)
def test_keys_of_config_json(key: str, registry: str) -> None:
    assert registry_of(key) == registry


def _auth(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


ENTRIES: dict[str, tuple[dict[str, Any], Credentials | None]] = {
    "auth": ({"auth": _auth("u", "p:w")}, Credentials("u", "p:w")),
    "name and password": ({"username": "u", "password": "p"}, Credentials("u", "p")),
    "identity token": (
        {"auth": _auth("u", ""), "identitytoken": "t"},
        Credentials("u", "", identity_token="t"),
    ),
    "padded by an old docker": ({"auth": _auth("u", "p\0\0")}, Credentials("u", "p")),
    "nothing": ({}, None),
}


@pytest.mark.parametrize("case", ENTRIES)
@pytest.mark.parametrize("key", ["registry.lan", "https://registry.lan", "https://registry.lan/v1/"])
def test_entries_of_config_json(tmp_path: Path, case: str, key: str) -> None:
    entry, expected = ENTRIES[case]
    (tmp_path / "config.json").write_text(json.dumps({"auths": {key: entry}}))
    keychain = Keychain(str(tmp_path))
    assert keychain.get("registry.lan") == expected
    assert keychain.get("lan") is None


def test_entry_that_is_not_base64_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auths": {"a.b": {"auth": "%"}}}')
    with pytest.raises(RegistryError, match=r"`auth` of `a\.b`"):
        Keychain(str(tmp_path)).get("a.b")


@pytest.mark.parametrize(
    "document",
    [
        [1],
        {"auths": [1]},
        {"auths": {"a.b": "x"}},
        {"auths": {"a.b": {"auth": 5}}},
        {"auths": {"a.b": {"identitytoken": []}}},
        {"credHelpers": ["a"]},
        {"credHelpers": {"a.b": 1}},
        {"credsStore": 1},
    ],
    ids=str,
)
def test_file_of_another_shape_is_named(tmp_path: Path, document: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps(document))
    with pytest.raises(
        RegistryError, match=r"config\.json` is not valid: .* not an? (object|text)"
    ) as caught:
        Keychain(str(tmp_path)).get("a.b")
    assert caught.value.hint


def test_null_is_as_if_left_out(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": {"a.b": {"username": None, "password": None}}, "credHelpers": None}))
    assert Keychain(str(tmp_path)).get("a.b") == Credentials()
    file.write_text('{"auths": null}')
    assert Keychain(str(tmp_path)).erase("a.b") is False
    assert Keychain(str(tmp_path)).store("a.b", Credentials("u", "p")) == str(file)
    assert Keychain(str(tmp_path)).get("a.b") == Credentials("u", "p")


@pytest.mark.parametrize("name", ["../../tmp/x", "a\0b", "\ud800"])
def test_helper_must_be_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": name}))
    with pytest.raises(RegistryError, match="is not a name"):
        Keychain(str(tmp_path)).get("a.b")


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(Credentials("user", "secret", "secret"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("LINUX/ARM64", "linux/arm64"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_platforms(text: str, expected: str) -> None:
    assert str(platforms.parse(text)) == expected


@pytest.mark.parametrize("text", ["", "linux/", "a/b/c/d", "linux/am d64", "/"])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(InvalidOption, match="platform"):
        platforms.parse(text)


BEST = [
    ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7", "linux/arm/v5"], 1),
    ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], 1),
    ("linux/arm64", ["linux/arm64/v8"], 0),
    ("linux/arm64/v8", ["linux/arm", "linux/arm64"], 1),
    ("linux/amd64", ["linux/amd64/v3", "linux/amd64"], 1),
    ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2"], 1),
    ("linux/amd64", ["linux/amd64", "linux/amd64"], 0),
    ("linux/amd64", ["windows/amd64", "linux/386", "unknown/unknown"], None),
    ("linux/arm", ["linux/arm/v²", "linux/arm/v7"], 0),
    ("linux/arm", ["linux/arm/v" + "9" * 5000, "linux/arm/v7"], 0),
]


@pytest.mark.parametrize(("wanted", "offered", "expected"), BEST)
def test_the_nearest_platform_is_chosen(wanted: str, offered: list[str], expected: int | None) -> None:
    members = []
    for number, text in enumerate(offered):
        os_, architecture, *variant = text.split("/")
        told = Told(architecture=architecture, os=os_, variant=variant[0] if variant else "")
        members.append(Descriptor(digest=f"sha256:{number:064x}", size=1, platform=told))
    found = platforms.best(members, platforms.parse(wanted))
    assert found == (None if expected is None else members[expected])
