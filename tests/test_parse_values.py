"""Docker's grammars of single values: what is understood, and what is refused with what is allowed."""

from __future__ import annotations

import contextlib
import datetime
import os
import pickle
import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycontain import InvalidOption, RootFilesystem, Usage
from pycontain.runtime import environment, sizes
from pycontain.runtime.host import Host

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


# --- sizes, durations, processors, signals


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (0, 0),
        (512, 512),
        ("0", 0),
        ("512", 512),
        ("512b", 512),
        ("1k", KIB),
        ("512m", 512 * MIB),
        ("512M", 512 * MIB),
        ("10kb", 10 * KIB),
        ("10KiB", 10 * KIB),
        ("1 gb", GIB),
        ("1.5g", GIB + GIB // 2),
        (".5g", GIB // 2),
        ("1.g", GIB),
        ("0.5", 0),
        ("2t", 2 << 40),
        ("1p", 1 << 50),
    ],
)
def test_sizes_are_powers_of_1024(text: int | str, number: int) -> None:
    assert sizes.size("memory", text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "m",
        ".",
        ".m",
        "-1",
        " 1",
        "1  k",
        "1x",
        "1ib",
        "1bb",
        "1kk",
        "1.5.2g",
        "0x10",
        "9e",
        "9000000p",
        "١",
        *(-1, 1 << 63, 1.5, True, None),
    ],
)
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(InvalidOption, match="`memory`"):
        sizes.size("memory", text)  # type: ignore[arg-type]


@given(st.integers(0, (1 << 63) - 1))
def test_every_number_of_bytes_is_its_own_size(number: int) -> None:
    assert sizes.size("memory", number) == sizes.size("memory", str(number)) == number


@given(st.integers(0, 8000), st.sampled_from("kmgtp"), st.sampled_from(["", "b", "ib", "B", "iB"]))
def test_the_spelling_of_a_unit_does_not_matter(number: int, unit: str, tail: str) -> None:
    expected = number * 1024 ** ("kmgtp".index(unit) + 1)
    assert sizes.size("memory", f"{number}{unit}{tail}") == expected
    assert sizes.size("memory", f"{number} {unit.upper()}{tail}") == expected


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_an_invalid_option(text: str) -> None:
    with contextlib.suppress(InvalidOption):
        assert 0 <= sizes.size("memory", text) < 1 << 63


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (10, 10.0),
        (0.25, 0.25),
        ("10", 10.0),
        ("10s", 10.0),
        ("1m30s", 90.0),
        ("1.5h", 5400.0),
        ("300ms", 0.3),
        (datetime.timedelta(minutes=2), 120.0),
    ],
)
def test_durations(value: float | str | datetime.timedelta, seconds: float) -> None:
    assert sizes.seconds("stop_timeout", value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "s", "10 s", "1x", "1.2.3s", "-1s", -1, True, "1s2", datetime.timedelta(-1)]
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match="stop_timeout"):
        sizes.seconds("stop_timeout", value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (float("inf"), None),
        (1e30, None),
        (10**400, None),
        (datetime.timedelta.max, None),
        ("99999h99999h99999h99999h", None),
        (0, 0),
        (-1, 0),
        (float("-inf"), 0),
        (datetime.timedelta(days=-1), 0),
        (1.5, 1.5),
        ("5s", 5),
        (datetime.timedelta(minutes=1), 60),
    ],
)
def test_limits_of_time(value: float | str | datetime.timedelta | None, seconds: float | None) -> None:
    assert sizes.limit("timeout", value) == seconds


@pytest.mark.parametrize("value", [float("nan"), "", "soon", "inf", True, [], b"5s"])
def test_what_is_no_limit_of_time_is_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match="timeout"):
        sizes.limit("timeout", value)  # type: ignore[arg-type]


def test_a_stop_may_wait_for_ever() -> None:
    for value in (-1, "-1", float("inf"), 10**30):
        assert sizes.patience("timeout", value) == float("inf")
    assert sizes.patience("timeout", "5s") == 5
    wrong: tuple[Any, ...] = (-2, float("nan"), [], "-5s")
    for value in wrong:
        with pytest.raises(InvalidOption, match="timeout"):
            sizes.patience("timeout", value)


@pytest.mark.parametrize(
    ("value", "billionths"),
    [
        (1, 10**9),
        (1.5, 1_500_000_000),
        ("0.25", 250_000_000),
        (".5", 500_000_000),
        ("2.", 2 * 10**9),
        ("1/2", 5 * 10**8),
    ],
)
def test_processors_are_counted_in_billionths(value: float | str, billionths: int) -> None:
    assert sizes.cpus(value) == billionths


