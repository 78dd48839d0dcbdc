"""What is done on a host of its own: network and mount namespaces in which nothing is but what a test makes.

    networked.py NAME ROOT ARCHIVE        one of the scenes below, with an image `busybox` out of the archive

Beside that host there is another, `Outside`, at the other end of a cable.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import leftovers
from containers import Cli, installed, seconds
from isolated import Family, end_groups
from pycontain import Engine
from pycontain.errors import AddressInUse, ContainerNotFound, NetworkNotFound, PortInUse
from pycontain.networks.networks import make
from pycontain.networks.store import NetworkStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pycontain import Container

HERE = "10.77.0.1"
THERE = "10.77.0.2"
HTTPD = ["httpd", "-f", "-p", "80", "-h", "/srv"]


def on_a_host(
    scene: str, root: str, archive: str, program: str = __file__
) -> subprocess.CompletedProcess[str]:
    """Play a scene of this program there, with the modules of the tests."""
    script = "mkdir -p /run/pycontain && mount -t tmpfs -o mode=700 own /run/pycontain && ip link set lo up"
    words = [
        "unshare",
        "--mount",
        "--net",
        "--propagation",
        "private",
        "sh",
        "-c",
        f'{script} && exec "$@"',
        "sh",
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    del environment["PYCONTAIN_NETWORK"]  # what is the default elsewhere is no danger here
    command = [*words, sys.executable, program, scene, root, archive]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


class Outside:
    """Another host, connected with this one; this one is its way to nowhere."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        wait_for(lambda: os.readlink(f"/proc/{self._holder.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", str(self._holder.pid))
        for words in (f"addr add {HERE}/24 dev up0", "link set up0 up"):
            run("ip", *words.split())
        self.run("ip link set lo up")
        self.run(f"ip addr add {THERE}/24 dev up1")
        self.run("ip link set up1 up")
        run("ip", "route", "add", "default", "via", THERE)

    def run(self, command: str, check: bool = True) -> str:
        """A shell's command there; what it wrote."""
        words = ["nsenter", "--net", "-t", str(self._holder.pid), "sh", "-c", command]
        return subprocess.run(words, check=check, stdout=subprocess.PIPE, text=True).stdout

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["nsenter", "--net", "-t", str(self._holder.pid), *words])

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


class Scene:
    """An engine, a command line, and the outside."""

    def __init__(self, root: str, archive: str) -> None:
        self.root = root
        self.cli = Cli(installed(), root)
        self.outside = Outside()
        self.engine = Engine(root)
        self.engine.images.import_(archive, "busybox", changes=['CMD ["sh"]'])
        self.store = NetworkStore(self.engine._paths)

    def web(self, text: str, **options: Any) -> Container:
        """A container that serves this text at port 80."""
        script = f"mkdir -p /srv && echo {text} > /srv/index.html && exec httpd -f -p 80 -h /srv"
        container = self.engine.start("busybox", ["sh", "-c", script], **options)
        wait_for(
            lambda: container.run(["wget", "-q", "-O", "-", "http://localhost/"], check=False).returncode == 0
        )
        return container

    def fetched(self, address: str, frm: Container | None = None) -> str:
        """What is served there, for this host or for a container; empty: nothing."""
        if frm is not None:
            host, _, port = address.partition(":")
            # wget of a static busybox looks names up by libraries that are not there, and falls over
            ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {host} {port or 80}"
            done = frm.run(["sh", "-c", ask], check=False, text=True)
            return done.stdout.rpartition("\n\n" if "\r" not in done.stdout else "\r\n\r\n")[2].strip()
        return http(address)

    def close(self) -> None:
        for container in self.engine.containers.list(all=True):
            container.remove(force=True)
        self.engine.close()
        self.outside.close()


def address_of(container: Container, network: str = "bridge") -> str:
    found: str = container.inspect()["NetworkSettings"]["Networks"][network]["IPAddress"]
    return found


