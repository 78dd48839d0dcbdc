"""Names of containers: `<root>/names/<name>`, a link to the directory of the container.

A link is made exclusively, so a name is unique without a lock. What counts is the name that the container
itself has written down: a link whose container has another name was left by a rename that was killed, one
that leads nowhere by a removal, one to a directory without a name and without a lock by its maker. Each may
be taken over. A link is replaced or taken away by one process at a time: who has found it to be worth nothing
must not take away what another has put there since.
"""

from __future__ import annotations

import contextlib
import functools
import os

from pycontain.errors import InvalidOption, NameInUse
from pycontain.images import staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.paths import Paths
    from pycontain.runtime.records import Record

__all__ = ["collect", "generate", "give_up", "owner", "rename", "take", "take_any", "take_locked"]

_ADJECTIVES = (
    "able agile amber awake bold brave brisk bright calm candid clear clever cosy crisp daring deft eager "
    "early easy exact fair fancy fast fine firm fleet fond free fresh gentle glad golden good grand happy "
    "hardy honest humble ideal jolly just keen kind lively loyal lucid lucky merry mild modest neat nimble "
    "noble open patient plain polite prompt proud quick quiet ready royal sage sane sharp silver sincere "
    "smart smooth snug solid spry stable steady stoic sunny sure swift tidy trim true upbeat valiant vivid "
    "warm wise witty worthy young zesty"
).split()
_BIRDS = (
    "albatross avocet barbet bittern bluethroat bunting buzzard chiffchaff condor coot cormorant crane "
    "crossbill cuckoo curlew dipper dotterel dove dunlin eagle egret eider falcon fieldfare finch flamingo "
    "fulmar gadwall gannet godwit goldcrest goshawk grebe guillemot harrier hawfinch heron hobby hoopoe ibis "
    "jackdaw jay kestrel kingfisher kite kittiwake knot lapwing lark linnet magpie martin merlin nightingale "
    "nightjar nuthatch oriole osprey ouzel owl oystercatcher partridge pelican petrel pintail pipit plover "
    "pochard ptarmigan puffin quail rail raven redpoll redstart robin rook ruff sanderling sandpiper "
    "scoter serin shearwater shoveler shrike siskin skua smew snipe sparrow spoonbill starling stilt stint "
    "stonechat stork swallow swan swift teal tern thrush treecreeper turnstone twite vulture wagtail warbler "
    "waxwing wheatear whimbrel whinchat wigeon woodcock wren wryneck yellowhammer"
).split()


def generate() -> str:
    """A name that is most likely free: `brave_heron`."""
    number = int.from_bytes(os.urandom(4))
    number, bird = divmod(number, len(_BIRDS))
    return f"{_ADJECTIVES[number % len(_ADJECTIVES)]}_{_BIRDS[bird]}"


def take(paths: Paths, name: str, path: str) -> None:
    """Make the name lead to the container of this directory.

    Raises:
        NameInUse: it leads to another one.
    """
    with contextlib.suppress(FileExistsError):
        try:
            os.symlink(_target(paths, path), f"{paths.names}/{name}")
        except FileNotFoundError:
            os.makedirs(paths.names, exist_ok=True)
            os.symlink(_target(paths, path), f"{paths.names}/{name}")
        return
    with staging.locked(paths.names):
        take_locked(paths, name, path)


def take_any(paths: Paths, path: str) -> str:
    """Give it a name that nobody has; with many containers a number goes with it, as in docker."""
    for attempt in range(1000):
        name = generate() + (str(attempt) if attempt > 3 else "")
        with contextlib.suppress(NameInUse):
            take(paths, name, path)
            return name
    raise NameInUse("no name is free", hint="remove containers: `pycontain container prune`")


def rename(paths: Paths, path: str, name: str) -> tuple[Record, str]:
    """Give the container of this directory another name; returns what it is now, and its name before.

    Raises:
        NameInUse: another container has it.
        InvalidOption: it is its name already.
    """
    from pycontain.runtime import records

    with staging.locked(paths.names):
        record = records.read_record(path)
        if record.name == name:
            raise InvalidOption(f"container `{name}` has that name already")
        take_locked(paths, name, path)
        renamed = records.changed(record, name=name)
        try:
            records.write_record(path, renamed)  # from here on it has the new one
        except BaseException:
            os.unlink(f"{paths.names}/{name}")
            raise
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{paths.names}/{record.name}")
    return renamed, record.name


def give_up(paths: Paths, name: str, id: str) -> None:
    """The container is gone, and its name is free."""
    link = f"{paths.names}/{name}"
    with contextlib.suppress(OSError), staging.locked(paths.names):
        if os.path.basename(os.readlink(link)) == id:
            os.unlink(link)


def collect(paths: Paths) -> None:
    """Take away the links that lead nowhere: of containers whose removal was killed."""
    with contextlib.suppress(FileNotFoundError), staging.locked(paths.names):
        for name in staging.names(paths.names):
            link = f"{paths.names}/{name}"
            if not os.path.exists(link):
                os.unlink(link)


def owner(paths: Paths, name: str) -> str | None:
    """The path of the directory that the name leads to; whether it still has the name is another matter."""
    if "/" in name or not name:
        return None
    with contextlib.suppress(OSError):
        return os.path.normpath(os.path.join(paths.names, os.readlink(f"{paths.names}/{name}")))
    return None


def _target(paths: Paths, path: str) -> str:
    parent, id = os.path.split(path)
    return f"{_relative(parent, paths.names)}/{id}"


_relative = functools.cache(os.path.relpath)


def take_locked(paths: Paths, name: str, path: str) -> None:
    """As `take`, by who holds the lock on the names."""
    link = f"{paths.names}/{name}"
    while True:
        with contextlib.suppress(FileExistsError):
            os.symlink(_target(paths, path), link)
            return
        other = owner(paths, name)
        if other is not None and _has_name(other, name):
            raise NameInUse(
                f"the container name `{name}` is already in use by container `{os.path.basename(other)}`",
                hint="remove or rename that container, or choose another name",
            )
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)


def _has_name(path: str, name: str) -> bool:
    from pycontain.runtime import records

    for _ in range(2):  # whoever made it may write it down and let go of it between the two looks
        with contextlib.suppress(FileNotFoundError):
            return records.read_record(path).name == name
        if staging.is_held(path):  # it goes with its command, or is being made
            return True
    return False
