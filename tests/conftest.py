"""What tests of several subjects share: the real core, engines, images, or a skip that says why."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import containers
import docker_daemon
import leftovers
import pytest
import registries
import root_filesystems
import shops
from pycontain.images.store import Store
from pycontain.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain import Engine
    from pycontain._core import Launcher
    from registries import Registry
    from shops import Shop

# tests of networks make hosts of their own for that: nothing of this machine's is changed
os.environ["PYCONTAIN_NETWORK"] = "none"

CGROUP2 = Path("/sys/fs/cgroup/cgroup.controllers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs what this machine, or this user, does not have."""
    missing = {
        "root": "" if os.geteuid() == 0 else "needs root",
        "rootless": "" if os.geteuid() else "needs an ordinary user",
        "cgroup2": _no_cgroup2(),
        "limits": _no_limits(),
    }
    for item in items:
        for marker, reason in missing.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def _no_cgroup2() -> str:
    if not CGROUP2.exists():
        return "needs cgroup v2 alone on /sys/fs/cgroup"
    own = Path("/sys/fs/cgroup") / Path("/proc/self/cgroup").read_text().strip().removeprefix("0::/")
    if "memory" not in (own / "cgroup.controllers").read_text().split():
        return "needs cgroup v2 with controllers in the own cgroup"
    return ""


def _no_limits() -> str:
    if CGROUP2.exists():
        return _no_cgroup2()
    return (
        ""
        if os.access("/sys/fs/cgroup/memory/cgroup.procs", os.W_OK)
        else "needs cgroups that may be written"
    )


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A store of the test's own."""
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    return Paths(str(tmp_path / "root"), str(run))


@pytest.fixture
def launcher(paths: Paths) -> Iterator[Launcher]:
    """The real launcher."""
    core = pytest.importorskip("pycontain._core", reason="the Rust core is not built")
    launcher: Launcher = core.Launcher(paths.run)
    yield launcher
    launcher.close()


@pytest.fixture
def store(paths: Paths, launcher: Launcher) -> Iterator[Store]:
    """An empty store."""
    store = Store(paths, launcher)
    yield store
    store.close()


@pytest.fixture(scope="session")
def engine_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the session's engine; in the virtual machine TMPDIR is on a disk that overlays can use."""
    root = tmp_path_factory.mktemp("engine")
    yield str(root)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def engine(engine_root: str) -> Iterator[Engine]:
    """An engine for the whole session."""
    pytest.importorskip("pycontain._core", reason="the Rust core is not built")
    from pycontain import Engine

    with Engine(engine_root) as engine:
        yield engine


@pytest.fixture(scope="session")
def busybox_layer() -> bytes:
    """A small root file system as a tar."""
    return root_filesystems.busybox_layer(root_filesystems.busybox_program())


