"""Registries that want to know who asks: by name and password, by tokens; and where that is kept."""

from __future__ import annotations

import base64
import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pycontain
import pytest
import registries
from image_archives import layer
from interposed import Answer, Interposed, Rule
from registries import PASSWORD, USER, Registry, gzipped
from tokens import IDENTITY, TokenServer, basic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from containers import Cli
    from pycontain import Engine


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that wants name and password."""
    directory = tmp_path_factory.mktemp("guarded")
    headers = {"Authorization": basic(USER, PASSWORD)}
    with registries.running(directory, auth=registries.htpasswd(directory), headers=headers) as registry:
        registry.put_image("private/app", "1", [gzipped(layer())])
        yield registry


def login(cli: Cli, host: str, password: str = PASSWORD) -> Any:
    return cli("login", "-u", USER, "--password-stdin", host, input=password.encode() + b"\n")


def config(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "docker/config.json").read_bytes())


def test_login_is_checked_kept_and_used(
    fresh: Engine, fresh_cli: Cli, guarded: Registry, tmp_path: Path
) -> None:
    name = f"{guarded.host}/private/app:1"
    with pytest.raises(pycontain.Unauthorized, match="it wants a login") as caught:
        fresh.images.pull(name)
    assert caught.value.hint == f"`pycontain login {guarded.host}`"
    done = login(fresh_cli, guarded.host)
    assert (done.returncode, done.stdout) == (0, b"Login Succeeded\n"), done.stderr
    file = tmp_path / "docker/config.json"
    assert f"stored unencrypted in {file}" in done.stderr.decode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert config(tmp_path) == {"auths": {guarded.host: {"auth": pair}}}
    image = fresh.images.pull(name)
    fresh.images.tag(name, f"{guarded.host}/private/pushed:1")
    fresh.images.push(f"{guarded.host}/private/pushed:1")
    assert guarded.manifest("private/pushed", "1")[0] in image.digests[0]
    out = fresh_cli("logout", guarded.host)
    assert out.stdout.decode() == f"Removing login credentials for {guarded.host}\n"
    assert config(tmp_path) == {"auths": {}}
    assert fresh_cli("pull", name).returncode == 1


def test_wrong_password_is_not_kept(fresh_cli: Cli, guarded: Registry, tmp_path: Path) -> None:
    done = login(fresh_cli, guarded.host, "wrong")
    assert done.returncode == 1
    assert "does not accept this name and password" in done.stderr.decode()
    assert not (tmp_path / "docker").exists()


def test_wrong_password_that_is_kept_is_told_of(fresh: Engine, guarded: Registry) -> None:
    with pytest.raises(pycontain.Unauthorized, match="the login that is known is refused"):
        fresh.images.pull(f"{guarded.host}/private/app:1", credentials=pycontain.Credentials(USER, "wrong"))


def test_password_on_the_command_line_is_warned_of(fresh_cli: Cli, guarded: Registry) -> None:
    done = fresh_cli("login", "-u", USER, "-p", PASSWORD, guarded.host)
    assert done.returncode == 0
    assert "Using --password via the CLI is insecure" in done.stderr.decode()
    assert fresh_cli("login", "-u", USER, guarded.host).returncode == 1  # nobody to ask


def test_what_else_is_in_the_file_stays(fresh_cli: Cli, guarded: Registry, tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    other = {"auths": {"other.example": {"auth": "eA=="}}, "psFormat": "{{.ID}}", "HttpHeaders": {"X": "y"}}
    (tmp_path / "docker/elsewhere.json").write_text(json.dumps(other))
    (tmp_path / "docker/config.json").symlink_to("elsewhere.json")
    assert login(fresh_cli, guarded.host).returncode == 0
    assert (tmp_path / "docker/config.json").is_symlink()
    found = config(tmp_path)
    assert found["auths"].pop(guarded.host)
    assert found == other
    assert sorted(os.listdir(tmp_path / "docker")) == ["config.json", "elsewhere.json"]


HELPER = """\
#!/bin/sh
echo "$1" >> "$HELPED/asked"
read -r line
case $1 in
store) echo "$line" > "$HELPED/kept" ;;
erase) rm -f "$HELPED/kept" ;;
get) cat "$HELPED/kept" 2> /dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
esac
"""


@pytest.mark.parametrize("setting", ["credsStore", "credHelpers"])
def test_credential_helper_keeps_them(
    fresh: Engine,
    fresh_cli: Cli,
    guarded: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    helper = programs / "docker-credential-tests"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("HELPED", str(tmp_path))
    (tmp_path / "docker").mkdir()
    value: Any = "tests" if setting == "credsStore" else {guarded.host: "tests"}
    (tmp_path / "docker/config.json").write_text(json.dumps({setting: value}))
    name = f"{guarded.host}/private/app:1"
    assert fresh_cli("pull", name).returncode == 1
    done = login(fresh_cli, guarded.host)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Login Succeeded\n", b"")
    assert config(tmp_path) == {setting: value, "auths": {guarded.host: {}}}
    fresh.images.pull(name)
    fresh_cli("logout", guarded.host)
    assert fresh_cli("pull", "-q", name).returncode == 1
    assert (tmp_path / "asked").read_text().split() == ["get", "store", "get", "erase", "get"]


def test_missing_credential_helper_is_named(fresh: Engine, guarded: Registry, tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text('{"credsStore": "no-such-helper"}')
    with pytest.raises(
        pycontain.RegistryError, match="`docker-credential-no-such-helper`: not found"
    ) as caught:
        fresh.images.pull(f"{guarded.host}/private/app:1")
    assert caught.value.hint is not None


def test_damaged_file_is_named(fresh: Engine, guarded: Registry, tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text("{")
    with pytest.raises(pycontain.RegistryError, match=r"config.json` is not valid"):
        fresh.images.pull(f"{guarded.host}/private/app:1")


def test_tokens_are_fetched_for_what_is_done_and_no_more(
    fresh: Engine, fresh_cli: Cli, tmp_path: Path
) -> None:
    with (
        TokenServer(tmp_path) as tokens,
        registries.running(tmp_path / "registry", auth=tokens.auth) as registry,
    ):
        assert login(fresh_cli, registry.host, "wrong").returncode == 1
        assert login(fresh_cli, registry.host).returncode == 0
        name = f"{registry.host}/public/app:1"
        import io

        from image_archives import docker_files, tar

        parts = [layer(f"f{number}", os.urandom(1000)) for number in range(3)]
        fresh.images.load(io.BytesIO(tar(docker_files(parts, name))))
        tokens.requests.clear()
        fresh.images.push(name)
        (asked,) = tokens.asked("GET .*")  # one token for the whole push, however many threads
        assert "scope=repository%3Apublic%2Fapp%3Apull%2Cpush" in asked.path
        assert fresh_cli("logout", registry.host).returncode == 0
        fresh.images.remove(name)
        tokens.requests.clear()
        assert len(fresh.images.pull(name).layers) == 3  # everybody may
        (asked,) = tokens.asked("GET .*")
        assert "scope=repository%3Apublic%2Fapp%3Apull" in asked.path
        assert "authorization" not in asked.headers
        fresh.images.tag(name, f"{registry.host}/public/other:1")
        with pytest.raises(pycontain.Unauthorized):
            fresh.images.push(f"{registry.host}/public/other:1")


def test_token_in_place_of_the_password_is_what_is_kept(
    fresh: Engine, fresh_cli: Cli, tmp_path: Path
) -> None:
    with (
        TokenServer(tmp_path, offline=True) as tokens,
        registries.running(tmp_path / "registry", auth=tokens.auth) as registry,
    ):
        assert login(fresh_cli, registry.host).returncode == 0
        entry = config(tmp_path)["auths"][registry.host]
        assert entry["identitytoken"] == IDENTITY
        assert PASSWORD not in base64.b64decode(entry["auth"]).decode()
        tokens.requests.clear()
        missing = fresh_cli("pull", f"{registry.host}/private/app:1")
        assert "no `private/app:1` in registry" in missing.stderr.decode()  # it was let in
        assert [one.method for one in tokens.requests] == ["POST"]


def test_expired_token_is_fetched_anew(fresh: Engine, tmp_path: Path) -> None:
    """The registry refuses a token that was good before; the pull goes on with another."""
    with (
        TokenServer(tmp_path) as tokens,
        registries.running(tmp_path / "registry", auth=tokens.auth) as registry,
        Interposed(registry.host) as server,
    ):
        challenge = f'Bearer realm="http://{tokens.host}/token",service="the tests"'
        credentials = pycontain.Credentials(USER, PASSWORD)
        import io

        from image_archives import docker_files, tar

        name = f"{server.host}/some/app:1"
        fresh.images.load(io.BytesIO(tar(docker_files([layer()], name))))
        fresh.images.push(name, credentials=credentials)
        fresh.images.remove(name)
        server.rules.append(Rule("GET .*/blobs/.*", Answer(401, {"WWW-Authenticate": challenge}), times=1))
        tokens.requests.clear()
        fresh.images.pull(name, credentials=credentials)
        assert len(tokens.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_identity_token_does_not_follow_to_another_host(fresh: Engine, status: int) -> None:
    with Interposed(None) as elsewhere, Interposed(None) as tokens, Interposed(None) as server:
        elsewhere.rules.append(Rule(".*", Answer(200, {}, b'{"token": "t"}')))
        tokens.rules.append(Rule(".*", Answer(status, {"Location": f"http://{elsewhere.host}/token"})))
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{tokens.host}/token"'}
        server.rules.append(Rule(".*", Answer(401, challenge)))
        credentials = pycontain.Credentials(identity_token=IDENTITY)
        with pytest.raises(pycontain.RegistryError, match="where a login is not to be sent"):
            fresh.images.pull(f"{server.host}/private/app:1", credentials=credentials)
        assert tokens.asked("POST /token")
        assert elsewhere.requests == []


def test_token_that_lasts_no_time_that_there_is_is_told_of(fresh: Engine) -> None:
    with Interposed(None) as tokens, Interposed(None) as server:
        answer = Answer(200, {}, b'{"token": "t", "expires_in": ' + b"9" * 401 + b"}")
        tokens.rules.append(Rule(".*", answer))
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{tokens.host}/token"'}
        server.rules.append(Rule(".*", Answer(401, challenge)))
        with pytest.raises(pycontain.RegistryError, match="gave no token that could be read"):
            fresh.images.pull(f"{server.host}/private/app:1")
