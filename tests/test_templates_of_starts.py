"""A filled-in configuration is the one that would have been made."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from pycontain import InvalidOption, RootFilesystem, Unsupported
from pycontain.images.config import ImageConfig
from pycontain.runtime.spec import Prepared, config
from pycontain.runtime.template import Templates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

ROOT = RootFilesystem(("/layers/top", "/layers/base"), immutable=True)
IMAGE = ImageConfig(env=("A=1", "PATH=/bin"), cmd=("sh", "-c", "true"), entrypoint=("/enter",), user="daemon")
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "memory": st.sampled_from(["64m", 64 << 20, "1g"]),
    "pids_limit": st.integers(1, 1000),
    "cpus": st.sampled_from([1, "0.5", 0.25]),
    "network": st.sampled_from(["none", "host"]),
    "read_only": st.booleans(),
    "init": st.booleans(),
    "env": st.one_of(
        st.dictionaries(st.sampled_from("XYZ"), st.text("ab0\"'\\é", max_size=4)),
        st.just(["X=1"]),
        st.just(["HOME"]),
    ),
    "hostname": st.sampled_from(["box", "a.b"]),
    "user": st.sampled_from(["root", "7:8", 1000]),
    "workdir": st.sampled_from(["/", "/tmp"]),
    "tmpfs": st.sampled_from([["/run"], {"/run": "size=1m"}]),
    "cap_add": st.just(["SYS_TIME"]),
    "security_opt": st.just(["no-new-privileges"]),
    "entrypoint": st.sampled_from(["", "/other", ["/o", "p"]]),
    "labels": st.just({"a": "b"}),
    "sysctls": st.just({"net.ipv4.ip_forward": "1"}),
    "volumes": st.just(["/data"]),
    "stop_signal": st.sampled_from(["INT", 9]),
    "name": st.sampled_from(["web", "-web"]),
    "remove": st.booleans(),
    "restart": st.sampled_from(["always", "on-failure:3", "never"]),
    "log_driver": st.sampled_from(["none", "json-file", "syslog"]),
}
OPTIONS = st.fixed_dictionaries({}, optional=VALUES)


def both(
    templates: Templates, args: Sequence[str], options: dict[str, Any], scratch: str | None = "/e"
) -> Prepared | str:
    """What both ways make, or say is wrong, which is the same."""
    id = os.urandom(32).hex()
    place: dict[str, Any] = {"id": id, "directory": f"/e/{id}", "scratch": scratch}

    def outcome(make: Callable[..., Prepared]) -> Prepared | str:
        try:
            return make(args, options, IMAGE, ROOT, **place)
        except (InvalidOption, Unsupported) as error:
            return str(error)

    made = outcome(templates.config)
    assert made == outcome(config)
    if isinstance(made, Prepared):
        json.loads(made.config)
    return made


@given(OPTIONS, st.lists(st.text(max_size=6), max_size=3), st.sampled_from(["/e", None]))
def test_filled_in_configuration_is_the_one_that_would_have_been_made(
    options: dict[str, Any], args: list[str], scratch: str | None
) -> None:
    templates = Templates()
    for words in (args, ["true"], args):
        both(templates, words, options, scratch)


def test_what_is_refused_is_refused_the_second_time_too() -> None:
    templates = Templates()
    assert isinstance(both(templates, ["true"], {"init": True}), Prepared)
    assert "`init`" in str(both(templates, ["true"], {"init": 1}))
    assert "NUL" in str(both(templates, ["a\0b"], {"init": True}))


def test_environment_of_the_caller_is_looked_up_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    templates = Templates()
    for value in ("one", "two"):
        monkeypatch.setenv("PASSED_ON", value)
        both(templates, ["true"], {"env": ["PASSED_ON"]})
        both(templates, ["true"], {"env": {"PASSED_ON": None}})
