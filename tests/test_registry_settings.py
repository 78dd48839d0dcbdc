"""Where registries are asked, over what, and through whom: as it is configured."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pycontain
import pytest
import registries
from image_archives import digest, layer
from interposed import Answer, Interposed, Rule
from registries import gzipped
from tokens import openssl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from containers import Cli
    from pycontain import Engine
    from registries import Registry


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a CA, a server's certificate for this machine, and a client's."""
    import shutil

    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    directory = tmp_path_factory.mktemp("authority")

    def make(*words: str) -> None:
        openssl(*[word.format(d=directory) for word in words])

    new = ["-newkey", "rsa:2048", "-nodes"]
    make("req", "-x509", *new, "-days", "2", "-subj", "/CN=CA", "-keyout", "{d}/ca.key", "-out", "{d}/ca.crt")
    (directory / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1,IP:0.0.0.0\n")
    for name in ("server", "client"):
        make("req", *new, "-subj", f"/CN={name}", "-keyout", f"{{d}}/{name}.key", "-out", f"{{d}}/{name}.csr")
        sign = ["x509", "-req", "-days", "2", "-CA", "{d}/ca.crt", "-CAkey", "{d}/ca.key", "-CAcreateserial"]
        make(*sign, "-extfile", "{d}/names", "-in", f"{{d}}/{name}.csr", "-out", f"{{d}}/{name}.crt")
    return directory


@pytest.fixture
def secure(tmp_path: Path, authority: Path) -> Iterator[Registry]:
    """A registry that speaks HTTPS."""
    certificates = (authority / "server.crt", authority / "server.key")
    context = ssl.create_default_context(cafile=str(authority / "ca.crt"))
    with registries.running(tmp_path / "secure", certificates=certificates, context=context) as registry:
        registry.put_image("app", "1", [gzipped(layer())])
        yield registry


def trust(settings: Path, host: str, authority: Path, *names: str) -> None:
    place = settings / "certs.d" / host
    place.mkdir(parents=True)
    for source, target in zip(names[::2], names[1::2], strict=True):
        (place / target).write_bytes((authority / source).read_bytes())


def test_certificate_of_an_own_ca(
    fresh: Engine, secure: Registry, authority: Path, settings_directory: Path
) -> None:
    with pytest.raises(pycontain.RegistryError, match="certificate that is not valid") as caught:
        fresh.images.pull(f"{secure.host}/app:1")
    assert f"certs.d/{secure.host}/ca.crt" in (caught.value.hint or "")
    trust(settings_directory, secure.host, authority, "ca.crt", "ca.crt")
    assert fresh.images.pull(f"{secure.host}/app:1").layers == (digest(layer()),)


def test_certificate_of_our_own_is_shown(
    fresh: Engine, tmp_path: Path, authority: Path, settings_directory: Path
) -> None:
    certificates = (authority / "server.crt", authority / "server.key")
    with registries.running(
        tmp_path / "mutual", certificates=certificates, client_ca=authority / "ca.crt"
    ) as registry:
        trust(settings_directory, registry.host, authority, "ca.crt", "ca.crt")
        with pytest.raises(pycontain.RegistryError):
            fresh.images.pull(f"{registry.host}/app:1")
        place = settings_directory / "certs.d" / registry.host
        (place / "client.cert").write_bytes((authority / "client.crt").read_bytes())
        (place / "client.key").write_bytes((authority / "client.key").read_bytes())
        with pytest.raises(pycontain.ImageNotFound):  # so it was let in
            fresh.images.pull(f"{registry.host}/app:1")


def test_plain_http_is_for_this_machine_or_what_is_configured(
    fresh: Engine, registry: Registry, settings_directory: Path
) -> None:
    """0.0.0.0 leads to this machine as well, but is none of its names."""
    registry.put_image("settings/plain", "1", [gzipped(layer())])
    host = registry.host.replace("127.0.0.1", "0.0.0.0")
    name = f"{host}/settings/plain:1"
    with pytest.raises(pycontain.RegistryUnreachable, match=f"cannot reach registry `{host}`") as caught:
        fresh.images.pull(name)
    assert "insecure = true" in (caught.value.hint or "")
    (settings_directory / "registries.toml").write_text(f'[registry."{host}"]\ninsecure = true\n')
    assert fresh.images.pull(name).layers == (digest(layer()),)
    localhost = registry.host.replace("127.0.0.1", "localhost")
    assert fresh.images.pull(f"{localhost}/settings/plain:1").layers == (digest(layer()),)


def test_insecure_takes_any_certificate(fresh: Engine, secure: Registry, settings_directory: Path) -> None:
    host = secure.host.replace("127.0.0.1", "0.0.0.0")
    (settings_directory / "registries.toml").write_text(f'[registry."{host}"]\ninsecure = true\n')
    assert fresh.images.pull(f"{host}/app:1").layers == (digest(layer()),)


def test_redirect_away_from_https_is_not_followed(
    fresh: Engine, registry: Registry, secure: Registry, authority: Path, settings_directory: Path
) -> None:
    """A server of HTTPS in front, which sends to a host of plain HTTP."""
    import threading
    from http.server import ThreadingHTTPServer

    plain = registry.host.replace("127.0.0.1", "0.0.0.0")
    with Interposed(None, Rule("GET .*", Answer(307, {"Location": f"http://{plain}/x"}))) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority / "server.crt", authority / "server.key")
        outer = ThreadingHTTPServer(("127.0.0.1", 0), server.handler)
        outer.socket = context.wrap_socket(outer.socket, server_side=True)
        host = f"127.0.0.1:{outer.server_address[1]}"
        trust(settings_directory, host, authority, "ca.crt", "ca.crt")
        thread = threading.Thread(target=outer.serve_forever, daemon=True)
        thread.start()
        try:
            with pytest.raises(pycontain.RegistryError, match="away from HTTPS"):
                fresh.images.pull(f"{host}/app:1")
        finally:
            outer.shutdown()
            outer.server_close()