def run(*words: str) -> str:
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def http(address: str, patience: float = 2) -> str:
    host, _, port = address.rpartition(":") if address.count(":") == 1 else (address, "", "80")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), patience) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.makefile("rb").read().decode().rpartition("\r\n\r\n")[2].strip()
    except OSError:
        return ""


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + seconds(20)
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def rules() -> str:
    return run("nft", "list", "ruleset") if shutil.which("nft") else ""


def by_default(scene: Scene) -> None:
    """Who says nothing of a network is on the bridge, and stays there."""
    serve = "mkdir /srv; echo hello >/srv/index.html; exec httpd -f -p 80 -h /srv"
    done = scene.cli("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sh", "-c", serve)
    assert done.returncode == 0, done
    wait_for(lambda: http("127.0.0.1:8080") == "hello")
    web = scene.engine.containers.get("web")
    assert web.inspect()["HostConfig"]["NetworkMode"] == "bridge"
    assert scene.fetched(address_of(web), scene.engine.start("busybox", ["sleep", "1000"])) == "hello"
    look = ["busybox", "ls", "/sys/class/net"]
    assert scene.cli("run", "--rm", *look).stdout.split() == [b"eth0", b"lo"]
    assert scene.engine.run(look[0], look[1:], text=True).stdout.split() == ["eth0", "lo"]

    none = {"PYCONTAIN_NETWORK": "none"}
    assert scene.cli("run", "--rm", *look, env=none).stdout.split() == [b"lo"]
    assert scene.cli("restart", "web", env=none).returncode == 0
    wait_for(lambda: http("127.0.0.1:8080") == "hello")
    assert scene.cli("create", "--name", "alone", *look, env=none).returncode == 0
    assert scene.cli("start", "--attach", "alone").stdout.split() == [b"lo"]
    done = scene.cli("run", "--rm", *look, env={"PYCONTAIN_NETWORK": "no/name"})
    assert (done.returncode, b"no/name" in done.stderr) == (125, True), done


def published(scene: Scene) -> None:
    web = scene.web("hello", network="bridge", name="web", ports={80: 8080, "81/udp": 0})
    inside = address_of(web)
    other = scene.engine.start("busybox", ["sleep", "1000"], network="bridge")
    assert scene.fetched("127.0.0.1:8080") == "hello"
    assert scene.fetched(f"{HERE}:8080") == "hello"
    assert scene.fetched(inside) == "hello"
    assert scene.outside.run(f"wget -q -O - http://{HERE}:8080/").strip() == "hello"
    for container in (other, web):
        assert scene.fetched(f"{HERE}:8080", container) == "hello"
        assert scene.fetched(inside, container) == "hello"
    # one that is not published is not reached from outside, by who knows the way
    scene.outside.run(f"ip route add {inside}/32 via {HERE}")
    assert scene.outside.run(f"wget -q -t 1 -T 2 -O - http://{inside}/ || echo no").strip() == "no"
    assert web.port(80) == ("127.0.0.1", 8080)
    assert scene.cli("port", "web", "80").stdout == b"0.0.0.0:8080\n"
    assert b"0.0.0.0:8080->80/tcp" in scene.cli("ps", "--format", "{{.Ports}}").stdout
    try:
        scene.engine.run("busybox", ["true"], network="bridge", ports={80: 8080})
    except PortInUse as error:
        assert "8080" in str(error)  # noqa: PT017 - it is not pytest that runs this
    else:
        raise AssertionError("two have one port")
    web.stop()
    assert scene.fetched("127.0.0.1:8080") == ""
    assert web.ports() == {}
    with socket.create_server(("127.0.0.1", 8080)):
        done = scene.cli("run", "--rm", "--network", "bridge", "-p", "8080:80", "busybox", "true")
        assert done.returncode == 125, done
        assert b"address already in use" in done.stderr, done
    web.start()
    wait_for(lambda: scene.fetched("127.0.0.1:8080") == "hello")
    assert scene.engine.run("busybox", ["true"], network="bridge", ports=["8080-8089:80"]).returncode == 0


