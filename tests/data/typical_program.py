"""What a user writes, as mypy sees it: test_typing.py checks it."""

from __future__ import annotations

import asyncio
from typing import assert_type

import pycontain
from pycontain import Completed, aio


def words(image: str) -> list[str]:
    result = pycontain.run(image, ["cat", "/etc/os-release"])
    assert_type(result, Completed[bytes])
    return result.stdout.decode().split() + result.stderr.decode().split()


def lines(engine: pycontain.Engine, image: str) -> list[str]:
    try:
        result = engine.run(image, ["ls", "/"], text=True, check=False, timeout=10)
    except pycontain.TimeoutExpired as error:
        return str(error.stdout).splitlines()
    assert_type(result, Completed[str])
    return result.stdout.splitlines()


def either(container: pycontain.Container, text: bool) -> Completed[bytes | str]:
    assert_type(container.run("ls").stdout, bytes)
    assert_type(container.run("ls", text=False).stdout, bytes)
    assert_type(container.run("ls", text=True).stdout, str)
    return container.run("ls", text=text, user="root")


def of_my_own() -> Completed[str]:
    assert_type(Completed(["true"], 0), Completed[None])
    return Completed(["true"], 0, "out", "err")


def failure(image: str) -> str:
    try:
        pycontain.run(image, ["false"], text=True)
    except pycontain.ExitError as error:
        return f"{error.returncode}: {error.stderr.strip()}"
    return ""


async def both(image: str) -> tuple[bytes, str]:
    async with aio.Engine() as engine, engine.container(image, "sleep 10") as container:
        first = await engine.run(image, ["true"])
        second = await container.run(["true"], text=True)
        return first.stdout, second.stdout


if __name__ == "__main__":
    print(words("host"), asyncio.run(both("host")))
