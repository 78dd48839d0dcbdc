"""`--change`: instructions of a Dockerfile that alter an image's configuration without running anything."""

from __future__ import annotations

from pycontain.errors import InvalidOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["apply"]


def apply(config: dict[str, Any], changes: Iterable[str]) -> None:
    """Alter `config`, the `config` object of an image's configuration.

    Raises:
        InvalidOption: an instruction is none of these, or its arguments are not valid.
    """
    from pycontain.runtime.environment import strings

    has_command = False
    for change in strings("changes", changes):
        name, _, rest = change.strip().partition(" ")
        instruction = _INSTRUCTIONS.get(name.upper())
        rest = rest.strip()
        if instruction is None:
            raise InvalidOption(
                f"change `{change}`: `{name}` is not one of {', '.join(_INSTRUCTIONS)}",
                hint="give an instruction as in a Dockerfile: `--change 'CMD [\"sh\"]'`",
            )
        if not rest:
            raise InvalidOption(f"change `{change}`: {name.upper()} needs an argument")
        has_command |= instruction is _cmd
        if instruction is _entrypoint and not has_command:
            config["Cmd"] = None  # it belonged to the one before
        try:
            instruction(config, rest)
        except ValueError as error:
            raise InvalidOption(f"change `{change}`: {error}") from error


def _command(member: str) -> Callable[[dict[str, Any], str], None]:
    def change(config: dict[str, Any], rest: str) -> None:
        words = _array(rest)
        config[member] = ["/bin/sh", "-c", rest] if words is None else words

    return change


_cmd = _command("Cmd")
_entrypoint = _command("Entrypoint")


def _text(member: str) -> Callable[[dict[str, Any], str], None]:
    def change(config: dict[str, Any], rest: str) -> None:
        config[member] = rest

    return change


def _environment(config: dict[str, Any], rest: str) -> None:
    variables = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
    variables.update(_pairs(rest))
    config["Env"] = [f"{name}={value}" for name, value in variables.items()]


def _labels(config: dict[str, Any], rest: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **_pairs(rest)}


def _volumes(config: dict[str, Any], rest: str) -> None:
    paths = _array(rest) or rest.split()
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}


def _ports(config: dict[str, Any], rest: str) -> None:
    ports: dict[str, object] = {}
    for word in rest.split():
        port, _, protocol = word.partition("/")
        first, _, last = port.partition("-")
        protocol = protocol.lower() or "tcp"
        if protocol not in {"tcp", "udp", "sctp"} or not (first + last).isdigit():
            raise ValueError(f"`{word}` is not a port")
        numbers = range(int(first), int(last or first) + 1)
        if not (numbers and numbers[0] > 0 and numbers[-1] < 65536):
            raise ValueError(f"`{word}` is not between 1 and 65535")
        ports.update({f"{number}/{protocol}": {} for number in numbers})
    config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **ports}


def _working_dir(config: dict[str, Any], rest: str) -> None:
    import posixpath

    config["WorkingDir"] = posixpath.normpath(posixpath.join(config.get("WorkingDir") or "/", rest))


def _healthcheck(config: dict[str, Any], rest: str) -> None:
    from pycontain.runtime.sizes import seconds, whole

    document: dict[str, Any] = {}
    word, _, left = rest.partition(" ")
    while word.startswith("--"):
        name, _, value = word.removeprefix("--").partition("=")
        if name == "retries":
            document["Retries"] = whole(name, value, 1, 1 << 31)
        elif name in _TIMES:
            document[_TIMES[name]] = round(seconds(name, value) * 1_000_000_000)
        else:
            raise ValueError(f"unknown option `{word}`")
        word, _, left = left.lstrip().partition(" ")
    kind, left = word.upper(), left.strip()
    if kind == "CMD" and left:
        words = _array(left)
        document["Test"] = ["CMD-SHELL", left] if words is None else ["CMD", *words]
    elif kind == "NONE" and not left and not document:
        document["Test"] = ["NONE"]
    else:
        raise ValueError("expected CMD and a command, or NONE")
    config["Healthcheck"] = document


def _on_build(config: dict[str, Any], rest: str) -> None:
    name = rest.partition(" ")[0].upper()
    if name in {"FROM", "MAINTAINER", "ONBUILD"}:
        raise ValueError(f"{name} cannot be of a later build")
    config["OnBuild"] = [*(config.get("OnBuild") or ()), rest]


def _array(rest: str) -> list[str] | None:
    """The words of the JSON form; None when it is the shell form: whatever does not parse."""
    import json

    try:
        words = json.loads(rest)
    except ValueError:
        return None
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return words
    return None


def _pairs(rest: str) -> dict[str, str]:
    import shlex

    words = shlex.split(rest)
    if "=" in words[0]:
        pairs = dict(word.partition("=")[::2] for word in words)
        if not all(pairs) or not all("=" in word for word in words):
            raise ValueError("expected NAME=VALUE")
        return pairs
    name, _, value = rest.partition(" ")
    if not value.strip():
        raise ValueError("expected NAME=VALUE")
    return {name: value.strip()}


_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}
_INSTRUCTIONS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _environment,
    "EXPOSE": _ports,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _labels,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _text("StopSignal"),
    "USER": _text("User"),
    "VOLUME": _volumes,
    "WORKDIR": _working_dir,
}