def datagrams(scene: Scene) -> None:
    program = (
        "use Socket; socket(S, PF_INET, SOCK_DGRAM, 17); bind(S, pack_sockaddr_in(7, INADDR_ANY));"
        "while ($from = recv(S, $heard, 99, 0)) { send(S, 'pong', 0, $from) }"
    )
    box = scene.engine.start("host", ["perl", "-e", program], network="bridge", ports={"7/udp": 0})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(0.2)
        heard = b""
        for _ in range(50):  # until it listens
            asker.sendto(b"ping\n", box.port("7/udp"))
            with contextlib.suppress(OSError):
                heard = asker.recv(100)
                break
        assert heard == b"pong"


def apart(scene: Scene) -> None:
    make(scene.store, "front")
    make(scene.store, "back")
    web = scene.web("front", network="front", name="web")
    near = scene.engine.start("busybox", ["sleep", "1000"], network="front")
    far = scene.engine.start("busybox", ["sleep", "1000"], network="back")
    inside = address_of(web, "front")
    assert scene.fetched(inside, near) == "front"
    assert scene.fetched(inside, far) == ""
    assert looked_up(near, "web") == {inside}
    assert looked_up(far, "web") == set()
    # nobody is who they are not
    bad = scene.engine.start("busybox", ["sleep", "1000"], network="front", cap_add=["NET_ADMIN"])
    assert scene.fetched(inside, bad) == "front"
    own = address_of(bad, "front")
    bad.run(["sh", "-c", f"ip addr del {own}/16 dev eth0 && ip addr add {own[:-1]}99/16 dev eth0"])
    assert scene.fetched(inside, bad) == ""
    bad.run(["sh", "-c", f"ip addr del {own[:-1]}99/16 dev eth0 && ip addr add {own}/16 dev eth0"])
    assert scene.fetched(inside, bad) == "front"


def named(scene: Scene) -> None:
    make(scene.store, "front", ipv6=True)
    web = scene.web("hello", network="front", name="web", aliases=["www"])
    twin = scene.web("hello", network="front", name="twin", aliases=["www"])
    asker = scene.engine.start("busybox", ["sleep", "1000"], network="front", name="asker")
    both = {address_of(web, "front"), address_of(twin, "front")}
    assert looked_up(asker, "www") == both
    assert looked_up(asker, "web") == {address_of(web, "front")}
    assert looked_up(asker, web.id[:12]) == {address_of(web, "front")}
    assert looked_up(asker, "web.front") == {address_of(web, "front")}
    assert (
        f"{web.name}.front"
        in asker.run(["nslookup", address_of(web, "front")], text=True, check=False).stdout
    )
    assert len({scene.fetched(address, asker) for address in both}) == 1
    twin.stop()
    assert looked_up(asker, "www") == {address_of(web, "front")}
    os.kill(leftovers.processes()[web.inspect()["State"]["Pid"]].parent, signal.SIGKILL)
    wait_for(lambda: looked_up(asker, "www") == set())
    assert scene.engine.run("busybox", ["nslookup", "asker"], network="front", text=True).stdout
    asker.remove(force=True)
    wait_for(lambda: "pycontain-names" not in {process.program for process in leftovers.processes().values()})


def looked_up(container: Container, name: str) -> set[str]:
    done = container.run(["nslookup", name, "127.0.0.11"], text=True, check=False)
    answer = done.stdout.partition("\n\n")[2]
    found = {line.split()[-1] for line in answer.splitlines() if line.startswith("Address")}
    return {address for address in found if ":" not in address}


