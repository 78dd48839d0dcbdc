"""What is done with networks and namespaces of containers that run, on a host of its own: see `networked`."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import leftovers
from networked import Scene, address_of, dead_elements, looked_up, main, ports_of_bridges, wait_for
from pycontain import Engine
from pycontain.errors import Conflict, ContainerNotFound, InvalidOption
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
    others = [scene.engine.start("busybox", FOREVER) for _ in range(3)]
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
        engine.run("busybox", ["true"])
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


SCENES: dict[str, Callable[[Scene], None]] = {
    scene.__name__: scene for scene in (shared_network, shared_processes, refusals)
}

if __name__ == "__main__":
    main(sys.argv[1:], SCENES)
