"""What is done with networks and namespaces of containers that run, on a host of its own: see `networked`."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import leftovers
from networked import Scene, address_of, dead_elements, looked_up, main, ports_of_bridges, wait_for
from pycontain import Engine, aio
from pycontain.errors import Conflict, ContainerNotFound, InvalidOption, NetworkNotFound
from pycontain.networks.networks import make

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain import Container

FOREVER = ["sleep", "1000"]


def refused(kind: type[Exception], words: str, act: Callable[[], object]) -> None:
    try:
        act()
    except kind as error:
        assert words in str(error), error  # noqa: PT017 - it is not pytest that runs this
    else:
        raise AssertionError(f"not refused: {words}")


def namespace(container: Container, kind: str) -> str:
    """Of its first process; empty, if that has just ended."""
    try:
        return os.readlink(f"/proc/{container.inspect()['State']['Pid']}/ns/{kind}")
    except FileNotFoundError:
        return ""


def networks_of(container: Container) -> list[str]:
    return list(container.inspect()["NetworkSettings"]["Networks"])


def shell(container: Container, script: str) -> str:
    found: str = container.run(["sh", "-c", script], text=True, check=False).stdout
    return found.strip()


def answers(address: str, asker: Container) -> bool:
    return asker.run(["ping", "-c", "1", "-W", "2", address], check=False).returncode == 0


def monitor_of(container: Container) -> int:
    return leftovers.processes()[container.inspect()["State"]["Pid"]].parent


def shared_network(scene: Scene) -> None:
    make(scene.store, "front")
    web = scene.web("hello", network="front", name="web", hostname="site", ports={80: 8080})
    beside = scene.engine.start("busybox", FOREVER, network="container:web", name="beside")
    assert beside.inspect()["HostConfig"]["NetworkMode"] == f"container:{web.id}"
    assert namespace(beside, "net") == namespace(web, "net")
    assert namespace(beside, "user") == namespace(web, "user")
    for kind in ("pid", "ipc", "mnt", "uts"):
        assert namespace(beside, kind) != namespace(web, kind)
    assert scene.fetched("localhost", beside) == "hello"
    for path in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf"):
        assert shell(beside, f"cat {path}") == shell(web, f"cat {path}") != ""
    shell(web, "echo 10.1.1.1 added >> /etc/hosts")
    assert "10.1.1.1 added" in shell(beside, "cat /etc/hosts")
    assert shell(beside, "hostname") == "site"
    assert looked_up(beside, "web") == {address_of(web, "front")}
    # it has power there as the other has, and sees its devices
    assert answers(address_of(web, "front"), beside)
    assert "eth0" in shell(beside, "ls /sys/class/net").split()
    # one whose files are its caller's alone
    seen = scene.engine.run("busybox", ["ip", "addr"], network="container:web", text=True).stdout
    assert address_of(web, "front") in seen
    assert (
        scene.cli("run", "--rm", "--network", f"container:{web.id[:12]}", "busybox", "hostname").stdout
        == b"site\n"
    )
    # its ids are nobody else's for as long as anybody has them
    first = ids(beside)
    web.stop()
    assert beside.status == "running"
    wait_for(lambda: not ports_of_bridges())
    assert "eth0" not in shell(beside, "ls /sys/class/net").split()
    others = [scene.engine.start("busybox", FOREVER, network="none") for _ in range(3)]
    assert first not in {ids(other) for other in others}
    refused(
        Conflict, "is not running", lambda: scene.engine.run("busybox", ["true"], network="container:web")
    )
    beside.stop()
    refused(Conflict, "is not running", beside.start)
    assert scene.cli("start", "beside").returncode == 1
    # which may be another's by then
    web.start()
    wait_for(lambda: scene.fetched("127.0.0.1:8080") == "hello")
    beside.start()
    assert scene.fetched("localhost", beside) == "hello"
    assert ids(beside) == ids(web)
    # whoever is started again joins what is there then
    lasting = scene.engine.start(
        "busybox",
        ["sh", "-c", "sleep 0.5; exit 1"],
        network="container:web",
        restart="always",
        name="lasting",
    )
    web.restart()
    wait_for(lambda: lasting.status == "running" and namespace(lasting, "net") == namespace(web, "net"))
    lasting.remove(force=True)
    # a monitor that is killed leaves what it had to nobody
    beside.restart()
    os.kill(monitor_of(web), signal.SIGKILL)
    wait_for(lambda: web.status == "exited")
    scene.engine.close()
    with Engine(scene.root) as engine:
        engine.run("busybox", ["true"], network="none")
        wait_for(lambda: not ports_of_bridges())
    assert not dead_elements()


def ids(container: Container) -> str:
    with open(f"/proc/{container.inspect()['State']['Pid']}/uid_map") as file:
        return file.read().split()[1]


def shared_processes(scene: Scene) -> None:
    first = scene.engine.start("busybox", ["sleep", "4321"], name="first", ipc="shareable")
    second = scene.engine.start(
        "busybox", FOREVER, pid="container:first", ipc="container:first", name="second"
    )
    kinds = ("pid", "ipc", "user", "net")
    assert {kind: namespace(first, kind) == namespace(second, kind) for kind in kinds} == {
        "pid": True, "ipc": True, "user": True, "net": False,
    }  # fmt: skip
    assert "sleep 4321" in shell(second, "ps")
    assert "/proc" in shell(second, "cat /proc/1/mountinfo")
    shell(first, "echo there > /dev/shm/file; chmod 600 /dev/shm/file")
    assert shell(second, "cat /dev/shm/file") == "there"
    assert second.inspect()["HostConfig"]["PidMode"] == f"container:{first.id}"
    assert second.inspect()["HostConfig"]["IpcMode"] == f"container:{first.id}"
    shell(second, "kill -9 1; kill -TERM 1")
    only = scene.engine.start("busybox", FOREVER, name="only")
    refused(Conflict, "non-shareable IPC", lambda: scene.engine.create("busybox", ipc="container:only"))
    refused(
        InvalidOption,
        "user namespaces of their own",
        lambda: scene.engine.create("busybox", pid="container:first", network="container:only"),
    )
    # with the first all of its processes end
    first.remove(force=True)
    assert second.wait(timeout=20) == 137
    only.remove(force=True)
    # in the host's user namespace, too
    free = scene.engine.start("busybox", ["sleep", "77"], userns="host", name="free")
    seen = scene.engine.run("busybox", ["ps"], pid="container:free", network="container:free", text=True)
    assert "sleep 77" in seen.stdout
    free.remove(force=True)


def refusals(scene: Scene) -> None:
    make(scene.store, "front")
    scene.engine.start("busybox", FOREVER, name="web", network="front")
    cli = scene.cli
    for words, told in (
        ("-p 80:80", "conflicting options: port publishing and the container type network mode"),
        ("--hostname x", "conflicting options: hostname and the network mode"),
        ("--mac-address 02:42:ac:11:00:02", "conflicting options: mac-address and the network mode"),
        ("--userns auto", "exclude each other: it has the user namespace of that one"),
    ):
        done = cli("run", "--rm", "--network", "container:web", *words.split(), "busybox", "true")
        assert (done.returncode, told in done.stderr.decode()) == (125, True), done
    done = cli("run", "--network", "container:nobody", "busybox", "true")
    assert (done.returncode, done.stderr.splitlines()[0]) == (125, b"pycontain: no such container: `nobody`")
    assert cli("create", "--name", "still", "busybox").returncode == 0
    done = cli("run", "--rm", "--name", "it", "--network", "container:still", "busybox", "true")
    assert (done.returncode, b"is not running" in done.stderr) == (125, True), done
    refused(ContainerNotFound, "`it`", lambda: scene.engine.containers.get("it"))
    cli("run", "-d", "--name", "joined", "--network", "container:web", "busybox", "sleep", "1000")
    cli("run", "-d", "--name", "host", "--network", "host", "busybox", "sleep", "1000")
    cli("run", "-d", "--name", "plain", "busybox", "sleep", "1000")
    cli("run", "-d", "--name", "apart", "--network", "none", "busybox", "sleep", "1000")
    for words, told in (
        ("connect front web", "endpoint with name web already exists in network front"),
        ("connect front joined", "container sharing network namespace with another container or host"),
        (
            "connect front host",
            "container cannot be disconnected from host network",
        ),
        (
            "connect host web",
            "container cannot be disconnected from host network",
        ),
        ("connect none web", "with one of the networks in private (none) mode"),
        ("connect front apart", "with one of the networks in private (none) mode"),
        ("connect nowhere web", "no such network: `nowhere`"),
        ("connect front nobody", "no such container: `nobody`"),
        ("connect --ip 300.1.1.1 front still", "must be an address of IPv4"),
        ("connect --ip 10.99.1.1 front still", "is in no subnet"),
        ("disconnect bridge web", "container web is not connected to network bridge"),
        ("disconnect nowhere web", "no such network: `nowhere`"),
        (f"connect --ip {address_of(scene.engine.containers.get('web'), 'front')} front plain", "is in use"),
    ):
        done = cli("network", *words.split())
        assert (done.returncode, told in done.stderr.decode()) == (1, True), (words, done)
        assert len(done.stderr.splitlines()) <= 2, done
    assert networks_of(scene.engine.containers.get("plain")) == ["bridge"]  # nothing of what failed stays
    assert cli("network", "disconnect", "-f", "bridge", "web").returncode == 0
    assert cli("network", "disconnect", "none", "apart").returncode == 0
    assert cli("network", "connect", "front", "apart").returncode == 0
    assert networks_of(scene.engine.containers.get("apart")) == ["front"]


def connected(scene: Scene) -> None:
    make(scene.store, "front", prefixes=["10.50.0.0/24"])
    make(scene.store, "back", prefixes=["10.51.0.0/24"], ipv6=True)
    near = scene.engine.start("busybox", FOREVER, network="back", name="near")
    web = scene.web("hello", network="front", name="web", ports={80: 8080}, restart="always")
    server = names_of(web)
    assert len(server) == 1
    assert looked_up(near, "web") == set()
    back = scene.engine.networks.get("back")
    back.connect(web, aliases=["www"], ip="10.51.0.9")
    assert networks_of(web) == ["front", "back"]
    assert address_of(web, "back") == "10.51.0.9"
    assert web.inspect()["NetworkSettings"]["Networks"]["back"]["Aliases"] == ["www"]
    assert back.inspect()["Containers"][web.id]["IPv4Address"] == "10.51.0.9/24"
    assert looked_up(near, "web") == looked_up(near, "www") == {"10.51.0.9"}
    assert scene.fetched("10.51.0.9", near) == "hello"
    # and it knows its new neighbours
    assert looked_up(web, "near") == {address_of(near, "back")}
    assert len(names_of(web) - server) == len(names_of(web)) == 1
    assert "10.51.0.9\t" in shell(web, "cat /etc/hosts")
    assert scene.cli("ps", "--format", "{{.Networks}}", "--filter", "name=web").stdout == b"front,back\n"
    # the way out is as it was
    assert shell(web, "ip route show default").split()[:3] == ["default", "via", "10.50.0.1"]
    # also when its monitor starts it again, and after other restarts
    os.kill(web.inspect()["State"]["Pid"], signal.SIGKILL)
    wait_for(lambda: web.inspect()["RestartCount"] == 1 and scene.fetched("10.51.0.9", near) == "hello")
    assert looked_up(near, "www") == {"10.51.0.9"}
    assert looked_up(web, "near") == {address_of(near, "back")}
    assert shell(web, "cat /etc/hosts").count("10.51.0.9\t") == 1
    for again in (functools.partial(stopped_and_started, web), web.restart):
        again()
        wait_for(lambda: scene.fetched("10.51.0.9", near) == "hello")
        assert looked_up(near, "www") == {"10.51.0.9"}
        assert "10.51.0.9\t" in shell(web, "cat /etc/hosts")


def disconnected(scene: Scene) -> None:
    make(scene.store, "front", prefixes=["10.50.0.0/24"])
    make(scene.store, "back", prefixes=["10.51.0.0/24"])
    near = scene.engine.start("busybox", FOREVER, network="back", name="near")
    web = scene.web("hello", network="front", name="web", ports={80: 8080})
    back = scene.engine.networks.get("back")
    since = time.time()
    back.connect(web, aliases=["www"])
    # out of the one that leads out, whose ports go
    assert scene.fetched("127.0.0.1:8080") == "hello"
    front = scene.engine.networks.get("front")
    front.disconnect(web)
    assert networks_of(web) == ["back"]
    assert shell(web, "ip route show default").split()[:3] == ["default", "via", "10.51.0.1"]
    assert scene.fetched("127.0.0.1:8080") == ""
    assert shell(web, "ls /sys/class/net").split() == ["eth1", "lo"]
    assert "10.50.0." not in shell(web, "cat /etc/hosts")
    with Engine(scene.root) as engine:  # its port and its address are free
        engine.run("busybox", ["true"], network="front", ip="10.50.0.2", ports={80: 8080})
    assert not list(scene.store.leases(front._definition).held())
    front.connect(web.name)
    assert shell(web, "ls /sys/class/net").split() == ["eth0", "eth1", "lo"]
    back.disconnect(web.id)
    assert looked_up(near, "web") == looked_up(near, "www") == set()
    assert shell(web, "ip route show default").split()[:3] == ["default", "via", "10.50.0.1"]
    front.disconnect(web)
    assert networks_of(web) == []
    assert shell(web, "ls /sys/class/net").split() == ["lo"]
    web.restart()
    assert shell(web, "ls /sys/class/net").split() == ["lo"]
    told = [
        (event.action, event.attributes["name"])
        for event in scene.engine.events(since=since, until=time.time(), type=["network"])
        if event.attributes.get("container") == web.id
    ]
    assert told == [
        ("connect", "back"),
        ("disconnect", "front"),
        ("connect", "front"),
        ("disconnect", "back"),
        ("disconnect", "front"),
    ]


def stopped_and_started(container: Container) -> None:
    container.stop()
    container.start()


def names_of(container: Container) -> set[int]:
    """The pids of its name server."""
    monitor = monitor_of(container)
    children = [pid for pid, one in leftovers.processes().items() if one.parent == monitor]
    return {pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "pycontain-names\n"}


def connected_later(scene: Scene) -> None:
    """Of those that have no network, or do not run."""
    make(scene.store, "front")
    near = scene.engine.start("busybox", FOREVER, network="front", name="near")
    plain = scene.engine.start("busybox", FOREVER, name="plain", network="none")
    scene.engine.networks.disconnect("none", plain)
    default = scene.engine.start("busybox", FOREVER, name="default")
    made = scene.engine.create("busybox", FOREVER, name="made")
    for container in (plain, default, made):
        scene.engine.networks.connect("front", container, aliases=["some"])
    made.start()
    for container in (plain, default, made):
        assert looked_up(near, container.name) == {address_of(container, "front")}
        assert looked_up(container, "near") == {address_of(near, "front")}
        assert "nameserver 127.0.0.11" in shell(container, "cat /etc/resolv.conf")
        assert (
            shell(container, f"ping -c 1 -W 2 {address_of(near, 'front')} >/dev/null && echo pong") == "pong"
        )
        assert f"127.0.0.1\t{container.id[:12]}" not in shell(container, "cat /etc/hosts")
    assert len(looked_up(near, "some")) == 3
    before = shell(plain, "cat /etc/hosts")
    plain.restart()
    assert shell(plain, "cat /etc/hosts").splitlines()[:-1] == before.splitlines()[:-1]
    assert looked_up(plain, "near") == {address_of(near, "front")}
    # who shares its network is there with it
    beside = scene.engine.start("busybox", FOREVER, network="container:plain")
    make(scene.store, "back")
    scene.engine.networks.connect("back", plain)
    assert address_of(plain, "back") in shell(beside, "ip addr")
    assert address_of(plain, "back") in shell(beside, "cat /etc/hosts")

    async def in_asyncio() -> None:
        async with aio.Engine(scene.root) as engine:
            await engine.networks.disconnect("back", "plain")
            assert "back" not in networks_of(plain)
            await engine.networks.connect("back", plain, ip=None)
            assert "back" in networks_of(plain)

    asyncio.run(in_asyncio())
    # paused, it hears of it when it goes on
    plain.pause()
    scene.engine.networks.disconnect("back", plain)
    plain.unpause()
    assert "eth1" not in shell(plain, "ls /sys/class/net").split()
    made.stop()
    scene.engine.networks.disconnect("front", made)
    made.start()
    assert networks_of(made) == ["bridge"]
    assert len(shell(made, "ls /sys/class/net").split()) == 2
    scene.engine.networks.create("gone")
    scene.engine.networks.connect("gone", made.name)
    refused(Exception, "in use by", lambda: scene.engine.networks.remove("gone"))
    made.stop()
    scene.engine.networks.remove("gone")
    refused(NetworkNotFound, "`gone`", made.start)


def has_ended(container: Container) -> bool:
    return container.status == "exited"


def connecting_killed(scene: Scene) -> None:
    """Whoever is killed at it leaves nothing but what the same command makes right."""
    make(scene.store, "front")
    make(scene.store, "back")
    program = (
        "import sys; from pycontain import Engine\n"
        f"engine = Engine({scene.root!r})\n"
        "network = engine.networks.get('front')\n"
        "while True:\n"
        "    network.disconnect('it', force=True); network.connect('it', aliases=['alias'])\n"
    )
    moments = random.Random(22)
    near = scene.engine.start("busybox", FOREVER, network="front", name="near")
    for number in range(8):
        it = scene.engine.start("busybox", FOREVER, network="back", name="it")
        process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
        time.sleep(0.6 + moments.random() / 2)
        if number % 2:
            os.kill(monitor_of(it), signal.SIGKILL)
            wait_for(functools.partial(has_ended, it))
        process.kill()
        process.wait()
        if number % 2:
            it.start()
        scene.cli("network", "disconnect", "-f", "front", "it")
        assert networks_of(it) == ["back"], number
        assert len(ports_of_bridges()) == 2, number
        assert looked_up(near, "it") == looked_up(near, "alias") == set()
        done = scene.cli("network", "connect", "front", "it")
        assert done.returncode == 0, done
        assert looked_up(near, "it") == {address_of(it, "front")}
        it.remove(force=True)
    near.remove(force=True)
    scene.engine.close()
    with Engine(scene.root) as engine:
        engine.run("busybox", ["true"], network="front")
        wait_for(lambda: not ports_of_bridges())
        wait_for(lambda: not dead_elements())
    for name in ("front", "back"):
        assert not list(scene.store.leases(scene.store.get(name)).held())


SCENES: dict[str, Callable[[Scene], None]] = {
    scene.__name__: scene
    for scene in (
        shared_network,
        shared_processes,
        refusals,
        connected,
        disconnected,
        connected_later,
        connecting_killed,
    )
}

if __name__ == "__main__":
    main(sys.argv[1:], SCENES)
