"""The grammars of secrets and configs, docker's and podman's: what is understood, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from configurations import Machine, annotation, document, prepare
from pycontain import InvalidOption, MemoryFile, Unsupported, config_file, secret
from pycontain.runtime import secrets

if TYPE_CHECKING:
    from pathlib import Path


def a_secret(*values: Any, **others: Any) -> MemoryFile:
    return MemoryFile("secret", *values, **others)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id=db,src=/a", a_secret("db", "/a", None, "/run/secrets/db")),
        ("id=db,source=a/b", a_secret("db", "a/b", None, "/run/secrets/db")),
        ("id=db,env=PW", a_secret("db", None, "PW", "/run/secrets/db")),
        ("ID=db,Type=FILE,SRC=/a", a_secret("db", "/a", None, "/run/secrets/db")),
        ("type=env,id=PW", a_secret("PW", None, "PW", "/run/secrets/PW")),
        ("id=db,type=env,src=PW", a_secret("db", None, "PW", "/run/secrets/db")),
        ("id=db", a_secret("db", None, None, "/run/secrets/db")),
        ("db", a_secret("db", None, None, "/run/secrets/db")),
        (
            "db,type=mount,target=/etc/pw,uid=7,gid=8,mode=0440",
            a_secret("db", None, None, "/etc/pw", 7, 8, 0o440),
        ),
        ("id=db,src=/a,target=sub/pw", a_secret("db", "/a", None, "/run/secrets/sub/pw")),
        ("id=db,src=/a,dst=/x//y/", a_secret("db", "/a", None, "/x/y")),
        (
            "src=/a/key.pem,mode=0o600",
            a_secret("key.pem", "/a/key.pem", None, "/run/secrets/key.pem", 0, 0, 0o600),
        ),
        ('id=db,"src=/a,b"', a_secret("db", "/a,b", None, "/run/secrets/db")),
    ],
)
def test_spellings_of_a_secret(text: str, expected: MemoryFile) -> None:
    assert secrets.parsed("secrets", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("src=/a/app.conf", MemoryFile("config", "app.conf", "/a/app.conf", None, "/app.conf", mode=0o444)),
        ("source=a,target=/etc/a", MemoryFile("config", "a", "a", None, "/etc/a", mode=0o444)),
        ("env=CONF,target=etc/a", MemoryFile("config", "CONF", None, "CONF", "/etc/a", mode=0o444)),
        (
            "id=c,src=a,target=/etc/a,uid=1,gid=2,mode=755",
            MemoryFile("config", "c", "a", None, "/etc/a", 1, 2, 0o755),
        ),
    ],
)
def test_spellings_of_a_config(text: str, expected: MemoryFile) -> None:
    assert secrets.parsed("configs", text) == expected


@pytest.mark.parametrize("option", ["secrets", "configs"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "target=/x",
        "id=,src=/a",
        "id=a,src=",
        "id=a,id=b",
        "id=a,src=/a,source=/b",
        "id=a,src=/a,env=B",
        "id=a,src=/a,x",
        "id=a,src=/a,x=1",
        "id=a,src=/a,type=ssh",
        "id=a,env=B,type=file",
        "id=a/b,src=/a",
        "id=..,src=/a",
        "id=a\n,src=/a",
        "id=a,src=/a,target=/",
        "id=a,src=/a,target=../../etc/x",
        "id=a,src=/a,target=.",
        "id=a,src=/a,uid=root",
        "id=a,src=/a,gid=-1",
        "id=a,src=/a,uid=4294967295",
        "id=a,src=/a,mode=8",
        "id=a,src=/a,mode=",
        "id=a,src=/a,mode=rw",
        "id=a,src=/a,mode=4755",
        "id=a,src=/a,mode=000000",
        'id=a,"src=/a',
        "id=a,src=/a\0",
    ],
)
def test_what_is_neither_is_refused_by_name(option: str, text: str) -> None:
    with pytest.raises(InvalidOption, match=option):
        secrets.parsed(option, text)


def test_a_secret_in_a_variable_of_the_container_is_not_to_be_had() -> None:
    with pytest.raises(Unsupported) as caught:
        secrets.parsed("secrets", "db,type=env,target=PW")
    assert "/run/secrets/db" in str(caught.value.hint)


@pytest.mark.parametrize("target", ["/proc/x", "/sys/x", "/proc"])
def test_what_is_the_kernels_is_no_target(target: str) -> None:
    with pytest.raises(InvalidOption, match="the kernel's"):
        secrets.parsed("configs", f"src=/a,target={target}")


def test_the_configuration_says_where_from_and_not_what(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("a password")
    host = Machine()
    host.directory = str(tmp_path)
    config = document(
        host=host, secrets=["id=db,src=db", secret("other", "./db", target="/o", uid=5)], configs={"/c": "db"}
    )
    assert json.loads(annotation(config, "secrets")) == [
        {
            "type": kind,
            "name": name,
            "source": f"{tmp_path}/db",
            "env": None,
            "target": target,
            "uid": uid,
            "gid": 0,
            "mode": mode,
        }
        for kind, name, target, uid, mode in (
            ("secret", "db", "/run/secrets/db", 0, 0o400),
            ("secret", "other", "/o", 5, 0o400),
            ("config", "db", "/c", 0, 0o444),
        )
    ]
    assert "a password" not in json.dumps(config)
    assert annotation(document(secrets=[]), "secrets") is None
    assert annotation(document(), "secrets") is None


def test_a_name_alone_is_a_variable_or_else_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "db").write_text("of a file")
    monkeypatch.chdir(tmp_path)
    host = Machine()
    host.directory, host.environ = str(tmp_path), {}
    (found,) = secrets.asked({"secrets": ["id=db"]}, (), host)
    assert (found["source"], found["env"]) == (f"{tmp_path}/db", None)
    monkeypatch.setenv("db", "of a variable")
    host.environ = {"db": "of a variable"}
    (found,) = secrets.asked({"secrets": ["id=db"]}, (), host)
    assert (found["source"], found["env"]) == (None, "db")


def test_one_place_is_one_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    for options in (
        {"secrets": [f"id=a,src={tmp_path}/a", f"id=b,src={tmp_path}/a,target=a"]},
        {"secrets": [f"id=a,src={tmp_path}/a"], "configs": {"/run/secrets/a": tmp_path / "a"}},
        {"secrets": [f"id=a,src={tmp_path}/a"], "tmpfs": ["/run/secrets/a"]},
    ):
        with pytest.raises(InvalidOption, match="duplicate mount point `/run/secrets/a`"):
            prepare(**options)


@pytest.mark.parametrize("value", [1, [1], [b"id=a"], [secret("a", "/a")], b"x"])
def test_of_a_wrong_type_they_are_named(value: Any) -> None:
    with pytest.raises(InvalidOption, match="`configs`"):
        prepare(configs=value)
    for wrong in ({"mode": 0o1000}, {"mode": "0400"}, {"uid": -1}, {"gid": None}):
        with pytest.raises(InvalidOption, match="`configs`"):
            config_file("/a", "/b", **wrong)