@pytest.fixture(scope="session")
def busybox(engine: Engine, busybox_layer: bytes, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image of busybox in the session's engine."""
    archive = tmp_path_factory.mktemp("busybox") / "busybox.tar"
    archive.write_bytes(busybox_layer)
    engine.images.import_(archive, "busybox", changes=['CMD ["sh"]'])
    return "busybox"


@pytest.fixture
def rootfs(tmp_path: Path, busybox_layer: bytes) -> Path:
    """A directory with busybox as a root file system, for one test."""
    made = tmp_path / "rootfs"
    made.mkdir(mode=0o755)
    with tarfile.open(fileobj=io.BytesIO(busybox_layer)) as archive:
        archive.extractall(made, filter="fully_trusted")
    return made


@pytest.fixture(scope="session")
def debian(engine: Engine) -> str:
    """The name of an image of Debian in the session's engine."""
    engine.images.import_(root_filesystems.debian_tar(), "debian:bookworm", changes=['CMD ["bash"]'])
    return "debian:bookworm"


@pytest.fixture(scope="session")
def docker_archive(busybox_layer: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `docker save` would write, written by skopeo: busybox with a configuration."""
    directory = tmp_path_factory.mktemp("skopeo")
    config = {
        "Env": ["FROM=archive", "PATH=/bin"],
        "Cmd": ["sh", "-c", "echo $FROM"],
        "WorkingDir": "/var/tmp",
    }
    layout = root_filesystems.oci_layout(directory / "layout", [busybox_layer], "latest", config=config)
    archive = directory / "saved.tar"
    root_filesystems.by_skopeo(f"oci:{layout}:latest", f"docker-archive:{archive}:shop/saved:1.0")
    return archive


@pytest.fixture(scope="session")
def cli(engine: Engine, engine_root: str) -> containers.Cli:
    """The installed command line, on the session's engine's root."""
    program = containers.installed()
    if not program.exists():
        pytest.skip(f"no `{program}`: the package is not installed")
    return containers.Cli(program, engine_root)


@pytest.fixture
def both(engine: Engine, cli: containers.Cli, busybox: str) -> containers.BothWays:
    """Runs a container by the command line and by Python, which must agree."""
    return containers.BothWays(engine, cli, busybox)


@pytest.fixture
def nothing_left(engine: Engine, engine_root: str, busybox: str) -> Iterator[leftovers.Watch]:
    """After the test the host is as it was before."""
    engine.run(busybox, "true")  # so that the launcher and its spare are there before
    watch = leftovers.Watch.begin(engine_root)
    yield watch
    watch.check()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry without authentication, for the whole session."""
    with registries.running(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def settings_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings and credentials of the test's own: quick to give up, nobody else's passwords."""
    directory = tmp_path / "config" / "pycontain"
    directory.mkdir(parents=True)
    (directory / "registries.toml").write_text("timeout = 20\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return directory


@pytest.fixture
def fresh(tmp_path: Path, settings_directory: Path) -> Iterator[Engine]:
    """An engine with an empty store."""
    pytest.importorskip("pycontain._core", reason="the Rust core is not built")
    from pycontain import Engine

    with Engine(tmp_path / "root") as engine:
        yield engine


@pytest.fixture
def fresh_cli(fresh: Engine, tmp_path: Path) -> containers.Cli:
    """The installed command line on the same store."""
    program = containers.installed()
    if not program.exists():
        pytest.skip(f"no `{program}`: the package is not installed")
    return containers.Cli(program, str(tmp_path / "root"))


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A docker client, whose daemon is the tests' own."""
    with docker_daemon.running(tmp_path_factory.mktemp("docker")) as client:
        yield client


@pytest.fixture
def own(fresh: Engine, busybox_layer: bytes, tmp_path: Path) -> Iterator[Engine]:
    """An engine with an image of busybox; its containers are removed."""
    archive = tmp_path / "busybox.tar"
    archive.write_bytes(busybox_layer)
    fresh.images.import_(archive, "busybox", changes=['CMD ["sh"]'])
    yield fresh
    for container in fresh.containers.list(all=True):
        container.remove(force=True)


@pytest.fixture
def default_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine of the test's own, and that of the command line when it is called in this process."""
    pytest.importorskip("pycontain._core", reason="the Rust core is not built")
    from pycontain import Engine

    monkeypatch.setenv("PYCONTAIN_ROOT", str(tmp_path / "root"))
    with Engine(tmp_path / "root") as engine:
        monkeypatch.setattr("pycontain.engine._default", engine)
        yield engine


@pytest.fixture(scope="module")
def shop(busybox_layer: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """An engine of the module's own, with an image of busybox."""
    pytest.importorskip("pycontain._core", reason="the Rust core is not built")
    program = containers.installed()
    if not program.exists():
        pytest.skip(f"no `{program}`: the package is not installed")
    from pycontain import Engine

    root = tmp_path_factory.mktemp("shop")
    with Engine(root) as engine:
        engine.images.import_(io.BytesIO(busybox_layer), "busybox", changes=['CMD ["sh"]', "ENV A=1"])
        yield shops.Shop(engine, containers.Cli(program, str(root)))
    shutil.rmtree(root, ignore_errors=True)