def test_mirrors_come_first_and_the_registry_last(
    fresh: Engine, registry: Registry, settings_directory: Path
) -> None:
    registry.put_image("settings/mirrored", "1", [gzipped(layer())])
    registry.put_image("hub/settings/mirrored", "2", [gzipped(layer("b"))])
    with Interposed(registry.host) as mirror, Interposed(registry.host) as server:
        (settings_directory / "registries.toml").write_text(
            "timeout = 0.5\n"
            f'[registry."{server.host}"]\nmirrors = ["http://127.0.0.1:9/none", "http://{mirror.host}/hub"]\n'
        )
        fresh.images.pull(f"{server.host}/settings/mirrored:2")
        assert server.requests == []
        assert len(mirror.asked("GET /v2/hub/settings/mirrored/blobs/.*")) == 2
        fresh.images.pull(f"{server.host}/settings/mirrored:1")  # which the mirror has not
        assert len(server.asked("GET /v2/settings/mirrored/blobs/.*")) == 2
        mirror.rules.append(Rule("GET .*/blobs/.*", Answer(500)))
        registry.put_image("hub/settings/mirrored", "3", [gzipped(layer("c"))])
        registry.put_image("settings/mirrored", "3", [gzipped(layer("c"))])
        fresh.images.pull(f"{server.host}/settings/mirrored:3")  # which the mirror does not give
        fresh.images.push(f"{server.host}/settings/mirrored:3")
        assert not [one for one in mirror.requests if one.method not in {"GET", "HEAD"}]


def test_mirror_of_docker_hub(fresh_cli: Cli, registry: Registry, settings_directory: Path) -> None:
    registry.put_image("library/thing", "latest", [gzipped(layer())])
    (settings_directory / "registries.toml").write_text(
        f'[registry."docker.io"]\nmirrors = ["http://{registry.host}"]\n'
    )
    done = fresh_cli("pull", "thing")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines()[-2:] == [
        "Status: Downloaded newer image for thing:latest",
        "docker.io/library/thing:latest",
    ]


def test_another_default_registry(fresh_cli: Cli, registry: Registry, settings_directory: Path) -> None:
    registry.put_image("thing", "latest", [gzipped(layer())])
    (settings_directory / "registries.toml").write_text(f'default = "{registry.host}"\n')
    assert fresh_cli("pull", "thing").stdout.decode().splitlines()[-2:] == [
        "Status: Downloaded newer image for thing:latest",
        f"{registry.host}/thing:latest",
    ]
    row = fresh_cli("images", "--format", "{{.Repository}} {{.Tag}}").stdout.decode()
    assert row == "thing latest\n"
    assert fresh_cli("tag", "thing", "docker.io/library/thing").returncode == 0
    assert b"docker.io/library/thing" in fresh_cli("images").stdout
    assert fresh_cli("rmi", "thing", "docker.io/library/thing").returncode == 0


def test_proxy_of_the_environment_is_used_but_not_to_this_machine(
    fresh: Engine, registry: Registry, settings_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.put_image("settings/proxied", "1", [gzipped(layer())])
    host = registry.host.replace("127.0.0.1", "0.0.0.0")
    (settings_directory / "registries.toml").write_text(f'[registry."{host}"]\ninsecure = true\n')
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Interposed(registry.host) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
        fresh.images.pull(f"{registry.host}/settings/proxied:1")
        assert proxy.requests == []
        fresh.images.pull(f"{host}/settings/proxied:1")
        assert proxy.asked(f"GET http://{host}/v2/settings/proxied/manifests/1")
        monkeypatch.setenv("no_proxy", "0.0.0.0")
        proxy.requests.clear()
        fresh.images.pull(f"{host}/settings/proxied:1")
        assert proxy.requests == []


def test_proxy_that_is_not_there_is_named(fresh: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(pycontain.RegistryUnreachable, match=r"by the proxy: cannot reach `127\.0\.0\.1:9`: "):
        fresh.images.pull("registry.invalid/x")


@pytest.mark.parametrize("default", ["a b", "https://a", ""])
def test_default_that_is_no_registry_is_named(settings_directory: Path, cli: Cli, default: str) -> None:
    (settings_directory / "registries.toml").write_text(f'default = "{default}"')
    done = cli("pull", "x")
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"`default` is no registry: `{default}`".encode() in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", "is not valid"),
        ("speed = 3", "no setting `speed`"),
        ('timeout = "long"', "`timeout` is not seconds"),
        ("timeout = 0", "too little"),
        ("timeout = nan", "is nan, not at most 86400"),
        ("timeout = 1e400", "is inf, not at most 86400"),
        ("retries = true", "`retries` is not a number"),
        ("registry = 3", "`registry` is not tables"),
        ('[registry."a"]\nmirror = "b"', "takes `mirrors` and `insecure`"),
        ('[registry."a"]\nmirrors = "b"', "not a list"),
        ('[registry."a"]\ninsecure = "no"', "neither true nor false"),
        ('[registry."127.0.0.1:9"]\nmirrors = ["ftp://b"]', "mirror `ftp://b` is not"),
    ],
)
def test_settings_that_are_not_valid_are_named(
    fresh: Engine, settings_directory: Path, text: str, says: str
) -> None:
    (settings_directory / "registries.toml").write_text(text)
    with pytest.raises(pycontain.InvalidOption, match=says):
        fresh.images.pull("127.0.0.1:9/x")