def outward(scene: Scene) -> None:
    make(scene.store, "inner", internal=True)
    seen: list[str] = []
    program = (
        "import socket, sys\nserver = socket.create_server(('0.0.0.0', 9))\n"
        "while True:\n    connection, address = server.accept(); print(address[0], flush=True)\n"
        "    connection.sendall(b'seen'); connection.close()"
    )
    server = subprocess.Popen(
        ["nsenter", "--net", "-t", str(scene.outside._holder.pid), sys.executable, "-c", program],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    threading.Thread(target=lambda: seen.extend(server.stdout or ()), daemon=True).start()
    ask = ["sh", "-c", f"nc -w 2 {THERE} 9 </dev/null"]
    wait_for(lambda: scene.engine.run("busybox", ask, network="bridge", check=False).stdout == b"seen")
    assert {line.strip() for line in seen} == {HERE}
    assert scene.engine.run("busybox", ask, network="inner", check=False).stdout == b""
    server.kill()


def addresses(scene: Scene) -> None:
    make(scene.store, "front", prefixes=["10.50.0.0/24"])
    fixed = scene.engine.start("busybox", ["sleep", "1000"], network="front", ip="10.50.0.9")
    assert address_of(fixed, "front") == "10.50.0.9"
    try:
        scene.engine.run("busybox", ["true"], network="front", ip="10.50.0.9")
    except AddressInUse:
        pass
    else:
        raise AssertionError("two have one address")
    again = scene.engine.start(
        "busybox", ["sh", "-c", "ip addr show eth0; sleep 0.3; exit 1"], network="front", restart="always"
    )
    first = address_of(again, "front")
    wait_for(lambda: again.inspect()["RestartCount"] >= 1 and again.status == "running")
    assert address_of(again, "front") == first
    again.stop()
    hosts = scene.engine.run(
        "busybox", ["cat", "/etc/hosts"], network="front", ip="10.50.0.77", hostname="me", text=True
    )
    assert "10.50.0.77\tme\n" in hosts.stdout
    with ThreadPoolExecutor(8) as threads:
        some = list(
            threads.map(
                lambda _: scene.engine.start("busybox", ["sleep", "1000"], network="front"), range(24)
            )
        )
    assert len({address_of(one, "front") for one in some}) == 24
    for one in (some[0], some[-1]):
        assert one.run(["ping", "-c", "1", "-W", "2", "10.50.0.9"], check=False).returncode == 0
    try:
        scene.engine.run("busybox", ["true"], network="nowhere")
    except NetworkNotFound:
        pass
    else:
        raise AssertionError("there is no such network")


def killed(scene: Scene) -> None:
    make(scene.store, "front")
    moments = random.Random(20)
    program = (
        "import sys; from pycontain import Engine\n"
        f"engine = Engine({scene.root!r})\n"
        "while True:\n"
        "    engine.run('busybox', ['true'], network='front', ports={80: 0})\n"
        "    options = {'network': 'front', 'ports': {80: 0}, 'name': 'it', 'remove': True}\n"
        "    it = engine.start('busybox', ['sleep', '9'], **options)\n"
        "    it.remove(force=True)\n"
    )
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", program])
        time.sleep(0.4 + moments.random() / 2)
        process.kill()
        process.wait()
        for container in scene.engine.containers.list(all=True):
            with contextlib.suppress(ContainerNotFound):  # its own end may be before this one
                pid = container.inspect()["State"]["Pid"]
                if pid and moments.random() < 0.5:
                    with contextlib.suppress(ProcessLookupError, KeyError):
                        os.kill(leftovers.processes()[pid].parent, signal.SIGKILL)
                container.remove(force=True)
    scene.engine.close()
    with Engine(scene.root) as engine:
        assert engine.run("busybox", ["true"], network="front", ports={80: 0}).returncode == 0
        wait_for(lambda: not ports_of_bridges())
        wait_for(lambda: not dead_elements())
    assert not list(scene.store.leases(scene.store.get("front")).held())


def rebooted(scene: Scene) -> None:
    """What is in memory is gone: processes, devices, rules and addresses. Networks are not."""
    family = Family()
    before = leftovers.cgroups()
    make(scene.store, "front")
    scene.web("made", network="front", name="made", ports={80: 8080}, restart="always")
    scene.web("default", name="default", ports={80: 8081}, restart="always")
    family.kill()
    end_groups(family, before)
    for link in json.loads(run("ip", "-j", "link", "show", "type", "bridge")):
        run("ip", "link", "delete", link["ifname"])
    run("nft", "flush", "ruleset")
    for name in os.listdir("/run/pycontain"):
        path = Path("/run/pycontain", name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    scene.engine.close()
    scene.engine = Engine(scene.root)
    assert [network.name for network in scene.engine.networks.list()] == ["bridge", "front", "host", "none"]
    done = scene.cli("system", "start")
    assert sorted(done.stdout.split()) == [b"default", b"made"], done
    wait_for(lambda: http("127.0.0.1:8080") == "made")
    wait_for(lambda: http("127.0.0.1:8081") == "default")
    beside = scene.engine.start("busybox", ["sleep", "1000"], network="front")
    assert looked_up(beside, "made") == {address_of(scene.engine.containers.get("made"), "front")}


# every question has a number of its own; answers are counted by it
QUESTIONS = """
import socket, struct, sys
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.connect(("127.0.0.11", 53))
asking.settimeout(5)
count, window, answered, asked = int(sys.argv[1]), 64, set(), 0
name = b"".join(bytes([len(label)]) + label for label in sys.argv[2].encode().split(b".")) + b"\\0"
while len(answered) < count:
    while asked < count and asked - len(answered) < window:
        asking.send(struct.pack(">HHHHHH", asked, 256, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1))
        asked += 1
    answer = asking.recv(4096)
    number, flags, _, answers, *_ = struct.unpack(">HHHHHH", answer[:12])
    assert flags & 15 == 0 and answers == 1, answer
    answered.add(number)
print(len(answered))
"""


def queried(scene: Scene) -> None:
    """Thousands of questions at once have as many answers."""
    make(scene.store, "front")
    asker = scene.engine.start("busybox", ["sleep", "1000"], network="front", name="asker")
    scene.engine.start("busybox", ["sleep", "1000"], network="front", name="asked")
    inside = ["nsenter", "--net", "-t", str(asker.inspect()["State"]["Pid"])]
    assert run(*inside, sys.executable, "-c", QUESTIONS, "20000", "asked") == "20000\n"


def ports_of_bridges() -> list[str]:
    links = json.loads(run("ip", "-j", "link"))
    return [link["ifname"] for link in links if link["ifname"].startswith("pcv")]


def dead_elements() -> list[str]:
    """Elements whose comment is a bridge and an address: in this scene nobody has one by then."""
    return [line for line in rules().splitlines() if re.search(r'"pc-[0-9a-f]+/', line)]


# answers every question for an address of IPv4 by one
NAME_SERVER = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
while True:
    asked, asker = server.recvfrom(512)
    end = asked.index(0, 12)
    has_one = asked[end + 1 : end + 3] == b"\\0\\1"
    record = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4" + socket.inet_aton(sys.argv[2])
    counts = b"\\0\\1" + bytes([0, has_one]) + b"\\0\\0\\0\\0"
    server.sendto(asked[:2] + b"\\x85\\x80" + counts + asked[12 : end + 5] + record * has_one, asker)
"""
STUB = "nameserver 127.0.0.53\nsearch corp.lan\noptions timeout:1\n"


def resolved(scene: Scene) -> None:
    make(scene.store, "front")
    of_host, of_systemd = (Path(scene.root, name) for name in ("resolv.conf", "systemd.conf"))
    of_host.write_text(STUB)
    run("mount", "--bind", str(of_host), "/etc/resolv.conf")
    os.makedirs("/run/systemd", exist_ok=True)
    run("mount", "-t", "tmpfs", "own", "/run/systemd")
    servers = [
        subprocess.Popen([sys.executable, "-c", NAME_SERVER, "127.0.0.53", "192.0.2.53"]),
        scene.outside.start(sys.executable, "-c", NAME_SERVER, THERE, "192.0.2.2"),
    ]
    try:
        in_networks_of_ones_own(scene)
        in_the_default_network(scene, of_host, of_systemd)
    finally:
        for server in servers:
            server.kill()
            server.wait()


def resolv_conf(scene: Scene, **options: Any) -> str:
    done = scene.engine.run("busybox", ["cat", "/etc/resolv.conf"], text=True, **options)
    return str(done.stdout)


def in_networks_of_ones_own(scene: Scene) -> None:
    own = "nameserver 127.0.0.11\n"
    assert resolv_conf(scene, network="front") == f"{own}search corp.lan\noptions timeout:1 ndots:0\n"
    asked: dict[str, Any] = {"dns": [THERE], "dns_search": ["a.lan", "b.lan"]}
    asked["dns_options"] = ["ndots:2", "rotate"]
    expected = f"{own}search a.lan b.lan\noptions ndots:2 rotate\n"
    assert resolv_conf(scene, network="front", **asked) == expected
    assert resolv_conf(scene, network="front", dns_search=["."]) == f"{own}options timeout:1 ndots:0\n"
    assert resolv_conf(scene, network="none", dns=[THERE]) == f"nameserver {THERE}\n"
    of_host = resolv_conf(scene, network="host", dns=[THERE], dns_search=["."])
    assert of_host == f"nameserver {THERE}\noptions timeout:1\n"
    asker = scene.engine.start("busybox", ["sleep", "1000"], network="front", name="asker", **asked)
    other = scene.engine.start("busybox", ["sleep", "1000"], network="front")
    for _ in range(2):
        wait_for(lambda: looked_up(asker, "far.example.com") == {"192.0.2.2"})
        wait_for(lambda: looked_up(other, "far.example.com") == {"192.0.2.53"})
        assert looked_up(other, "asker") == {address_of(asker, "front")}
        assert asker.run(["cat", "/etc/resolv.conf"], text=True).stdout == expected
        asker.restart(timeout=0)
    config = asker.inspect()["HostConfig"]
    assert [config["Dns"], config["DnsSearch"], config["DnsOptions"]] == list(asked.values())


def in_the_default_network(scene: Scene, of_host: Path, of_systemd: Path) -> None:
    rest = "search corp.lan\noptions timeout:1\n"
    given = resolv_conf(scene, network="bridge", dns=[THERE, "127.0.0.1"])
    assert given == f"nameserver {THERE}\nnameserver 127.0.0.1\n{rest}"
    # without any server that is reached from there, those of the host are asked from the host
    box = scene.engine.start("busybox", ["sleep", "1000"], network="bridge")
    assert box.run(["cat", "/etc/resolv.conf"], text=True).stdout == f"nameserver 127.0.0.11\n{rest}"
    wait_for(lambda: looked_up(box, "far.example.com") == {"192.0.2.53"})
    # what systemd's stub asks is asked directly
    os.makedirs("/run/systemd/resolve")
    of_systemd.write_text(f"nameserver {THERE}\nnameserver fd00::2\nsearch of.systemd\n")
    os.symlink(of_systemd, "/run/systemd/resolve/resolv.conf")
    expected = f"nameserver {THERE}\nsearch of.systemd\n"
    assert resolv_conf(scene, network="bridge") == expected
    box.restart(timeout=0)
    assert box.run(["cat", "/etc/resolv.conf"], text=True).stdout == expected
    wait_for(lambda: "192.0.2.2" in box.run(["nslookup", "far.lan", THERE], text=True, check=False).stdout)
    # a host with servers of the network has no need of that
    of_host.write_text(f"nameserver ::1\nnameserver {THERE}\n")
    assert resolv_conf(scene, network="bridge") == f"nameserver {THERE}\n"
    of_host.write_text("# nobody\n")
    assert resolv_conf(scene, network="bridge") == ""


def hosts(scene: Scene) -> None:
    make(scene.store, "front", ipv6=True)
    asked = ["db:10.9.9.9", "six=[fd00::5]", "me:host-gateway"]
    box = scene.engine.start("busybox", ["sleep", "1000"], network="front", add_host=asked)
    for _ in range(2):
        found = box.inspect()["NetworkSettings"]["Networks"]["front"]
        gateways = [f"{found[key]}\tme" for key in ("Gateway", "IPv6Gateway")]
        lines = lines_of_hosts(box)
        assert lines[lines.index("10.9.9.9\tdb") :][:4] == ["10.9.9.9\tdb", "fd00::5\tsix", *gateways]
        assert f"{address_of(box, 'front')}\t{box.id[:12]}" in lines
        box.restart(timeout=0)
    assert box.inspect()["HostConfig"]["ExtraHosts"] == ["db:10.9.9.9", "six:fd00::5", "me:host-gateway"]
    assert box.run(["ping", "-c", "1", "-W", "2", "me"], check=False).returncode == 0
    flags = ["--add-host", "me:host-gateway", "busybox", "true"]
    done = scene.cli("run", "--rm", "--network", "none", *flags)
    assert (done.returncode, b"--add-host=host-gateway" in done.stderr) == (125, True), done
    assert scene.cli("run", "--rm", "--network", "host", *flags).returncode == 0


def lines_of_hosts(container: Container) -> list[str]:
    return str(container.run(["cat", "/etc/hosts"], text=True).stdout).splitlines()


def links(scene: Scene) -> None:
    make(scene.store, "front")
    options: dict[str, Any] = {"network": "front", "links": {"web": "other", "late": "soon"}}
    asker = scene.engine.start("busybox", ["sleep", "1000"], name="asker", **options)
    web = scene.engine.start("busybox", ["sleep", "1000"], network="front", name="web")
    other = scene.engine.start("busybox", ["sleep", "1000"], network="front", name="other")
    for _ in range(2):
        assert looked_up(asker, "other") == looked_up(asker, "OTHER.front") == {address_of(web, "front")}
        assert looked_up(other, "other") == {address_of(other, "front")}
        assert looked_up(asker, "web") == {address_of(web, "front")}
        assert looked_up(asker, "soon") == set()
        asker.restart(timeout=0)
    late = scene.engine.start("busybox", ["sleep", "1000"], network="front", name="late")
    assert looked_up(asker, "soon") == {address_of(late, "front")}
    assert looked_up(other, "soon") == set()
    assert asker.inspect()["NetworkSettings"]["Networks"]["front"]["Links"] == ["web:other", "late:soon"]
    in_hosts_files(scene)


def in_hosts_files(scene: Scene) -> None:
    """Of the default network."""
    box: dict[str, Any] = {"network": "bridge"}
    db = scene.engine.start("busybox", ["sleep", "1000"], name="db", hostname="store.lan", **box)
    user = scene.engine.start("busybox", ["sleep", "1000"], name="user", links=["db:data", db.id[:12]], **box)
    names = "data store.lan store db"
    assert f"{address_of(db)}\t{names}" in lines_of_hosts(user)
    assert user.run(["ping", "-c", "1", "-W", "2", "data"], check=False).returncode == 0
    assert user.inspect()["HostConfig"]["Links"][0] == "/db:/user/data"
    user.stop(timeout=0)
    db.stop(timeout=0)
    refused = scene.cli("start", "user")
    assert (refused.returncode, b"cannot link to container `db`" in refused.stderr) == (1, True), refused
    taker = scene.engine.start("busybox", ["sleep", "1000"], **box)
    db.start()
    user.start()
    assert f"{address_of(db)}\t{names}" in lines_of_hosts(user)
    taker.remove(force=True)
    words = ["run", "--rm", "--network", "bridge", "--link", "nobody", "busybox", "true"]
    done = scene.cli(*words)
    assert (done.returncode, b"no such container: `nobody`" in done.stderr) == (125, True), done


def exposed(scene: Scene) -> None:
    box = scene.engine.create("busybox", ["true"])
    box.commit("serving", changes=["EXPOSE 80", "EXPOSE 53/udp"])
    words = ["httpd", "-f", "-p", "80"]
    options: dict[str, Any] = {"network": "bridge", "expose": ["8000-8001"]}
    web = scene.engine.start("serving", words, publish_all=True, ports={8001: 8085}, **options)
    for _ in range(2):
        ports = web.ports()
        assert set(ports) == {"80/tcp", "53/udp", "8000/tcp", "8001/tcp"}
        assert ports["8001/tcp"] == [("0.0.0.0", 8085)]
        host, port = web.port(80)
        wait_for(lambda at=f"{host}:{port}": "404" in answer(at))  # type: ignore[misc]
        web.restart(timeout=0)
    document = web.inspect()
    assert document["HostConfig"]["PublishAllPorts"] is True
    assert document["Config"]["ExposedPorts"] == {port: {} for port in sorted(ports, key=number_of)}
    quiet = scene.engine.start("serving", words, ports=[81], **options).inspect()
    expected = {"53/udp": None, "80/tcp": None, "8000/tcp": None, "8001/tcp": None}
    bound = quiet["NetworkSettings"]["Ports"].pop("81/tcp")
    assert (len(bound), quiet["NetworkSettings"]["Ports"]) == (1, expected)
    assert "81/tcp" in quiet["Config"]["ExposedPorts"]
    row = scene.cli("ps", "--filter", f"id={quiet['Id']}", "--format", "{{.Ports}}").stdout.decode()
    assert row == f"80/tcp, 8000-8001/tcp, 0.0.0.0:{bound[0]['HostPort']}->81/tcp, 53/udp\n"
    names = {web.name: {"80", "8001", "53/udp"}, quiet["Name"][1:]: {"81"}}
    for wanted in ("80", "8001", "53/udp", "81", "82", "53"):
        listed = scene.cli("ps", "--filter", f"publish={wanted}", "--format", "{{.Names}}").stdout.decode()
        assert set(listed.split()) == {name for name, given in names.items() if wanted in given}, wanted
    assert len(scene.engine.containers.list(expose=["8000-8009"])) == 2
    done = scene.cli("run", "--rm", "--network", "none", "-P", "busybox", "true")
    told = b"`--publish-all` has no meaning with `--network=none`\nhint: `--network=bridge`"
    assert (done.returncode, told in done.stderr, done.stderr.count(b"\n")) == (125, True, 2), done


def number_of(port: str) -> int:
    return int(port.partition("/")[0])


def answer(place: str) -> str:
    host, _, port = place.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 2) as connection:
        connection.sendall(b"GET /nothing HTTP/1.0\r\n\r\n")
        return connection.makefile("rb").read().decode()
    return ""


SCENES: dict[str, Callable[[Scene], None]] = {
    scene.__name__: scene
    for scene in (
        by_default, published, datagrams, apart, named, outward, addresses, killed, resolved, hosts, links,
        exposed, rebooted, queried,
    )
}  # fmt: skip


def main(arguments: Sequence[str], scenes: Mapping[str, Callable[[Scene], None]] = SCENES) -> None:
    name, root, archive = arguments
    scene = Scene(root, archive)
    try:
        scenes[name](scene)
    finally:
        scene.close()
    assert not Path(root, "ephemeral").exists() or not os.listdir(f"{root}/ephemeral")


if __name__ == "__main__":
    main(sys.argv[1:])
