"""Looking at images and removing them: `inspect`, `history`, `rmi`, `prune`, `system df`, also in Python."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

import containers
import pytest
from image_archives import configuration, digest, docker_files, layer, tar
from pycontain import Engine, ImageNotFound, StillInUse
from pycontain.images import use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pycontain.images import Image

    Shown = Callable[..., tuple[list[str], list[str]]]


@pytest.fixture
def own(default_engine: Engine) -> Engine:
    """That of the command line, too."""
    return default_engine


@pytest.fixture
def shown(own: Engine, capsys: pytest.CaptureFixture[str]) -> Shown:
    """What a command prints to stdout and to stderr."""
    from pycontain.cli import main

    def run(*words: str, status: int = 0) -> tuple[list[str], list[str]]:
        capsys.readouterr()
        assert main(list(words)) == status
        captured = capsys.readouterr()
        return captured.out.splitlines(), captured.err.splitlines()

    return run


class Registry(BaseHTTPRequestHandler):
    """Has what the path of a repository says: `/v2/empty/manifests/latest`."""

    MANIFESTS: ClassVar = {"empty": b"{}", "old": b'{"schemaVersion": 1, "fsLayers": []}'}

    def do_GET(self) -> None:
        data = self.MANIFESTS.get(self.path.split("/")[2], b"")
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def add(engine: Engine, name: str | None, *layers: bytes, **more: object) -> Image:
    files = docker_files(list(layers), *([name] if name else []), **more)
    (image,) = engine.images.load(io.BytesIO(tar(files)))
    return image


def big(letter: str, size: int = 50_000) -> bytes:
    return layer(letter, letter.encode() * size)


def kept(engine: Engine) -> tuple[set[str], set[str]]:
    """The names of the directories of layers and of the files of blobs."""
    paths = engine._paths
    return {*os.listdir(paths.layers)}, {*os.listdir(paths.blobs)}


@contextlib.contextmanager
def running(engine: Engine, image: str) -> Iterator[None]:
    """A container of the image runs, of a process of its own, and goes with its command."""
    command = [str(containers.installed()), "run", "--rm", image]
    process = subprocess.Popen(command, env={**os.environ, "PYCONTAIN_ROOT": engine._paths.root})
    try:
        until = time.monotonic() + containers.seconds(20)
        while not engine._images._store.users().get(engine.images.get(image).id):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait()


def test_inspect_has_dockers_members(own: Engine) -> None:
    config = {"Env": ["A=1"], "Cmd": ["sh"], "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}}
    history = [{"created_by": "COPY", "comment": "by hand"}]
    image = add(own, "hello:1", layer(), config=config, author="me", variant="v8", history=history)
    own.images.tag("hello:1", "registry.lan/a/b:c")
    document = image.inspect()
    assert document["Id"] == image.id
    assert document["RepoTags"] == ["hello:1", "registry.lan/a/b:c"]
    assert document["Config"] == config
    assert document["RootFS"] == {"Type": "layers", "Layers": [digest(layer())]}
    assert (document["Author"], document["Variant"], document["Comment"]) == ("me", "v8", "by hand")
    assert (document["Os"], document["Size"]) == ("linux", 6)
    assert os.path.isfile(document["GraphDriver"]["Data"]["UpperDir"] + "/hello")
    assert document["Metadata"]["LastTagTime"] > "2026"
    own.images.tag("hello:1", "registry.lan/a/b:c")
    assert image.inspect()["Metadata"]["LastTagTime"] > document["Metadata"]["LastTagTime"]
    image.remove(force=True)
    with pytest.raises(ImageNotFound):
        image.inspect()


def test_image_that_was_never_tagged_says_so(own: Engine) -> None:
    assert add(own, None, layer()).inspect()["Metadata"] == {"LastTagTime": "0001-01-01T00:00:00Z"}


def test_inspect_prints_what_it_finds_and_tells_what_not(own: Engine, shown: Shown) -> None:
    image = add(own, "hello:1", layer())
    out, err = shown("image", "inspect", "hello:1", "nosuch", status=1)
    assert [one["Id"] for one in json.loads("\n".join(out))] == [image.id]
    assert err[0] == "pycontain: no such image: `nosuch`"
    assert (
        shown("inspect", "--type", "image", image.id[7:19], "hello:1", "-f", "{{.Id}}")[0] == [image.id] * 2
    )
    out, err = shown("inspect", "nosuch", status=1)
    assert (out, err) == (["[]"], ["pycontain: no such object: `nosuch`"])
    assert 'unknown type: "foo"' in shown("inspect", "--type", "foo", "hello:1", status=1)[1][0]


@pytest.mark.parametrize(
    ("template", "printed"),
    [
        ("{{.Config.Labels.missing}} {{.Config.Entrypoint}} {{.Config.Cmd}}", "<no value> [] [sh]"),
        ("{{json .Config.Env}} {{len .RootFS.Layers}}", '["A=1"] 1'),
        ("{{range .RepoTags}}{{.}};{{end}}", "hello:1;"),
        ("{{if .Config.Healthcheck}}sick{{else}}none{{end}}", "none"),
    ],
)
def test_inspect_takes_a_template(own: Engine, shown: Shown, template: str, printed: str) -> None:
    add(own, "hello:1", layer())
    assert shown("image", "inspect", "--format", template, "hello:1")[0] == [printed]


def test_inspect_refuses_bad_templates_with_dockers_status(own: Engine, shown: Shown) -> None:
    add(own, "hello:1", layer())
    assert "unclosed action" in shown("inspect", "-f", "{{.Id", "hello:1", status=64)[1][0]
    assert 'no entry for key "Foo"' in shown("inspect", "-f", "{{.Foo}}", "hello:1", status=1)[1][0]


def test_history_gives_each_step_its_layer(own: Engine, shown: Shown) -> None:
    steps = [
        {"created": "2026-01-01T00:00:00Z", "created_by": "COPY low /"},
        {"created": "2026-01-02T00:00:00Z", "created_by": "ENV\tA=1 " + "x" * 60, "empty_layer": True},
        {"created": "2026-01-03T00:00:00Z", "created_by": "COPY top /", "comment": "last"},
    ]
    image = add(own, "hello:1", layer("low", b"x" * 3000), layer("top", b"y"), history=steps)
    assert [step.size for step in image.history] == [3000, 0, 1]
    (header, *rows), _ = shown("history", "hello:1")
    assert header.split("  ")[0] == "IMAGE"
    assert [row.split()[0] for row in rows] == [image.id[7:19], "<missing>", "<missing>"]
    assert rows[0].endswith("1B        last")
    assert "…" in rows[1]
    (header, *rows), _ = shown("history", "--no-trunc", "--human=false", "hello:1")
    assert "CREATED AT" in header
    assert rows[0].startswith(f"{image.id}   2026-01-03T")
    assert "ENV A=1 " + "x" * 60 in rows[1]
    assert shown("history", "-q", "hello:1")[0] == [image.id[7:19], "<missing>", "<missing>"]
    assert shown("history", "--format", "{{.Size}} {{.CreatedBy}}", "hello:1")[0][2] == "3kB COPY low /"
    assert "historyContext" in shown("history", "--format", "{{.Foo}}", "hello:1", status=1)[1][0]


def test_rmi_goes_on_and_exits_with_1(own: Engine, shown: Shown) -> None:
    image = add(own, "hello:1", layer())
    out, err = shown("rmi", "nosuch", "hello:1", status=1)
    assert out == ["Untagged: hello:1", f"Deleted: {image.id}", f"Deleted: {digest(layer())}"]
    assert err[0] == "pycontain: no such image: `nosuch`"
    image = add(own, "hello:1", layer())
    assert shown("image", "rm", "--no-prune", image.id[:15])[0][0] == "Untagged: hello:1"


def test_prune_removes_what_has_no_tag(own: Engine) -> None:
    kept_image = add(own, "hello:1", big("a"), big("b"))
    loose = add(own, None, big("a"), big("c"), created="2026-01-05T00:00:00Z")
    removal = own.images.prune()
    assert removal.untagged == ()
    assert removal.deleted == (loose.id, digest(big("c")))
    assert removal.reclaimed == 50_000 + len(big("c"))
    assert own.images.list() == (kept_image,)
    assert own.images.prune().deleted == ()
    removal = own.images.prune(all=True)
    assert removal.untagged == ("hello:1",)
    assert set(removal.deleted) == {kept_image.id, digest(big("a")), digest(big("b"))}
    assert kept(own) == (set(), set())


def test_prune_takes_filters(own: Engine) -> None:
    for day, labels in enumerate([{"keep": "yes"}, {"tier": "a"}, {"tier": "b"}]):
        add(own, f"i:{day}", layer(), created=f"2026-01-0{day + 1}T00:00:00Z", config={"Labels": labels})
    assert own.images.prune(all=True, label=["tier=a"]).untagged == ("i:1",)
    assert own.images.prune(all=True, until="2026-01-02").untagged == ("i:0",)
    assert own.images.prune(all=True, without_label=["tier"]).untagged == ()
    assert own.images.prune(all=True, without_label=["other"]).untagged == ("i:2",)


def test_budget_takes_the_least_recently_used_first(own: Engine) -> None:
    shared = big("s")
    images = {name: add(own, f"{name}:1", shared, big(name)) for name in "abcd"}
    now = time.time()
    for age, name in enumerate("cadb"):
        use.note(own._paths, images[name].id)
        stamp = now + 10 * age
        os.utime(f"{own._paths.used}/{images[name].id[7:]}", (stamp, stamp))
    each = 50_000 + len(big("a"))
    assert own.images.usage().layers + own.images.usage().blobs == 5 * each
    assert own.images.prune(keep_storage=5 * each).deleted == ()
    removal = own.images.prune(keep_storage=4 * each - 1)
    assert removal.untagged == ("c:1", "a:1")
    assert removal.reclaimed == 2 * each
    # the layer that the others share stays to the last
    assert own.images.prune(keep_storage=2 * each).untagged == ("d:1",)
    removal = own.images.prune(keep_storage=0)
    assert removal.untagged == ("b:1",)
    assert removal.reclaimed == 2 * each
    assert kept(own) == (set(), set())


def test_nothing_that_a_container_uses_is_pruned(own: Engine, busybox_layer: bytes) -> None:
    for name, command in (("kept", ["true"]), ("running", ["sleep", "60"]), ("unused", ["true"])):
        archive = io.BytesIO(busybox_layer)
        own.images.import_(archive, name, changes=[f"CMD {json.dumps(command)}"], message=name)
    own.run_foreground("kept")
    with running(own, "running"):
        removal = own.images.prune(all=True)
        assert removal.untagged == ("unused:latest",)
        assert own.images.prune(keep_storage=0).deleted == ()
        for name in ("kept", "running"):
            with pytest.raises(StillInUse):
                own.images.remove(name)
        usage = own.disk_usage()
        assert (usage.images.total, usage.images.active) == (2, 2)
        assert usage.images.reclaimable == 0


def test_prune_asks(own: Engine, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    add(own, "hello:1", layer())
    for answer in ("", "n\n", "no\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        out, _ = shown("image", "prune", "-a")
        assert (
            out[0]
            == "WARNING! This will remove all images without at least one container associated to them."
        )
        assert out[1] == "Are you sure you want to continue? [y/N] "
        assert len(own.images.list()) == 1
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    out, _ = shown("image", "prune", "-a")
    assert out[1].endswith("[y/N] Deleted Images:")
    assert out[2] == "untagged: hello:1"
    assert out[-1].startswith("Total reclaimed space: ")
    assert own.images.list() == ()


def test_prune_from_the_command_line(own: Engine, shown: Shown) -> None:
    add(own, "hello:1", big("a", 3_000_000))
    assert shown("image", "prune", "-f")[0] == ["Total reclaimed space: 0B"]
    assert shown("image", "prune", "-f", "--keep-storage", "1g")[0] == ["Total reclaimed space: 0B"]
    assert shown("image", "prune", "-f", "--keep-storage", "1MB")[0][-1] == "Total reclaimed space: 6.01MB"
    assert "must be bytes" in shown("image", "prune", "-f", "--keep-storage", "x", status=1)[1][0]
    assert "invalid filter `foo`" in shown("image", "prune", "-f", "--filter", "foo=bar", status=1)[1][0]
    add(own, "hello:1", layer())
    assert shown("system", "prune", "-f")[0] == ["Total reclaimed space: 0B"]
    assert "untagged: hello:1" in shown("system", "prune", "-fa")[0]


def test_system_df_counts_layers_once_and_what_is_kept_of_them(own: Engine, shown: Shown) -> None:
    add(own, "one:1", big("s"), big("a"))
    add(own, "two:1", big("s"), big("b"))
    usage = own.images.usage()
    assert usage.layers == 150_000
    assert usage.blobs == 3 * len(big("a"))
    assert sum(one.unique for one in usage.images) + 50_000 == usage.layers
    assert {(one.shared, one.unique) for one in usage.images} == {(50_000, 50_000)}
    on_disk = sum(
        os.path.getsize(f"{directory}/{name}")
        for directory, _, names in os.walk(own._paths.root)
        for name in names
        if "/layers" in directory or "/blobs" in directory
    )
    assert own.disk_usage().images.size == on_disk == usage.layers + usage.blobs
    header, images, *others = shown("system", "df")[0]
    assert header.split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert images.split() == ["Images", "2", "0", "334kB", "334kB", "(100%)"]
    assert [row.split()[-1] for row in others] == ["0B", "0B", "0B"]
    assert shown("system", "df", "--format", "{{.Type}}={{.TotalCount}}")[0][0] == "Images=2"
    assert json.loads(shown("system", "df", "--format", "json")[0][0])["Size"] == "334kB"
    verbose = shown("system", "df", "-v")[0]
    assert [row.split()[0] for row in verbose[3:5]] == ["one", "two"] or verbose[3].split()[0] == "two"
    assert "50kB" in verbose[3]
    document = json.loads(shown("system", "df", "-v", "--format", "json")[0][0])
    assert {one["Repository"] for one in document["Images"]} == {"one", "two"}


def test_containers_are_counted_by_what_they_wrote(own: Engine, shown: Shown, busybox_layer: bytes) -> None:
    own.images.import_(io.BytesIO(busybox_layer), "busybox")
    own.run_foreground("busybox", ["sh", "-c", "head -c 70000 /dev/zero > /file; ln /file /other"])
    containers = own.disk_usage().containers
    assert (containers.total, containers.active, containers.size) == (1, 0, 70_000)
    assert containers.reclaimable == 70_000
    assert "70kB" in "".join(shown("system", "df", "-v")[0])


def test_configuration_of_the_tests_is_what_it_says() -> None:
    assert json.loads(configuration([layer()]))["rootfs"]["diff_ids"] == [digest(layer())]


def test_manifest_inspect_refuses_what_pull_refuses(shown: Shown) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        for name, reason in (("empty", "neither an image manifest nor an index"), ("old", "schema 1")):
            for words in (["manifest", "inspect"], ["pull"]):
                _, err = shown(*words, f"{host}/{name}", status=1)
                assert reason in "".join(err)
        server.shutdown()
