"""Base images out of a distribution's own package mirror, by an installed mmdebstrap or debootstrap."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile

from pycontain.errors import InvalidOption, Unsupported
from pycontain.images.importing import import_file_system
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

    from pycontain.images.stage import Unpacker
    from pycontain.images.store import Store, StoredImage

__all__ = ["bootstrap"]

_VARIANTS = (
    "minbase",
    "apt",
    "buildd",
    "essential",
    "standard",
    "important",
    "custom",
    "extract",
    "required",
)
_CHUNK = 1 << 16
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.+-")
_CHANGES = (
    "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    'CMD ["bash"]',
)


class _Distribution(Value):
    """What has to be known of one."""

    __slots__ = ("keyring", "package", "newest")  # noqa: RUF023 - the constructor's order
    keyring: str
    package: str
    newest: str

    def __init__(self, keyring: str, package: str, newest: str) -> None:
        self._set(keyring=keyring, package=package, newest=newest)


_DISTRIBUTIONS = {
    "debian": _Distribution(
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "debian-archive-keyring",
        "stable",
    ),
    "ubuntu": _Distribution(
        "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
        "ubuntu-keyring",
        "noble",
    ),
}


def bootstrap(
    store: Store,
    launcher: Unpacker,
    wanted: str,
    name: str | None = None,
    *,
    mirror: str | None = None,
    variant: str = "minbase",
    include: Iterable[str] = (),
) -> StoredImage:
    """Make the image of a distribution.

    Args:
        store: where to.
        launcher: removes what debootstrap made, whoever owns it.
        wanted: `debian:bookworm`.
        name: the image's; None: as `wanted`.
        mirror: where packages come from; None: as this machine's apt has it, else the distribution's own.
        variant: which packages there are: `minbase`, …
        include: further packages.

    Raises:
        InvalidOption: there is no such distribution or variant.
        Unsupported: no program is installed that makes one, or it failed; says why.
    """
    distribution, _, suite = wanted.partition(":")
    known = _DISTRIBUTIONS.get(distribution)
    packages = list(include)
    if known is None:
        raise InvalidOption(
            f"cannot bootstrap `{wanted}`: must be one of {', '.join(_DISTRIBUTIONS)}, and its suite"
        )
    suite = suite or known.newest
    _check(variant, [suite, *packages])
    place = mirror or _aptly(distribution, suite)
    if not os.path.exists(known.keyring):
        raise Unsupported(
            f"cannot bootstrap `{wanted}`: the keys of {distribution} are not here: no `{known.keyring}`",
            hint=f"install the package {known.package}",
        )
    options = [f"--variant={variant}", f"--keyring={known.keyring}"]
    options += [f"--include={','.join(packages)}"] if packages else []
    # without a mirror the program takes the distribution's own
    source = [place] if place else []
    with store.stage() as stage, _made(stage.path, launcher, wanted, suite, source, options) as made:
        stream, finish = made
        return import_file_system(
            store,
            stream,
            name or wanted,
            changes=_CHANGES,
            message=" from ".join([f"{distribution} {suite}", *source]),
            finish=finish,
        )


def _check(variant: str, words: Iterable[str]) -> None:
    if variant not in _VARIANTS:
        raise InvalidOption(f"invalid value `{variant}` for `variant`: must be one of {', '.join(_VARIANTS)}")
    for word in words:  # they become words of a command line
        if not word or not _LETTERS.issuperset(word) or word[0] in "-.+":
            raise InvalidOption(f"`{word}` is no name of a suite or package")


def _aptly(distribution: str, suite: str) -> str | None:
    """Where this machine's apt gets that suite from, if it does."""
    apt = shutil.which("apt-get")
    if apt is None:
        return None
    command = [apt, "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        release, _, place = line.partition(" ")
        if release == suite and place.rstrip("/").endswith("/" + distribution):
            return place.rstrip("/")
    return None


@contextlib.contextmanager
def _made(
    directory: str, launcher: Unpacker, wanted: str, suite: str, source: list[str], options: list[str]
) -> Iterator[tuple[IO[bytes], _Finish]]:
    """The tar of the file system, while it is made, and what is to be asked when it has been read."""
    if program := shutil.which("mmdebstrap"):
        # as root it makes the file system as root, else in a user namespace with subordinate ids
        # device nodes would keep ordinary users from having the image; containers have a /dev of their own
        with _running([program, "--skip=output/dev", *options, suite, "-", *source], wanted) as made:
            yield made
        return
    program = shutil.which("debootstrap")
    if program is None:
        raise Unsupported(
            f"cannot bootstrap `{wanted}`: neither `mmdebstrap` nor `debootstrap` is installed",
            hint="install the package mmdebstrap",
        )
    if os.geteuid():
        raise Unsupported(
            f"cannot bootstrap `{wanted}`: `debootstrap` needs root", hint="install the package mmdebstrap"
        )
    tree = f"{directory}/{os.urandom(6).hex()}"
    os.mkdir(tree, 0o755)
    try:
        # debootstrap says on stdout what went wrong; and it keeps the packages
        with _running(
            ["sh", "-c", 'exec "$@" >&2', "sh", program, *options, suite, tree, *source], wanted
        ) as made:
            made[1]()
        tar = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", tree]
        tar += ["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./dev/*", "-c", "."]
        with _running(tar, wanted) as made:
            yield made
    finally:
        launcher.remove_tree(tree)


class _Finish:
    """Waits for the program; raises what it said, if it failed."""

    def __init__(self, process: subprocess.Popen[bytes], said: IO[bytes], wanted: str) -> None:
        self._process = process
        self._said = said
        self._wanted = wanted

    def __call__(self) -> None:
        """Raises: Unsupported: it failed."""
        assert self._process.stdout is not None
        while self._process.stdout.read(_CHUNK):
            pass  # what nobody wants any more; else it would wait for a reader
        status = self._process.wait()
        if status == 0:
            return
        self._said.seek(0)
        lines = [
            line.strip() for line in self._said.read().decode(errors="replace").splitlines() if line.strip()
        ]
        errors = [line for line in lines if line.startswith(("E: ", "W: GPG"))]
        # mmdebstrap's own last word is that apt failed; apt's before that says why
        reason = next(iter(errors), lines[-1] if lines else f"exit status {status}")
        raise Unsupported(f"cannot bootstrap `{self._wanted}`: {reason.removeprefix('E: ')}")


@contextlib.contextmanager
def _running(command: list[str], wanted: str) -> Iterator[tuple[IO[bytes], _Finish]]:
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        assert process.stdout is not None
        try:
            yield process.stdout, _Finish(process, said, wanted)
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.terminate()  # not killed: it has mounts to undo
            process.wait()
