"""`images`: which ones, by docker's filters, and how they are shown."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_archives import digest, docker_files, layer, tar
from pycontain import Engine, ImageNotFound, InvalidOption
from pycontain.images.filters import moment, pattern
from pycontain.images.reference import Reference, parse
from pycontain.images.stage import NewImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pycontain.images import Images

    Run = Callable[..., int]

DIGEST = "sha256:" + "d" * 64


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Images]:
    """Three images, a day apart; the youngest has no tag."""
    pytest.importorskip("pycontain._core", reason="the Rust core is not built")
    monkeypatch.setenv("PYCONTAIN_ROOT", str(tmp_path / "root"))
    monkeypatch.setattr("pycontain.engine._default", None)
    with Engine(tmp_path / "root") as engine:
        for number, (names, labels) in enumerate(
            [
                (["alpine:3.20", "alpine:latest", "registry.lan/team/app:1"], {"tier": "base"}),
                (["shop:2"], {"tier": "front", "beta": ""}),
                ([], {"tier": "front"}),
            ]
        ):
            archive = tmp_path / "image.tar"
            made = f"2026-01-0{number + 1}T00:00:00Z"
            files = docker_files([layer()], *names, created=made, config={"Labels": labels})
            archive.write_bytes(tar(files))
            engine.images.load(archive)
        store = engine.images._store
        with store.stage() as stage:
            assert stage.claim(digest(layer()))
            data = bytes(store.configuration("shop:2"))
            keys = [f"docker.io/library/shop@{DIGEST}", f"other.lan/x@{DIGEST}"]
            stage.commit([NewImage(data, [digest(layer())], keys)])
        yield engine.images


def chosen(images: Images, *name: str, **filters: object) -> list[str]:
    """The first names of what is listed."""
    return [image.tags[0] if image.tags else "" for image in images.list(*name, **filters)]  # type: ignore[arg-type]


def test_all_are_listed_the_newest_first(images: Images) -> None:
    assert chosen(images) == ["", "shop:2", "alpine:3.20"]
    assert [one.id for one in images.summaries()] == [image.id for image in images.list()]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"dangling": True}, [""]),
        ({"dangling": False}, ["shop:2", "alpine:3.20"]),
        ({"label": ["tier"]}, ["", "shop:2", "alpine:3.20"]),
        ({"label": "tier=front"}, ["", "shop:2"]),
        ({"label": ["tier=front", "beta"]}, ["shop:2"]),
        ({"label": ["tier=fro"]}, []),
        ({"without_label": "beta"}, ["", "alpine:3.20"]),
        ({"before": "shop:2"}, ["alpine:3.20"]),
        ({"since": "alpine"}, ["", "shop:2"]),
        ({"since": "alpine", "dangling": False}, ["shop:2"]),
        ({"until": "2026-01-02T12:00:00Z"}, ["shop:2", "alpine:3.20"]),
        ({"until": "1h"}, ["", "shop:2", "alpine:3.20"]),
        ({"reference": "alpine"}, ["alpine:3.20"]),
        ({"reference": ["sh*", "alpine:*"]}, ["shop:2", "alpine:3.20"]),
        ({"reference": ["*"]}, ["shop:2", "alpine:3.20"]),
        ({"reference": ["registry.lan/*/app"]}, ["alpine:3.20"]),
        ({"reference": ["registry.lan/*"]}, []),
        ({"reference": ["docker.io/library/shop"]}, ["shop:2"]),
        ({"reference": ["sho[a-p]:[^1]"]}, ["shop:2"]),
    ],
)
def test_filters_choose_as_dockers_do(
    images: Images, filters: dict[str, object], expected: list[str]
) -> None:
    assert chosen(images, **filters) == expected


def test_image_that_only_a_digest_names_is_dangling_and_has_a_name(images: Images) -> None:
    images.tag("alpine", "shop:2")
    assert images.get(f"shop@{DIGEST}").tags == ()
    assert len(images.list(dangling=True)) == len(images.list(dangling=False)) == 2


def test_name_is_a_pattern_too(images: Images) -> None:
    assert chosen(images, "alpine:3.?0") == ["alpine:3.20"]
    assert chosen(images, "missing") == []


def test_before_may_be_an_id(images: Images) -> None:
    middle = images.get("shop:2").id
    assert chosen(images, before=middle) == chosen(images, before=middle[7:19]) == ["alpine:3.20"]


def test_bad_filters_are_refused(images: Images) -> None:
    with pytest.raises(ImageNotFound):
        images.list(before="nosuch")
    with pytest.raises(InvalidOption, match="time or duration"):
        images.list(until="yesterday")
    for text in ("[", "[]", "a[b", "\\", "[b-a]", "[-]"):
        with pytest.raises(InvalidOption, match="syntax error in pattern"):
            images.list(reference=[text])
    with pytest.raises(InvalidOption, match="unknown filter `labels`"):
        images.list(labels=["tier"])  # type: ignore[call-arg]
    with pytest.raises(InvalidOption, match="takes a text, or several"):
        images.list(label=True)  # type: ignore[arg-type]


@pytest.fixture
def shown(images: Images, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """The lines that `pycontain images` prints."""
    from pycontain.cli import main

    def run(*words: str, status: int = 0) -> list[str]:
        capsys.readouterr()
        assert main(list(words)) == status
        captured = capsys.readouterr()
        return (captured.err if status else captured.out).splitlines()

    return run


def test_table_is_dockers(shown: Callable[..., list[str]]) -> None:
    header, *rows = shown("images")
    assert header.split("  ")[0] == "REPOSITORY"
    assert [row.split()[:2] for row in rows] == [
        ["<none>", "<none>"],
        ["shop", "2"],
        ["other.lan/x", "<none>"],
        ["alpine", "3.20"],
        ["alpine", "latest"],
        ["registry.lan/team/app", "1"],
    ]
    assert shown("image", "ls") == [header, *rows]
    assert header.index("TAG") == rows[-1].index("1  ")


def test_digests_have_rows_of_their_own(shown: Callable[..., list[str]]) -> None:
    header, *rows = shown("images", "--digests", "shop")
    assert header.split()[:3] == ["REPOSITORY", "TAG", "DIGEST"]
    assert [row.split()[:3] for row in rows] == [["shop", "2", DIGEST]]
    assert shown("images", "--format", "{{.Tag}} {{.Digest}}", "alpine:latest") == ["latest <none>"]


def test_formats(shown: Callable[..., list[str]]) -> None:
    assert shown("images", "--format", "{{.Repository}}:{{.Tag}}", "shop") == ["shop:2"]
    assert shown("images", "--format", r"table {{.Tag}}\t{{.Size | lower}}", "shop") == [
        "TAG       SIZE",
        "2         6b",
    ]
    assert shown("images", "--format", "table {{.ID}} {{json .Tag}}", "shop")[0] == "IMAGE ID TAG"
    document = json.loads(shown("images", "--format", "json", "shop")[0])
    assert document["Repository"] == "shop"
    assert document["CreatedAt"].startswith("2026-01-02 ")
    assert set(document) >= {"ID", "Digest", "CreatedSince", "Size", "Tag", "Containers", "UniqueSize"}
    assert shown("images", "-q", "--format", "{{.Tag}}", "shop") == ["2"]
    assert len(shown("images", "-q")) == 6


def test_mistakes_have_dockers_status(shown: Callable[..., list[str]]) -> None:
    assert shown("images", "--format", "{{.Foo}}", status=1) == [
        'pycontain: template parsing error: template: :1:2: executing "" at <.Foo>:'
        " can't evaluate field Foo in type *formatter.imageContext"
    ]
    assert "unclosed action" in shown("images", "--format", "{{.ID", status=1)[0]
    assert "invalid filter `foo`" in shown("images", "-f", "foo=bar", status=1)[0]
    assert "must be true or false" in shown("images", "-f", "dangling=x", status=1)[0]
    assert "bad format of filter" in shown("images", "-f", "dangling", status=125)[0]
    assert "no such image" in shown("images", "-f", "since=nosuch", status=1)[0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h", 6400.0),
        ("1h30m", 4600.0),
        ("10", 10.0),
        ("1.5s", 9998.5),
        (7, 7.0),
        ("1970-01-01T01:00:00Z", 3600),
    ],
)
def test_moments(text: str | float, seconds: float) -> None:
    assert moment(text, 10000.0) == seconds


@given(st.text(max_size=20))
def test_any_moment_and_pattern_is_understood_or_refused(text: str) -> None:
    for read in (lambda: moment(text, time.time()), lambda: pattern(text).fullmatch(text)):
        with contextlib.suppress(InvalidOption):
            read()


@given(
    st.sampled_from(
        ["a", "registry.lan:5000/a/b", "docker.io/library/a:1", f"a@{DIGEST}", f"localhost/x@{DIGEST}"]
    )
)
def test_reference_of_a_key_is_the_parsed_one(text: str) -> None:
    key = parse(text).key
    assert Reference.of_key(key) == parse(key)


def test_configuration_that_says_nothing_is_listed(images: Images, tmp_path: Path) -> None:
    config = {"rootfs": {"type": "layers", "diff_ids": [digest(layer())]}}
    name = digest(json.dumps(config).encode())[7:] + ".json"
    manifest = [{"Config": name, "Layers": ["l/layer.tar"], "RepoTags": ["bare:1"]}]
    archive = tmp_path / "bare.tar"
    archive.write_bytes(
        tar(
            {
                "l/layer.tar": layer(),
                name: json.dumps(config).encode(),
                "manifest.json": json.dumps(manifest).encode(),
            }
        )
    )
    images.load(archive)
    (bare,) = images.summaries(reference=["bare"])
    assert bare.created is None
    assert bare.labels == {}
