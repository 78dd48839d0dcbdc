"""Images out of one tar of a file system, with instructions for their configuration."""

from __future__ import annotations

import functools
import gzip
import io
import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from image_archives import digest, layer, nothing_left
from pycontain.errors import ImageInvalid, ImageNotFound, InvalidOption
from pycontain.images import changes
from pycontain.images.config import Healthcheck
from pycontain.images.importing import import_file_system

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from containers import Cli
    from pycontain.images.store import Store
    from pycontain.paths import Paths


class BrokenHandler(BaseHTTPRequestHandler):
    """Breaks off within a chunk, or does not speak HTTP at all."""

    def do_GET(self) -> None:
        if self.path == "/chunked":
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n" + layer()[:1000]
            )
        else:
            self.wfile.write(b"SSH-2.0-\x1b[2J\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize("source", ["path", "pipe", "bytes"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_import_makes_an_image_of_one_layer(
    store: Store, tmp_path: Path, compress: Callable[[bytes], bytes], source: str
) -> None:
    path = tmp_path / "root.tar"
    path.write_bytes(compress(layer()))
    changes = [
        'CMD ["sh", "-c", "x"]',
        "ENTRYPOINT run me",
        "ENV A=1 B='2 3'",
        "ENV C 4 5",
        "WORKDIR /srv",
        "WORKDIR data",
        "USER 1000:1000",
        "EXPOSE 80 53/udp 100-101",
        'VOLUME ["/a b"]',
        "VOLUME /c /d",
        "LABEL a=b",
        "STOPSIGNAL SIGINT",
        "HEALTHCHECK --interval=1m30s  --start-interval=500ms --retries=2 CMD ask me",
        "ONBUILD RUN make",
    ]
    if source == "path":
        image = import_file_system(store, path, "hello", changes=changes, message="why")
    elif source == "pipe":
        with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
            assert cat.stdout
            image = import_file_system(store, cat.stdout, "hello", changes=changes, message="why")
    else:
        image = import_file_system(
            store, io.BytesIO(path.read_bytes()), "hello", changes=changes, message="why"
        )
    assert store.resolve("hello") == image
    assert image.diff_ids == (digest(layer()),)
    config = image.config
    assert config.cmd == ("sh", "-c", "x")
    assert config.entrypoint == ("/bin/sh", "-c", "run me")
    assert config.env == ("A=1", "B=2 3", "C=4 5")
    assert (config.workdir, config.user, config.stop_signal) == ("/srv/data", "1000:1000", "SIGINT")
    assert config.exposed_ports == ("80/tcp", "53/udp", "100/tcp", "101/tcp")
    assert config.volumes == ("/a b", "/c", "/d")
    assert config.labels == {"a": "b"}
    assert config.healthcheck == Healthcheck(
        ["CMD-SHELL", "ask me"], interval=90, retries=2, start_interval=0.5
    )
    assert json.loads(store.configuration(image.id))["config"]["OnBuild"] == ["RUN make"]
    assert store.history(image.id)[0].comment == "why"


@pytest.mark.parametrize(
    "change",
    [
        *("", "RUN x", "CMD", "EXPOSE x", "EXPOSE 0", "EXPOSE 80/x", "EXPOSE 70000", "ENV A", "ENV ='"),
        *("HEALTHCHECK CMD", "HEALTHCHECK x", "HEALTHCHECK --interval=x CMD y", "HEALTHCHECK --z=1 CMD y"),
        *("HEALTHCHECK --retries=2 NONE", "ONBUILD ONBUILD RUN x", "ONBUILD FROM x"),
    ],
)
def test_change_that_is_not_one_is_refused(store: Store, paths: Paths, change: str) -> None:
    with pytest.raises(InvalidOption, match="change"):
        import_file_system(store, io.BytesIO(layer()), changes=[change])
    assert not os.path.exists(paths.layers)


def test_an_entrypoint_takes_the_command_along_that_belonged_to_the_one_before() -> None:
    for instructions, command in (([], None), (['CMD ["b"]'], ["b"])):
        config = {"Cmd": ["a"]}
        changes.apply(config, [*instructions, 'ENTRYPOINT ["run"]'])
        assert config == {"Cmd": command, "Entrypoint": ["run"]}


def test_import_of_what_is_no_tar_leaves_nothing(store: Store, paths: Paths) -> None:
    with pytest.raises(ImageInvalid):
        import_file_system(store, io.BytesIO(b"not a tar" * 1000), "hello")
    assert nothing_left(paths)


@pytest.mark.parametrize("name", ["sha256:" + "0" * 64, "host:latest", "x@sha256:" + "0" * 64])
def test_import_as_what_is_no_name_to_give_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidOption, match="cannot import as"):
        import_file_system(store, io.BytesIO(layer()), name)


def test_import_of_a_missing_file_is_not_found(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound):
        import_file_system(store, tmp_path / "missing")


def test_command_imports_from_a_web_server(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "root.tar.gz").write_bytes(gzip.compress(layer()))
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        imported = cli("import", f"{address}/root.tar.gz", "from-the-web")
        missing = cli("import", f"{address}/missing.tar", "missing")
        server.shutdown()
    assert imported.returncode == 0, imported.stderr
    history = cli("history", "--format", "{{.Comment}}", "from-the-web").stdout.decode()
    assert history == f"Imported from {address}/root.tar.gz\n"
    assert cli("rmi", "from-the-web").returncode == 0
    words = f"pycontain: cannot download `{address}/missing.tar`: file not found\n"
    assert (missing.returncode, missing.stderr.decode()) == (1, words)


def test_download_that_breaks_off_is_told_in_a_line(cli: Cli) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BrokenHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        broken = cli("import", f"{address}/chunked", "broken")
        strange = cli("import", f"{address}/strange", "strange")
        server.shutdown()
    told, hint = broken.stderr.decode().splitlines()
    assert told.startswith(f"pycontain: cannot download `{address}/chunked`: the answer broke off: ")
    assert hint.startswith("hint: ")
    words = f"pycontain: cannot download `{address}/strange`: ssh-2.0-\\x1b[2j\\r\\n\n"
    assert (broken.returncode, strange.returncode, strange.stderr.decode()) == (1, 1, words)


def test_command_imports_what_is_for_another_machine(cli: Cli, tmp_path: Path) -> None:
    archive = tmp_path / "files.tar"
    archive.write_bytes(layer())
    assert cli("import", "--platform", "linux/arm/v7", str(archive), "small:arm").returncode == 0
    shown = cli("image", "inspect", "--format", "{{.Os}}/{{.Architecture}}/{{.Variant}}", "small:arm")
    assert shown.stdout == b"linux/arm/v7\n"
    assert cli("rmi", "small:arm").returncode == 0
    refused = cli("import", "--platform", "nonsense/", str(archive), "small:none")
    assert refused.returncode == 1
    assert b"invalid value `nonsense/` for `--platform`" in refused.stderr
