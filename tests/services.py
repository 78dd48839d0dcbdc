"""Debian's own servers and clients in containers of one network, on a host of their own: see `networked`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from networked import Scene, address_of, http, main, wait_for
from pycontain.networks.networks import make

if TYPE_CHECKING:
    from pycontain import Container

PACKAGES = ("nginx-light", "redis-server", "bind9-dnsutils", "iperf3")


def image_of(scene: Scene) -> None:
    """Debian with these packages; its archive is beside the engine's root."""
    scene.engine.images.import_(Path(scene.root).with_name("services.tar"), "services")


def answer(container: Container, *words: str) -> str:
    """What a client writes, without the line feed."""
    return container.run(list(words), text=True).stdout.strip()


def served(scene: Scene) -> None:
    """nginx and redis, by their names and by published ports."""
    image_of(scene)
    make(scene.store, "back")
    cache = scene.engine.start(
        "services",
        ["redis-server", "--protected-mode", "no"],
        network="back",
        name="cache",
        aliases=["redis"],
    )
    page = "echo from nginx >/var/www/html/index.html && exec nginx -g 'daemon off;'"
    web = scene.engine.start(
        "services", ["sh", "-c", page], network="back", name="web", ports={80: 8080}, init=True
    )
    wait_for(lambda: http("127.0.0.1:8080") == "from nginx")
    wait_for(lambda: web.run(["redis-cli", "-h", "redis", "ping"], check=False).stdout == b"PONG\n")
    assert answer(web, "redis-cli", "-h", "cache", "set", "key", "value") == "OK"
    assert answer(cache, "redis-cli", "get", "key") == "value"
    assert scene.outside.run("busybox wget -q -O - http://10.77.0.1:8080/").strip() == "from nginx"
    cache.restart()
    wait_for(lambda: web.run(["redis-cli", "-h", "cache", "ping"], check=False).stdout == b"PONG\n")


def asked(scene: Scene) -> None:
    """What dig(1) says of the embedded name server."""
    image_of(scene)
    make(scene.store, "back", prefixes=["10.61.0.0/24", "fd00:61::/64"], ipv6=True)
    options: dict[str, Any] = {"network": "back", "aliases": ["many"]}
    first = scene.engine.start("services", ["sleep", "1000"], name="first", **options)
    second = scene.engine.start("services", ["sleep", "1000"], name="second", **options)
    addresses = {address_of(one, "back") for one in (first, second)}

    def dig(*words: str) -> list[str]:
        return answer(first, "dig", *words).splitlines()

    assert dig("+short", "second") == [address_of(second, "back")]
    assert dig("+short", "+tcp", "second") == [address_of(second, "back")]
    assert dig("+short", second.id[:12]) == [address_of(second, "back")]
    assert dig("+short", "SECOND.") == [address_of(second, "back")]
    assert set(dig("+short", "many")) == addresses
    assert {dig("+short", "many")[0] for _ in range(40)} == addresses
    six = second.inspect()["NetworkSettings"]["Networks"]["back"]["GlobalIPv6Address"]
    assert dig("+short", "second", "AAAA") == [six]
    assert dig("+short", "-x", address_of(second, "back")) == ["second.back."]
    assert dig("+short", "-x", six) == ["second.back."]
    assert any("status: NOERROR" in line for line in dig("second", "MX"))
    assert any("EDNS: version: 0" in line for line in dig("+bufsize=1232", "second"))
    second.stop()
    assert dig("+short", "second") == []


def measured(scene: Scene) -> None:
    """Streams and datagrams of iperf3(1) between neighbours, and from outside by a published port."""
    image_of(scene)
    make(scene.store, "back")
    ports = {"5201/tcp": 5201, "5201/udp": 5201}
    scene.engine.start("services", ["iperf3", "--server"], network="back", name="server", ports=ports)
    client = scene.engine.start("services", ["sleep", "1000"], network="back")
    trial = ["iperf3", "--client", "server", "--time", "1"]
    wait_for(lambda: client.run(trial, check=False).returncode == 0)
    for words in (
        ["--time", "1"],
        ["--time", "1", "--reverse"],
        ["--time", "1", "--udp", "--bitrate", "10M"],
    ):
        said = answer(client, "iperf3", "--client", "server", "--json", *words)
        assert json.loads(said)["end"]["sum"]["bytes"] if "--udp" in words else received(said) > 1 << 20
    said = scene.outside.run("iperf3 --client 10.77.0.1 --time 1 --json")
    assert received(said) > 1 << 20


def received(said: str) -> int:
    return int(json.loads(said)["end"]["sum_received"]["bytes"])


SCENES = {scene.__name__: scene for scene in (served, asked, measured)}

if __name__ == "__main__":
    main(sys.argv[1:], SCENES)
