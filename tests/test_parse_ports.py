"""Docker's grammar of published ports, and that of the API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from configurations import Image, annotation, document
from hypothesis import given
from hypothesis import strategies as st
from pycontain import InvalidOption
from pycontain.runtime.ports import PublishedPort, exposed, published


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [PublishedPort(80)]),
        ("8080:80", [PublishedPort(80, first=8080)]),
        ("8080:80/udp", [PublishedPort(80, "udp", first=8080)]),
        ("0:80/SCTP", [PublishedPort(80, "sctp")]),
        ("127.0.0.1:8080:80", [PublishedPort(80, address="127.0.0.1", first=8080)]),
        ("127.0.0.1::80", [PublishedPort(80, address="127.0.0.1")]),
        ("0.0.0.0:8080:80", [PublishedPort(80, first=8080)]),
        ("[::1]:8080:80", [PublishedPort(80, address="::1", first=8080)]),
        ("[::]::80", [PublishedPort(80, address="::")]),
        ("8000-8001:80-81", [PublishedPort(80, first=8000), PublishedPort(81, first=8001)]),
        ("8000-8009:80", [PublishedPort(80, first=8000, last=8009)]),
        ("80-81", [PublishedPort(80), PublishedPort(81)]),
    ],
)
def test_texts(text: str, expected: list[PublishedPort]) -> None:
    assert published([text]) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({80: 8080}, [PublishedPort(80, first=8080)]),
        ({5432: 0, 53: None}, [PublishedPort(5432), PublishedPort(53)]),
        ({"53/udp": 53}, [PublishedPort(53, "udp", first=53)]),
        ({80: ("127.0.0.1", 8080)}, [PublishedPort(80, address="127.0.0.1", first=8080)]),
        ({80: [8080, 8081]}, [PublishedPort(80, first=8080), PublishedPort(80, first=8081)]),
        ([80, "80"], [PublishedPort(80)]),
        ({}, []),
    ],
)
def test_values(value: Any, expected: list[PublishedPort]) -> None:
    assert published(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "80",
        80,
        None,
        [""],
        [":"],
        ["80:"],
        ["80/icmp"],
        ["80/"],
        ["0"],
        ["65536"],
        ["80-79"],
        ["8000-8002:80-81"],
        ["1.2.3:80:80"],
        ["::1:80:80"],
        ["[::1]:80:80:80"],
        ["[::1]80"],
        ["a:80"],
        ["８0"],
        ["-1:80"],
        ["0-5:80"],
        [None],
        [True],
        [1.5],
        {"x": 1},
        {80: "x"},
        {80: 70000},
        {80: ("a", 1)},
        {80: (1, 1)},
        {80: True},
        {"80-81": 1},
        {True: 1},
    ],
)
def test_what_is_none_is_refused(value: Any) -> None:
    with pytest.raises(InvalidOption, match="ports"):
        published(value)


@given(st.text(alphabet="0123456789:-/[]abctdpu.", max_size=30))
def test_any_text_is_ports_or_refused(text: str) -> None:
    try:
        found = published([text])
    except InvalidOption:
        return
    assert found
    for port in found:
        assert 1 <= port.container <= 65535
        assert 0 <= port.first <= port.last <= 65535


def test_exposed_ports_are_numbers_with_protocols() -> None:
    assert exposed(["80", "53/udp", "8000-8001/tcp", 80]) == [
        (80, "tcp"),
        (53, "udp"),
        (8000, "tcp"),
        (8001, "tcp"),
    ]
    for wrong in (["80/x"], ["80:80"], ["9-8"], ["0"], [True], [None], "80", 80):
        with pytest.raises(InvalidOption, match="expose"):
            exposed(wrong)  # type: ignore[arg-type]


class Serving(Image):
    exposed_ports = ("80/tcp", "53/udp")


def of_a_start(**options: Any) -> list[PublishedPort]:
    config = document(image=Serving(), network="bridge", **options)
    return [PublishedPort(*port) for port in json.loads(annotation(config, "join"))["ports"]]


def test_all_that_is_exposed_is_published_once() -> None:
    assert of_a_start(expose=["90"]) == []
    assert of_a_start(publish_all=True) == [PublishedPort(80), PublishedPort(53, "udp")]
    assert of_a_start(publish_all=True, ports=["8080:80"], expose=["90-91", 80, "53"]) == [
        PublishedPort(80, first=8080),
        PublishedPort(53, "udp"),
        PublishedPort(90),
        PublishedPort(91),
        PublishedPort(53),
    ]
    with pytest.raises(InvalidOption, match="`publish_all` has no meaning with `network=none`"):
        document(publish_all=True)
    with pytest.raises(InvalidOption, match="for `expose`"):
        document(expose=["x"])
