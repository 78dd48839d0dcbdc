"""From options to `config.json`: docker's meaning of each option, in OCI's words."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import jsonschema
import pytest
import referencing
import referencing.jsonschema
from configurations import EVERYTHING, ID, LAYERS, Image, Machine, annotation, document, prepare
from hypothesis import given
from hypothesis import strategies as st
from pycontain import ContainerOptions, InvalidOption, RootFilesystem
from pycontain.runtime import spec
from pycontain.runtime.command import DEFAULT_PATH, NoImage

SCHEMAS = Path(__file__).parent / "data" / "runtime-spec"


@cache
def validator() -> jsonschema.Draft4Validator:
    def load(uri: str) -> referencing.Resource[Any]:
        name = uri.rsplit("/", 1)[-1]
        contents = json.loads((SCHEMAS / name).read_text())
        return referencing.Resource.from_contents(
            contents, default_specification=referencing.jsonschema.DRAFT4
        )

    registry: Any = referencing.Registry(retrieve=load)  # type: ignore[call-arg]
    schema = json.loads((SCHEMAS / "config-schema.json").read_text())
    schema.pop("id", None)
    return jsonschema.Draft4Validator(schema, registry=registry)


@pytest.mark.parametrize(
    "options",
    [
        {},
        EVERYTHING,
        {"privileged": True, "devices": ["/dev/fuse"]},
        {"network": "host", "pid": "host", "ipc": "host", "uts": "host"},
        {"userns": "host", "cgroupns": "host", "ipc": "none"},
    ],
)
def test_the_document_is_a_valid_oci_configuration(options: dict[str, Any]) -> None:
    for image in (NoImage(), Image()):
        for root in (
            LAYERS,
            RootFilesystem(["/skeleton"], [("/usr", "/usr")]),
            RootFilesystem(directory="/tree"),
        ):
            validator().validate(document(image=image, root=root, **options))


def test_the_schema_refuses_what_is_wrong() -> None:
    config = document()
    config["linux"]["namespaces"].append({"type": "nonsense"})
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(config)


def test_the_options_declared_are_the_options_taken() -> None:
    assert set(get_type_hints(ContainerOptions)) == spec.OPTIONS
    with pytest.raises(InvalidOption, match="unknown option `memori`") as caught:
        prepare(memori="1g")
    assert caught.value.hint == "did you mean `memory`?"


def test_an_option_that_is_none_was_not_given() -> None:
    assert prepare(**dict.fromkeys(spec.OPTIONS)) == prepare()


def test_flags_are_true_or_false() -> None:
    with pytest.raises(InvalidOption, match="privileged"):
        prepare(privileged="false")


@pytest.mark.parametrize(
    ("args", "options", "expected"),
    [
        ((), {}, ["/entry", "serve", "--all"]),
        (["ls"], {}, ["/entry", "ls"]),
        ("ls 'a b'", {}, ["/entry", "ls", "a b"]),
        (["ls"], {"entrypoint": ""}, ["ls"]),
        (["ls"], {"entrypoint": []}, ["ls"]),
        ((), {"entrypoint": "/other -x"}, ["/other", "-x"]),
        (["y"], {"entrypoint": ["/other one"]}, ["/other one", "y"]),
    ],
)
def test_entrypoint_and_command(args: Any, options: dict[str, Any], expected: list[str]) -> None:
    prepared = prepare(args, image=Image(), **options)
    assert list(prepared.args) == expected
    assert json.loads(prepared.config)["process"]["args"] == expected


@pytest.mark.parametrize(
    ("args", "options"), [((), {}), ((), {"entrypoint": ""}), ("'", {}), ([""], {}), (["a\0"], {})]
)
def test_without_a_command_nothing_starts(args: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        prepare(args, **options)
    if options:
        with pytest.raises(InvalidOption, match="no command"):
            prepare(args, image=Image(), **options)


def test_variables_come_in_dockers_order() -> None:
    host = Machine({"vars": "LANG=de\nFILE=1\nNOT_SET\n"})
    env = document(
        image=Image(), host=host, tty=True, env_file="vars", env=["FILE=2", "FROM_CALLER", "EMPTY"]
    )["process"]["env"]
    assert env == [
        "PATH=/image/bin",
        f"HOSTNAME={ID[:12]}",
        "TERM=xterm",
        "LANG=de",
        "FILE=2",
        "FROM_CALLER=yes",
    ]
    assert document()["process"]["env"] == [f"PATH={DEFAULT_PATH}", f"HOSTNAME={ID[:12]}"]


@given(
    st.dictionaries(
        st.text("ABC_1", min_size=1), st.text(st.characters(codec="utf-8", exclude_characters="\0"))
    )
)
def test_any_text_survives_in_the_environment(env: dict[str, str]) -> None:
    found = document(env=env)["process"]["env"]
    assert [f"{name}={text}" for name, text in env.items()] == found[2:]


def test_what_is_not_utf8_is_refused_by_name() -> None:
    with pytest.raises(InvalidOption, match=r"`BAD=.*UTF-8"):
        prepare(env={"BAD": "\udcff"})


def test_user_and_directory() -> None:
    config = document(image=Image())
    assert config["process"]["cwd"] == "/srv"
    assert annotation(config, "user") == "web"
    config = document(image=Image(), user="1000:100", workdir="/a/../b/", group_add=["10", 20])
    assert config["process"]["user"] == {"uid": 1000, "gid": 100, "additionalGids": [10, 20]}
    assert annotation(config, "user") == "1000:100"
    assert config["process"]["cwd"] == "/b"
    assert annotation(document(image=Image(), user=0), "user") == "0"
    assert annotation(document(), "user") is None
    with pytest.raises(InvalidOption, match="workdir"):
        prepare(workdir="b")
    assert annotation(document(group_add=["wheel", 10, "audio"]), "groups") == "wheel,audio"
    with pytest.raises(InvalidOption, match="group_add"):
        prepare(group_add=["a,b"])


def test_how_it_is_stopped() -> None:
    assert prepare().stop_signal == 15
    assert prepare().stop_timeout == 10.0
    assert prepare(image=Image()).stop_signal == 3
    assert prepare(image=Image(), stop_signal="INT", stop_timeout="1m").stop_signal == 2
    assert prepare(stop_timeout="1m").stop_timeout == 60.0
    assert prepare(stop_timeout=-1).stop_timeout == float("inf")
    assert prepare(stop_timeout=999_999_999).stop_timeout == 999_999_999
    assert prepare(stop_timeout="5000000000").stop_timeout == float("inf")


def test_the_rest_of_the_options() -> None:
    prepared = prepare(**EVERYTHING)
    config = json.loads(prepared.config)
    resources = config["linux"]["resources"]
    assert resources["memory"]["limit"] == 512 << 20
    assert resources["blockIO"]["throttleReadBpsDevice"] == [{"major": 8, "minor": 16, "rate": 1 << 20}]
    assert resources["blockIO"]["weightDevice"] == [{"major": 8, "minor": 16, "weight": 100}]
    assert config["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": (1 << 64) - 1}]
    assert config["process"]["oomScoreAdj"] == 100
    assert config["linux"]["sysctl"]["net.core.somaxconn"] == "1024"
    assert config["linux"]["cgroupsPath"] == "/batch"
    assert annotation(config, "init") == "true"
    assert (prepared.name, prepared.labels, prepared.terminal) == ("web-1", {"a": "b"}, True)


def test_one_container_does_not_leak_into_the_next() -> None:
    before = prepare().config
    prepare(**EVERYTHING)
    prepare(privileged=True)
    assert prepare().config == before


def test_importing_it_imports_next_to_nothing() -> None:
    program = (
        "import sys; old = set(sys.modules); import pycontain.runtime.spec; print(*set(sys.modules) - old)"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    heavy = {
        "typing",
        "re",
        "json",
        "pathlib",
        "dataclasses",
        "enum",
        "msgspec",
        "shlex",
        "csv",
        "pycontain.engine",
    }
    assert not heavy & set(output.split())
