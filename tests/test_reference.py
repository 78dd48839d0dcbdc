"""Names of images are read as docker reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycontain.errors import InvalidOption
from pycontain.images.reference import Reference, id_prefix, is_digest, parse, parse_tag

HEX = "0123456789abcdef"
DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "domain", "path", "tag", "digest", "familiar"),
    [
        ("alpine", "docker.io", "library/alpine", None, None, "alpine"),
        ("alpine:3.20", "docker.io", "library/alpine", "3.20", None, "alpine:3.20"),
        ("docker.io/alpine", "docker.io", "library/alpine", None, None, "alpine"),
        ("index.docker.io/library/alpine", "docker.io", "library/alpine", None, None, "alpine"),
        ("index.docker.io/alpine", "docker.io", "library/alpine", None, None, "alpine"),
        ("docker.io", "docker.io", "library/docker.io", None, None, "docker.io"),
        ("someone/thing", "docker.io", "someone/thing", None, None, "someone/thing"),
        ("library/a/b", "docker.io", "library/a/b", None, None, "library/a/b"),
        ("localhost/x", "localhost", "x", None, None, "localhost/x"),
        ("localhost:5000/x:y", "localhost:5000", "x", "y", None, "localhost:5000/x:y"),
        ("localhost:5000", "docker.io", "library/localhost", "5000", None, "localhost:5000"),
        ("[::1]:5000/x", "[::1]:5000", "x", None, None, "[::1]:5000/x"),
        ("Registry/x", "Registry", "x", None, None, "Registry/x"),
        ("ghcr.io/a/b/c:d", "ghcr.io", "a/b/c", "d", None, "ghcr.io/a/b/c:d"),
        (f"x@{DIGEST}", "docker.io", "library/x", None, DIGEST, f"x@{DIGEST}"),
        (f"r.example/x:t@{DIGEST}", "r.example", "x", "t", DIGEST, f"r.example/x:t@{DIGEST}"),
        ("a__b/c-d--e.f", "docker.io", "a__b/c-d--e.f", None, None, "a__b/c-d--e.f"),
        ("sha256:abc", "docker.io", "library/sha256", "abc", None, "sha256:abc"),
        ("x:" + "t" * 128, "docker.io", "library/x", "t" * 128, None, "x:" + "t" * 128),
        ("a" * 247, "docker.io", "library/" + "a" * 247, None, None, "a" * 247),
    ],
)
def test_reference_is_split_as_docker_splits_it(
    text: str, domain: str, path: str, tag: str | None, digest: str | None, familiar: str
) -> None:
    reference = parse(text)
    assert reference == Reference(domain, path, tag, digest)
    assert reference.familiar == familiar


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid reference format"),
        ("Alpine", "invalid reference format: repository name (library/Alpine) must be lowercase"),
        ("someone/Thing:x", "repository name (someone/Thing) must be lowercase"),
        ("a" * 248, "repository name must not be more than 255 characters"),
        ("a" * 5000, "longer than"),
        ("ab" * 32, "cannot specify 64-byte hexadecimal strings"),
        ("x:" + "t" * 129, "invalid reference format"),
        ("x:-t", "invalid reference format"),
        ("x:", "invalid reference format"),
        ("x@", "invalid reference format"),
        ("x@sha256:abc", "invalid reference format"),
        ("x@sha256:" + "a" * 63, "invalid checksum digest length"),
        ("x@sha256:" + "A" * 64, "invalid checksum digest format"),
        ("x@md5:" + "a" * 32, "unsupported digest algorithm"),
        ("-x", "invalid reference format"),
        ("x-", "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a/", "invalid reference format"),
        ("/a", "invalid reference format"),
        ("-host.example/x", "invalid reference format"),
        ("foo_bar.example/x", "invalid reference format"),
        ("host.example:port/x", "invalid reference format"),
        ("x\n", "invalid reference format"),
        ("x y", "invalid reference format"),
        ("x:tág", "invalid reference format"),
    ],
)
def test_what_is_no_reference_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        parse(text)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("host.example:5/Team/App:V1", "did you mean `host.example:5/team/app:V1`?"),
        ("Alpine", "did you mean `alpine`?"),
        ("Bad:tag:x", None),
    ],
)
def test_a_name_in_lower_case_is_suggested_where_that_is_one(text: str, hint: str | None) -> None:
    with pytest.raises(InvalidOption) as refused:
        parse(text)
    assert refused.value.hint == hint


def test_digest_wins_over_tag_and_latest_stands_for_neither() -> None:
    assert parse("x").key == "docker.io/library/x:latest"
    assert parse("x:t").key == "docker.io/library/x:t"
    assert parse(f"x:t@{DIGEST}").key == f"docker.io/library/x@{DIGEST}"
    assert parse("x").with_default_tag().familiar == "x:latest"
    assert parse(f"x@{DIGEST}").with_default_tag().tag is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"x@{DIGEST}", f"cannot tag as `x@{DIGEST}`: a name with a digest is given by its registry"),
        (DIGEST, "refusing to create an ambiguous tag using digest algorithm as name"),
        ("docker.io/sha256:latest", "refusing to create an ambiguous tag"),
        ("host", "cannot tag as `host`: that is this machine's own image"),
        ("docker.io/library/host:latest", "that is this machine's own image"),
    ],
)
def test_name_that_stands_for_something_else_is_not_given(text: str, reason: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        parse_tag(text, "tag")
    assert reason in str(refused.value)


def test_names_that_only_look_alike_are_given() -> None:
    for text in ("host:1", "someone/host", "someone/sha256:1", "localhost/sha256"):
        assert parse_tag(text, "tag") == parse(text)


def test_ids_and_their_prefixes_are_recognised() -> None:
    assert id_prefix("c0ffee") == "sha256:c0ffee"
    assert id_prefix("sha256:c0") == "sha256:c0"
    assert id_prefix(DIGEST) == DIGEST
    for text in ("", "sha256:", "coffee", "C0FFEE", "a" * 65, "a b"):
        assert id_prefix(text) is None
    assert is_digest(DIGEST)
    assert not is_digest(DIGEST[:-1])
    assert not is_digest(DIGEST.upper())


component = st.from_regex(r"\A[a-z0-9]{1,4}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,4}){0,2}\Z")
domain = st.from_regex(r"\A[a-zA-Z0-9]{1,4}(?:-[a-z]{1,3})?(?:\.[a-z0-9]{1,4}){1,2}(?::[0-9]{1,5})?\Z")
tag = st.from_regex(r"\A[0-9A-Za-z_][0-9A-Za-z_.-]{0,20}\Z")
digest = st.text(HEX, min_size=64, max_size=64).map("sha256:".__add__)


@given(domain, st.lists(component, min_size=1, max_size=4), st.none() | tag, st.none() | digest)
def test_what_the_grammar_makes_is_read_back(
    domain: str, components: list[str], tag: str | None, digest: str | None
) -> None:
    text = domain + "/" + "/".join(components)
    text += f":{tag}" if tag else ""
    text += f"@{digest}" if digest else ""
    reference = parse(text)
    assert str(reference) == text
    assert (reference.tag, reference.digest) == (tag, digest)


@given(st.text(alphabet=st.sampled_from("aA0.-_:/@[] \n\u0131ß" + HEX), max_size=90))
def test_any_text_is_read_the_same_from_each_of_its_forms_or_refused(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidOption:
        return
    assert parse(str(reference)) == reference
    assert parse(reference.familiar) == reference
    assert len(reference.path) <= 255


@given(component.filter(lambda text: len(text) < 64), tag)
def test_familiar_names_belong_to_the_official_library(name: str, tag: str) -> None:
    reference = parse(f"{name}:{tag}")
    assert (reference.domain, reference.path) == ("docker.io", f"library/{name}")
    assert reference.familiar == f"{name}:{tag}"