@pytest.mark.parametrize(
    "value", ["", ".", "x", "-1", "1/3", "1/0", " 1", float("nan"), "0.0000000001", "1.2.3", True]
)
def test_what_is_no_number_of_processors_is_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match="cpus"):
        sizes.cpus(value)  # type: ignore[arg-type]


def test_lists_of_processors() -> None:
    assert sizes.ranges("cpuset_cpus", "0") == [(0, 0)]
    assert sizes.ranges("cpuset_cpus", "0-1, 4,6-7") == [(0, 1), (4, 4), (6, 7)]


@pytest.mark.parametrize("value", ["", "a", "3-1", "0-", "-1", "0,,1", "0-1-2"])
def test_bad_lists_of_processors_are_refused(value: str) -> None:
    with pytest.raises(InvalidOption, match="cpuset_cpus"):
        sizes.ranges("cpuset_cpus", value)


@pytest.mark.parametrize("known", list(signal.Signals))
def test_signals_have_the_numbers_of_this_system(known: signal.Signals) -> None:
    spellings: list[str | int] = [
        known.name,
        known.name.lower(),
        known.name.removeprefix("SIG"),
        str(int(known)),
        int(known),
    ]
    assert {sizes.signal_number("stop_signal", spelling) for spelling in spellings} == {int(known)}


def test_real_time_signals_count_from_either_end() -> None:
    assert sizes.signal_number("stop_signal", "SIGRTMIN+3") == signal.SIGRTMIN + 3
    assert sizes.signal_number("stop_signal", "RTMAX-2") == signal.SIGRTMAX - 2


@pytest.mark.parametrize("value", ["", "SIGNOPE", "0", "65", -1, "RTMIN-1", "RTMIN+31", "RTMAX+1"])
def test_unknown_signals_are_refused(value: str | int) -> None:
    with pytest.raises(InvalidOption, match="stop_signal"):
        sizes.signal_number("stop_signal", value)


# --- environment and labels


def test_a_variable_without_a_value_comes_from_the_caller() -> None:
    found = environment.variables("env", ["A=1", "B", "C", "D=x=y", "E="], {"B": "2"})
    assert found == {"A": "1", "B": "2", "C": None, "D": "x=y", "E": ""}
    assert environment.variables("env", {"A": "1", "B": None, "C": None}, {"B": "2"}) == {
        "A": "1",
        "B": "2",
        "C": None,
    }


@pytest.mark.parametrize("value", [["=x"], [""], "A=1", ["A=\0"], {"A": 1}, {"A=B": "c"}, [1], 5])
def test_bad_variables_are_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match="env"):
        environment.variables("env", value, {})  # type: ignore[arg-type]


def test_env_files_have_comments_and_keep_their_values_as_they_stand() -> None:
    text = "\ufeff# comment\n\n  A=1 # no comment\r\nB='quoted'\n\tC\nD=\n"
    assert environment.file_lines("env_file", "f", text) == ["A=1 # no comment", "B='quoted'", "C", "D="]


@pytest.mark.parametrize("text", ["=1\n", "A B=1\n", "A =1\n"])
def test_bad_env_files_are_refused_by_line(text: str) -> None:
    with pytest.raises(InvalidOption, match=r"f:2"):
        environment.file_lines("env_file", "f", "X=1\n" + text)


def test_a_label_without_a_value_is_empty() -> None:
    assert environment.labels("labels", ["a=b=c", "d"]) == {"a": "b=c", "d": ""}
    assert environment.labels("labels", {"a": "b"}) == {"a": "b"}
    with pytest.raises(InvalidOption, match="labels"):
        environment.labels("labels", ["=x"])


# --- values


def test_values_are_frozen_and_compare_by_content() -> None:
    usage = Usage(0.021, 9_437_184)
    assert usage == Usage(cpu=0.021, memory_peak=9_437_184)
    assert usage != Usage()
    assert hash(usage) == hash(Usage(0.021, 9_437_184))
    assert repr(usage) == "Usage(cpu=0.021 s, memory_peak=9_437_184 B)"
    assert pickle.loads(pickle.dumps(usage)) == usage
    with pytest.raises(AttributeError, match="frozen"):
        usage.cpu = 1.0
    with pytest.raises(AttributeError, match="frozen"):
        del usage.cpu


def test_a_root_has_either_layers_or_a_directory() -> None:
    with pytest.raises(ValueError, match="either"):
        RootFilesystem()
    with pytest.raises(ValueError, match="either"):
        RootFilesystem(["/a"], directory="/b")


def test_this_host_knows_its_devices() -> None:
    (null,) = Host().devices("devices", "/dev/null")
    assert (null.type, null.major, null.minor) == ("c", 1, 3)
    assert null.mode == os.stat("/dev/null").st_mode & 0o777
