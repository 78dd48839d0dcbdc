"""Networks break and registries lie: a pull goes on where that helps, else it says why and leaves nothing."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pycontain
import pytest
from containers import seconds
from image_archives import OCI, configuration, descriptor, digest, layer
from interposed import FOREVER, Answer, Interposed, Request, Rule, until
from registries import DOCKER, Packed, gzipped
from test_registry_killed import begin
from test_registry_pull import files, put_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from containers import Cli
    from pycontain import Engine, Progress
    from registries import Registry

NAME = "fault/app"
BIG = gzipped(layer("big", os.urandom(2 << 20)))
BLOB = f"/v2/{NAME}/blobs/{digest(BIG.data)}"
MANIFEST = f"/v2/{NAME}/manifests/1"


@pytest.fixture(scope="module")
def behind(registry: Registry) -> str:
    """The registry, which has an image."""
    registry.put_image(NAME, "1", [BIG])
    return registry.host


def nothing_here(engine: Engine, root: Path) -> None:
    """No image, no layer, no blob, nothing half done; also after the next command has collected."""
    assert engine.images.list() == ()
    for directory in ("layers", "blobs/sha256", "staging", "downloads"):
        if (root / directory).exists():
            assert os.listdir(root / directory) == [], directory


PASSING = {
    "a connection that breaks": Rule(f"GET {BLOB}", cut=1 << 20, times=1),
    "one that breaks at once": Rule(f"GET {BLOB}", cut=0, times=2),
    "one that breaks three times": Rule(f"GET {BLOB}", cut=300_000, times=3),
    "one that stalls": Rule(f"GET {BLOB}", stall=1 << 20, times=1),
    "a manifest that breaks": Rule(f"GET {MANIFEST}", cut=10, times=1),
    "a busy registry": Rule(f"GET {BLOB}", Answer(503), times=2),
    "a broken registry": Rule(f"GET {MANIFEST}", Answer(500), times=2),
    "too many requests": Rule(f"GET {BLOB}", Answer(429, {"Retry-After": "1"}), times=1),
    "too many requests, until a date": Rule(
        f"GET {MANIFEST}", Answer(429, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}), times=1
    ),
    "no ranges": Rule(f"GET {BLOB}", lambda _: Answer(200, {}, BIG.data), cut=1 << 20, times=2),
}


@pytest.mark.parametrize("fault", PASSING)
def test_pull_survives(
    fresh: Engine, behind: str, settings_directory: Path, tmp_path: Path, fault: str
) -> None:
    (settings_directory / "registries.toml").write_text("timeout = 0.5\n")
    rule = Rule(**vars(PASSING[fault]))
    with Interposed(behind, rule) as server:
        fresh.images.pull(f"{server.host}/{NAME}:1")
        assert rule.times == 0
        assert files(fresh, f"{server.host}/{NAME}:1")["big"] == BIG.plain[512 : 512 + (2 << 20)]
    assert os.listdir(tmp_path / "root/staging") == []


def test_download_goes_on_where_it_broke(fresh: Engine, behind: str) -> None:
    steps: list[Progress] = []
    with Interposed(behind, Rule(f"GET {BLOB}", cut=1 << 20, times=1)) as server:
        fresh.images.pull(f"{server.host}/{NAME}:1", progress=steps.append)
        first, second = server.asked(f"GET {BLOB}")
    assert "range" not in first.headers
    begin = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < begin <= 1 << 20
    assert "Retrying" in {step.phase for step in steps}


def test_retry_after_is_waited_for(fresh: Engine, behind: str) -> None:
    answered: list[float] = []

    def busy(_: Request) -> Answer:
        import time

        answered.append(time.monotonic())
        return Answer(429, {"Retry-After": "2"}) if len(answered) == 1 else Answer(503)

    with Interposed(behind, Rule(f"GET {MANIFEST}", busy, times=2)) as server:
        fresh.images.pull(f"{server.host}/{NAME}:1")
    assert answered[1] - answered[0] >= 2


@dataclass(frozen=True)
class Bad:
    """What a registry does, and what is said about it."""

    rule: Rule
    error: type[pycontain.PycontainError]
    says: str
    hint: str = ""


def _errors(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def _manifest(*layers: Packed, config_type: str = f"{OCI}.config.v1+json", **more: object) -> bytes:
    document = configuration([one.plain for one in layers])
    listed = [descriptor(one.data, one.media_type) for one in layers]
    kind = {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json"}
    return json.dumps(
        {**kind, "config": descriptor(document, config_type), "layers": listed, **more}
    ).encode()


def _serves(body: bytes, media_type: str = f"{OCI}.manifest.v1+json", **headers: str) -> Rule:
    told = {"Content-Type": media_type, **{name.replace("_", "-"): text for name, text in headers.items()}}
    return Rule(f"GET {MANIFEST}", Answer(200, told, body))


def _index(platforms: Iterable[str]) -> bytes:
    members = []
    for platform in platforms:
        system, architecture = platform.split("/")
        told = {"os": system, "architecture": architecture}
        members.append(descriptor(platform.encode(), f"{OCI}.manifest.v1+json") | {"platform": told})
    kind = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json"}
    return json.dumps({**kind, "manifests": members}).encode()


_ELSEWHERE = Packed(BIG.plain, BIG.data, f"{DOCKER}.image.rootfs.foreign.diff.tar.gzip")
_STRANGE = Packed(BIG.plain, BIG.data, "application/vnd.example.layer")
_OTHER = BIG.data[:9] + b"\0" + BIG.data[10:]  # the header says another system: the content is the same
_SCHEMA_1 = json.dumps({"schemaVersion": 1, "name": NAME, "tag": "1", "fsLayers": []}).encode()

BAD = {
    "401": Bad(
        Rule(f"GET {MANIFEST}", Answer(401, {"WWW-Authenticate": 'Basic realm="r"'})),
        pycontain.Unauthorized,
        "it wants a login",
        "pycontain login 127.0.0.1:",
    ),
    "401 that asks for nothing": Bad(
        Rule(f"GET {MANIFEST}", Answer(401)), pycontain.Unauthorized, "refuses access"
    ),
    "403": Bad(
        Rule(f"GET {MANIFEST}", Answer(403, {}, _errors("DENIED", "not for you"))),
        pycontain.Unauthorized,
        "answered 403 (forbidden).*not for you",
        "login",
    ),
    "404": Bad(
        Rule(f"GET {MANIFEST}", Answer(404, {}, _errors("MANIFEST_UNKNOWN", "manifest unknown"))),
        pycontain.ImageNotFound,
        f"no `{NAME}:1` in registry",
    ),
    "401 that names no address for tokens": Bad(
        Rule(f"GET {MANIFEST}", Answer(401, {"WWW-Authenticate": 'Bearer realm="http://[bad"'})),
        pycontain.RegistryError,
        r"sends for a token to `http://\[bad`",
    ),
    "length that is no number": Bad(
        Rule(f"GET {MANIFEST}", raw=(b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n<html>", b"", 0)),
        pycontain.ImageInvalid,
        "is not valid",
    ),
    "length of 5000 digits": Bad(
        Rule(
            f"GET {MANIFEST}",
            raw=(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n<html>", b"", 0),
        ),
        pycontain.ImageInvalid,
        "is not valid",
    ),
    "status that is none": Bad(
        Rule(f"GET {MANIFEST}", raw=(b"HTTP/1.1 099\x1b \r\n\r\n", b"", 0)),
        pycontain.RegistryUnreachable,
        r"broke off: HTTP/1\.1 099\\x1b$",
        "try again",
    ),
    "503 until no number": Bad(
        Rule(f"GET {MANIFEST}", Answer(503, {"Retry-After": "\xb2"})), pycontain.RegistryError, "answered 503"
    ),
    "503 until no year": Bad(
        Rule(
            f"GET {MANIFEST}", Answer(503, {"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"})
        ),
        pycontain.RegistryError,
        "answered 503",
    ),
    "503 with a reason that steers terminals": Bad(
        Rule(f"GET {MANIFEST}", Answer(503, {}, _errors("X", "\x1b[2J" * 1000))),
        pycontain.RegistryError,
        r"answered 503 .*: \\x1b\[2J",
    ),
    "429 for an hour": Bad(
        Rule(
            f"GET {MANIFEST}", Answer(429, {"Retry-After": "3600"}, _errors("TOOMANYREQUESTS", "slow down"))
        ),
        pycontain.RateLimited,
        "answered 429.*slow down",
        "try again in 3600 s",
    ),
    "500 without end": Bad(
        Rule(f"GET {MANIFEST}", Answer(500)), pycontain.RegistryError, "answered 500 (internal server error)"
    ),
    "500 without end for a layer": Bad(
        Rule(f"GET {BLOB}", Answer(502)), pycontain.RegistryError, "answered 502 (bad gateway)"
    ),
    "stalls without end": Bad(
        Rule(f"GET {BLOB}", stall=1000),
        pycontain.RegistryUnreachable,
        "stalled: nothing for 0.5 s",
        "try again",
    ),
    "breaks without end": Bad(
        Rule(f"GET {BLOB}", cut=0), pycontain.RegistryUnreachable, "broke off", "try again"
    ),
    "manifest that comes by single bytes": Bad(
        Rule(f"GET {MANIFEST}", raw=(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"a", 0.1)),
        pycontain.RegistryUnreachable,
        "comes too slowly",
        "try again",
    ),
    "redirects to no host": Bad(
        Rule(f"GET {MANIFEST}", Answer(307, {"Location": f"http://{'a' * 10_000}/"})),
        pycontain.RegistryError,
        "an address that is not valid: http://aaa",
    ),
    "redirects in circles": Bad(
        Rule(f"GET {MANIFEST}", Answer(307, {"Location": MANIFEST})),
        pycontain.RegistryError,
        "redirects more than",
    ),
    "manifest of 10 MB": Bad(_serves(b" " * (10 << 20)), pycontain.RegistryError, "more than 4194304 bytes"),
    "manifest that is no JSON": Bad(_serves(b"<html>"), pycontain.ImageInvalid, "is not valid"),
    "manifest of another digest": Bad(
        _serves(_manifest(BIG), Docker_Content_Digest="sha256:" + "0" * 64),
        pycontain.BadDigest,
        "the registry promises sha256:000",
    ),
    "manifest of a digest that steers terminals": Bad(
        _serves(_manifest(BIG), Docker_Content_Digest="\x1b[2J" + "a" * 20_000),
        pycontain.BadDigest,
        r"the registry promises \\x1b\[2Ja",
    ),
    "index for many platforms": Bad(
        _serves(_index(f"linux/x{number:03}" for number in range(1000)), f"{OCI}.index.v1+json"),
        pycontain.Unsupported,
        "no image for this machine",
        "there are: linux/x000, linux/x001, linux/x002, linux/x003, linux/x004, linux/x005, linux/x006,"
        " linux/x007, linux/x008, linux/x009, …; ",
    ),
    "index that calls itself a manifest": Bad(
        _serves(json.dumps({"schemaVersion": 2, "manifests": []}).encode()),
        pycontain.ImageInvalid,
        "is sent as",
    ),
    "manifest of schema 1": Bad(
        _serves(_SCHEMA_1, f"{DOCKER}.distribution.manifest.v1+prettyjws"),
        pycontain.ImageInvalid,
        "of schema 1",
    ),
    "something that is no image": Bad(
        _serves(_manifest(BIG, config_type="application/vnd.cncf.helm.config.v1+json")),
        pycontain.ImageInvalid,
        "no container image: .*helm",
    ),
    "foreign layer": Bad(
        _serves(_manifest(_ELSEWHERE)), pycontain.ImageInvalid, "is not in the registry.*foreign"
    ),
    "layer of a foreign media type": Bad(
        _serves(_manifest(_STRANGE)),
        pycontain.ImageInvalid,
        "not one that can be unpacked.*vnd.example.layer",
    ),
    "configuration of another digest": Bad(
        Rule(f"GET .*/blobs/{digest(configuration([BIG.plain]))}", corrupt=10),
        pycontain.BadDigest,
        "not what its digest promises",
    ),
    "layer of another digest": Bad(
        Rule(f"GET {BLOB}", Answer(200, {}, _OTHER)),
        pycontain.ImageInvalid,
        f"has digest {digest(_OTHER)}, the image promises {digest(BIG.data)}",
    ),
    "layer that is changed on the way": Bad(
        Rule(f"GET {BLOB}", corrupt=1 << 20), pycontain.ImageInvalid, digest(BIG.data)
    ),
    "layer that is too short": Bad(
        Rule(f"GET {BLOB}", truncate=1 << 20), pycontain.BadDigest, f"its manifest promises {len(BIG.data)}"
    ),
    "layer that is too long": Bad(
        Rule(f"GET {BLOB}", Answer(200, {}, BIG.data + b"x")), pycontain.BadDigest, "its manifest promises"
    ),
    "layer that is not there": Bad(
        Rule(f"GET {BLOB}", Answer(404)), pycontain.ImageNotFound, f"no `blob {digest(BIG.data)} of"
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_registry_is_told_of_and_leaves_nothing(
    fresh: Engine, behind: str, settings_directory: Path, tmp_path: Path, case: str
) -> None:
    (settings_directory / "registries.toml").write_text("timeout = 0.5\nretries = 1\n")
    bad = BAD[case]
    with Interposed(behind, Rule(**vars(bad.rule))) as server:
        name = f"{server.host}/{NAME}:1"
        with pytest.raises(bad.error, match=bad.says.replace("(", r"\(").replace(")", r"\)")) as caught:
            fresh.images.pull(name)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1000
        assert bad.hint in (caught.value.hint or "")
        nothing_here(fresh, tmp_path / "root")
        server.rules.clear()
        fresh.images.pull(name)  # the same pull succeeds
        assert files(fresh, name)["big"] == BIG.plain[512 : 512 + (2 << 20)]


def test_registry_that_is_down(fresh: Engine, fresh_cli: Cli, tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:  # bound, not listening
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
        done = fresh_cli("pull", f"{host}/app:1")
        assert done.returncode == 1
        assert done.stderr.decode().splitlines() == [
            f"pycontain: cannot reach registry `{host}`: connection refused",
            f"hint: is `{host}` its address, and does it run?",
        ]
        assert fresh_cli.run(f"{host}/app:1").returncode == 125
    nothing_here(fresh, tmp_path / "root")


def test_one_bad_layer_of_several_leaves_none(fresh: Engine, registry: Registry, tmp_path: Path) -> None:
    layers = [gzipped(layer(f"f{number}", os.urandom(100_000))) for number in range(6)]
    registry.put_image("fault/several", "1", layers)
    bad = digest(layers[4].data)
    with (
        Interposed(registry.host, Rule(f"GET .*/{bad}", corrupt=50_000)) as server,
        pytest.raises(pycontain.ImageInvalid, match=bad),
    ):
        fresh.images.pull(f"{server.host}/fault/several:1")
    nothing_here(fresh, tmp_path / "root")


def test_bomb_is_refused_before_it_is_unpacked(fresh: Engine, registry: Registry, tmp_path: Path) -> None:
    """A file of 4 GiB of zeros in 4 MB."""
    header = tarfile.TarInfo("bomb")
    header.size = 4 << 30
    block = gzip.compress(bytes(64 << 20), mtime=0)
    data = gzip.compress(header.tobuf(), mtime=0) + block * 64 + gzip.compress(bytes(1024), mtime=0)
    packed = Packed(layer(), data, f"{OCI}.layer.v1.tar+gzip")  # it never gets as far as its diff id
    registry.put_image("fault/bomb", "1", [packed])
    with pytest.raises(pycontain.ImageInvalid, match=r"`sha256:.*expands more than 500-fold"):
        fresh.images.pull(f"{registry.host}/fault/bomb:1")
    nothing_here(fresh, tmp_path / "root")


def test_hostile_entry_is_refused_by_name(fresh: Engine, registry: Registry, tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        link = tarfile.TarInfo("leads-out")
        link.type, link.linkname = tarfile.LNKTYPE, "../../../etc/passwd"
        archive.addfile(link)
    registry.put_image("fault/hostile", "1", [gzipped(data.getvalue())])
    with pytest.raises(pycontain.ImageInvalid, match="leads-out"):
        fresh.images.pull(f"{registry.host}/fault/hostile:1")
    nothing_here(fresh, tmp_path / "root")


@pytest.mark.root
@pytest.mark.parametrize("size", ["1m", "3m"])
def test_full_disk_is_told_and_leaves_nothing(behind: str, tmp_path: Path, size: str) -> None:
    """The first has no room for the compressed layer, the second none for its files."""
    root, name = tmp_path / "root", f"{behind}/{NAME}:1"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", root], check=True)
    try:
        with pycontain.Engine(root) as engine:
            with pytest.raises(pycontain.StoreError, match=r"(?i)no space left on device"):
                engine.images.pull(name)
            nothing_here(engine, root)
            subprocess.run(["mount", "-o", "remount,size=32m", root], check=True)
            engine.images.pull(name)
            assert files(engine, name)["big"] == BIG.plain[512 : 512 + (2 << 20)]
    finally:
        subprocess.run(["umount", root], check=True)


def test_wrong_member_of_an_index_is_refused(fresh: Engine, registry: Registry, tmp_path: Path) -> None:
    from image_archives import ARCHITECTURE

    put_index(registry, "fault/index", "1", {f"linux/{ARCHITECTURE}": "own"})
    with (
        Interposed(registry.host, Rule("GET .*/manifests/sha256:.*", corrupt=5)) as server,
        pytest.raises(pycontain.BadDigest, match="the registry promises"),
    ):
        fresh.images.pull(f"{server.host}/fault/index:1")
    nothing_here(fresh, tmp_path / "root")


def redirecting(target: str, status: int = 307) -> Callable[[Request], Answer]:
    return lambda request: Answer(status, {"Location": f"http://{target}{request.path}?signature=a%2Fb"})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_do_not_follow_to_another_host(
    fresh: Engine, registry: Registry, tmp_path: Path, status: int
) -> None:
    """The registry wants a login; the store of its blobs must not see it, and cannot ask for it either."""
    registry.put_image("fault/redirect", "1", [gzipped(layer())])
    challenge = {"WWW-Authenticate": 'Basic realm="r"'}
    credentials = pycontain.Credentials("someone", "secret")
    with Interposed(registry.host) as elsewhere, Interposed(registry.host) as server:

        def guarded(request: Request) -> Answer:
            if "authorization" not in request.headers:
                return Answer(401, challenge)
            if "/blobs/" in request.path:
                return redirecting(elsewhere.host, status)(request)
            from interposed import passed_on

            return passed_on(registry.host, request)

        server.rules.append(Rule(".*", guarded))
        name = f"{server.host}/fault/redirect:1"
        fresh.images.pull(name, credentials=credentials)
        assert server.asked("GET .*/blobs/.*")
        assert len(elsewhere.asked("GET .*signature=a%2Fb")) == 2
        assert not [one for one in elsewhere.requests if "authorization" in one.headers]
        fresh.images.remove(fresh.images.get(name).id, force=True)
        elsewhere.rules.append(Rule(".*", Answer(401, challenge), times=FOREVER))
        with pytest.raises(pycontain.Unauthorized):
            fresh.images.pull(name, credentials=credentials)
        assert not [one for one in elsewhere.requests if "authorization" in one.headers]
    nothing_here(fresh, tmp_path / "root")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, 0),
    "trailers": (CHUNKED + b"1\r\n{\r\n0\r\n", b"a: b\r\n" * 100, 0),
    "sizes of chunks": (CHUNKED, b"0", 0.1),
    "a header byte by byte": (b"HTTP/1.1 200 OK\r\nA: ", b"a", 0.1),
}


@pytest.mark.parametrize("what", [MANIFEST, BLOB], ids=["manifest", "layer"])
@pytest.mark.parametrize("case", ENDLESS)
def test_answer_without_end_counts_as_stalled(
    fresh: Engine, behind: str, settings_directory: Path, case: str, what: str
) -> None:
    (settings_directory / "registries.toml").write_text("timeout = 0.5\nretries = 1\n")
    with (
        Interposed(behind, Rule(f"GET {what}", raw=ENDLESS[case])) as server,
        pytest.raises(pycontain.RegistryUnreachable, match=r"stalled: nothing for 0\.5 s"),
    ):
        fresh.images.pull(f"{server.host}/{NAME}:1")


@pytest.mark.parametrize("case", [*ENDLESS, "it stalls"])
def test_interrupt_ends_a_pull_that_waits_for_a_layer(
    fresh_cli: Cli, behind: str, settings_directory: Path, case: str
) -> None:
    (settings_directory / "registries.toml").write_text("timeout = 1000\n")
    does = Rule(f"GET {BLOB}", raw=ENDLESS[case]) if case in ENDLESS else Rule(f"GET {BLOB}", stall=1000)
    with Interposed(behind, does) as server:
        process = begin(fresh_cli, f"{server.host}/{NAME}:1")
        until(lambda: server.asked(f"GET {BLOB}"))
        process.send_signal(signal.SIGINT)
        assert process.wait(seconds(10)) == 128 + signal.SIGINT


TAGS = {
    "no list": ({}, {"tags": 5}, "did not answer with a list of tags"),
    "a text": ({}, {"tags": "12"}, "did not answer with a list of tags"),
    "what is no tag": ({}, {"tags": ["1", "\x1b[2J\n"]}, r"lists a tag `\\x1b\[2J\\n`, which is none"),
    "a digest": ({}, {"tags": [f"1@sha256:{'0' * 64}"]}, "lists a tag `1@sha256:0*`, which is none"),
    "more at no address": (
        {"Link": '<http://[>; rel="next"'},
        {"tags": ["1"]},
        r"goes on at `http://\[`, which is no address",
    ),
}


@pytest.mark.parametrize("case", TAGS)
def test_bad_list_of_tags_is_told_of(fresh: Engine, behind: str, tmp_path: Path, case: str) -> None:
    headers, document, says = TAGS[case]
    rule = Rule(f"GET /v2/{NAME}/tags/list", Answer(200, headers, json.dumps(document).encode()))
    with Interposed(behind, rule) as server, pytest.raises(pycontain.RegistryError, match=says):
        fresh.images.pull_all(f"{server.host}/{NAME}")
    nothing_here(fresh, tmp_path / "root")


def test_list_of_tags_that_leads_in_a_circle_ends(fresh: Engine, behind: str) -> None:
    def page(request: Request) -> Answer:
        following = "b" if request.path.endswith("a") else "a"
        return Answer(200, {"Link": f'<?page={following}>; rel="next"'}, b'{"tags": ["1"]}')

    with Interposed(behind, Rule(f"GET /v2/{NAME}/tags/list.*", page)) as server:
        (image,) = fresh.images.pull_all(f"{server.host}/{NAME}")
        assert image.tags == (f"{server.host}/{NAME}:1",)


def catalogue(document: object, **headers: str) -> tuple[Rule, Rule]:
    answer = Answer(200, headers, json.dumps(document).encode())
    return Rule("GET /v2/", Answer(200)), Rule("GET /v2/_catalog.*", answer)


def test_search_shows_no_more_than_names(fresh_cli: Cli) -> None:
    names = ["a", "a\nb", "a\x1b[2J", "a\ud800", "a b", "a" * 256, "z/a"]
    with Interposed(
        None, *catalogue({"repositories": names}, Link='</v2/_catalog?n=1000>; rel="next"')
    ) as server:
        done = fresh_cli("search", f"{server.host}/a", "--format", "{{.Name}}")
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.decode().splitlines() == [f"{server.host}/a", f"{server.host}/z/a"]


def test_search_in_a_catalogue_without_end_ends(fresh_cli: Cli) -> None:
    count = iter(range(FOREVER))

    def page(_: Request) -> Answer:
        return Answer(200, {"Link": f'</v2/_catalog?page={next(count)}>; rel="next"'}, b"{}")

    with Interposed(None, Rule("GET /v2/", Answer(200)), Rule("GET /v2/_catalog.*", page)) as server:
        done = fresh_cli("search", f"{server.host}/a")
    assert done.returncode == 1
    assert "has more than 1000 pages" in done.stderr.decode()


def test_search_in_what_is_no_catalogue_is_told_of(fresh_cli: Cli) -> None:
    with Interposed(None, *catalogue({"repositories": 5})) as server:
        done = fresh_cli("search", f"{server.host}/a")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"pycontain: `http://{server.host}/v2/_catalog` did not answer with a list of repositories"
    ]


def test_search_for_what_is_no_text_is_refused(fresh_cli: Cli) -> None:
    done = fresh_cli("search", os.fsdecode(b"\xff"))
    assert (done.returncode, done.stderr) == (1, b"pycontain: cannot search for `\\udcff`\n")
    assert b"invalid filter" in fresh_cli("search", "--filter", "stars=\xb2", "a").stderr


def test_search_of_docker_hub_shows_text_and_numbers(settings_directory: Path) -> None:
    from pycontain.registry import Client
    from pycontain.registry.searching import Found, search

    results = [
        {"name": "a", "description": "of\na\x1b[2J", "star_count": "many"},
        {"name": "a\nb"},
        {"name": "c", "star_count": 7, "is_official": True},
    ]
    answer = Answer(200, {}, json.dumps({"results": results}).encode())
    with Interposed(None, Rule("GET /v1/search.*", answer)) as server, Client() as client:
        found = search(client, "docker.io", "a", 10, hub=f"http://{server.host}")
    assert found == [Found("a", r"of a\x1b[2J"), Found("c", "", 7, True)]


def test_image_removed_at_the_end_of_its_pull_is_said_to_be(fresh: Engine, behind: str) -> None:
    name = f"{behind}/{NAME}:1"

    def remove(step: Progress) -> None:
        if step.phase.startswith("Status:"):
            fresh.images.remove(name)

    with pytest.raises(pycontain.ImageNotFound, match=f"image `{name}` has been removed meanwhile"):
        fresh.images.pull(name, progress=remove)
