"""Archives of images, as `docker save` writes them: an OCI layout, with docker's own `manifest.json` in it.

    blobs/sha256/<digest>    configurations, manifests, and layers as they came, compressed or not
    index.json, oci-layout   the OCI's: a manifest for each name
    manifest.json            docker's, and podman's
    repositories             docker's before 2014

The same images give the same bytes: entries are sorted, and have no time. Layers go from file to file within
the kernel; nothing is compressed or inflated.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat

from pycontain.errors import ImageNotFound, InvalidOption, StoreError, Unsupported
from pycontain.images.reference import parse
from pycontain.images.tape import Tape
from pycontain.paths import absolute
from pycontain.runtime.sizes import check_file
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import IO, Any

    from pycontain.images.blobs import Blob
    from pycontain.images.reference import Reference
    from pycontain.images.store import Store, StoredImage

__all__ = ["save"]

_OCI = "application/vnd.oci.image"
_BLOBS = "blobs/sha256/"
_ATTEMPTS = 5


class _Chosen(Value):
    """An image, and the names that it has in the archive."""

    __slots__ = ("image", "names")
    image: StoredImage
    names: tuple[Reference, ...]

    def __init__(self, image: StoredImage, names: Iterable[Reference]) -> None:
        self._set(image=image, names=tuple(names))


def save(
    store: Store,
    names: Sequence[str],
    target: str | os.PathLike[str] | IO[bytes],
    *,
    platform: str | None = None,
) -> None:
    """Write an archive of these images.

    Args:
        store: where from.
        names: one without a tag stands for all tags of its repository; by its id, an image has no name there.
        target: a path, which appears when all of it is written; or something open to write to.
        platform: `linux/amd64`: what the images must be for.

    Raises:
        ImageNotFound: one of them is not here.
        Unsupported: one is for another platform.
        StoreError: the archive cannot be written.
    """
    check_file("target", target, "write")
    chosen = _chosen(store, names)
    for one in chosen:
        _check_platform(one.image, platform)
    # claims keep the layers from going before their blobs are open
    with store.stage() as stage, contextlib.ExitStack() as opened:
        for diff_id in {diff_id for one in chosen for diff_id in one.image.diff_ids}:
            stage.claim(diff_id)
        entries, descriptors = _held(store, chosen, opened)
        with _opened(target) as file:
            tape = Tape(file)
            for directory in ("blobs", _BLOBS.removesuffix("/")):
                tape.directory(directory)
            for name, content in sorted(entries.items()):
                if isinstance(content, bytes):
                    tape.document(name, content)
                else:
                    tape.file(name, descriptors[content.path], content.size, content.path)
            tape.end()


def _chosen(store: Store, names: Sequence[str]) -> list[_Chosen]:
    if not names:
        raise InvalidOption("no image to save is named")
    found: dict[str, _Chosen] = {}
    for name in names:
        for image, references in _resolved(store, name):
            before = found[image.id].names if image.id in found else ()
            found[image.id] = _Chosen(image, dict.fromkeys([*before, *references]))
    return [found[id] for id in sorted(found)]


def _resolved(store: Store, name: str) -> Iterator[tuple[StoredImage, list[Reference]]]:
    try:
        wanted = parse(name)
    except InvalidOption:
        yield store.get(name), []  # an id, or nothing at all
        return
    if wanted.tag is None and wanted.digest is None:
        summaries = store.summaries()
        tagged = [
            (one.id, [tag for tag in one.tags if tag.repository == wanted.repository]) for one in summaries
        ]
        if any(tags for _, tags in tagged):
            for id, tags in tagged:
                if tags:
                    yield store.get(id), tags
            return
    image = store.get(name)
    yield image, [one for one in image.names if one.tag and one.key == wanted.key]


def _check_platform(image: StoredImage, platform: str | None) -> None:
    own = f"{image.os or 'linux'}/{image.architecture}"
    if platform is not None and own != "/".join(platform.split("/")[:2]):
        raise Unsupported(
            f"image `{image.id[7:19]}` is for {own}, not for `{platform}`",
            hint="an image has one platform here",
        )


def _held(
    store: Store, chosen: Iterable[_Chosen], opened: contextlib.ExitStack
) -> tuple[dict[str, bytes | Blob], dict[str, int]]:
    """The entries, and the descriptors of their blobs by path: from now on nobody can take them away."""
    descriptors: dict[str, int] = {}
    for attempt in range(_ATTEMPTS):
        entries = _entries(store, chosen)
        for blob in entries.values():
            if isinstance(blob, bytes) or blob.path in descriptors:
                continue
            try:
                descriptors[blob.path] = os.open(blob.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                # a push that compresses a plain tar puts another blob in its place
                if isinstance(error, FileNotFoundError) and attempt + 1 < _ATTEMPTS:
                    break
                raise StoreError(
                    f"cannot read `{blob.path}`: {(error.strerror or str(error)).lower()}",
                    errno=error.errno,
                    filename=blob.path,
                ) from error
            opened.callback(os.close, descriptors[blob.path])
        else:
            break
    return entries, descriptors


def _entries(store: Store, chosen: Iterable[_Chosen]) -> dict[str, bytes | Blob]:
    entries: dict[str, bytes | Blob] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    index: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    repositories: dict[str, dict[str, str]] = {}
    for one in chosen:
        configuration = store.configuration(one.image.id)
        layers = store.layers(one.image.id)
        blobs = [_kept(layer.blob, layer.diff_id) for layer in layers]
        manifest = _manifest(store.manifest(one.image.id), configuration, blobs)
        for content in (configuration, manifest):
            entries[_BLOBS + hashlib.sha256(content).hexdigest()] = content
        entries |= {_entry(blob.digest): blob for blob in blobs}
        index += _descriptors(manifest, one.names)
        listed.append(
            {
                "Config": _entry(one.image.id),
                "RepoTags": [name.familiar for name in one.names] or None,
                "Layers": [_entry(blob.digest) for blob in blobs],
                "LayerSources": {
                    layer.diff_id: _descriptor(blob) for layer, blob in zip(layers, blobs, strict=True)
                },
            }
        )
        for name in one.names:
            top = blobs[-1].digest[7:] if blobs else ""
            repositories.setdefault(name.familiar_repository, {})[name.tag or ""] = top
    entries["index.json"] = _json(
        {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": index}
    )
    entries["manifest.json"] = _json(listed)
    if repositories:
        entries["repositories"] = _json(repositories)
    return entries


def _kept(blob: Blob | None, diff_id: str) -> Blob:
    if blob is None:
        raise Unsupported(
            f"layer {diff_id} was added by a pycontain that did not keep layers as they came",
            hint="remove the image, and add it again",
        )
    return blob


def _manifest(came: bytes | None, configuration: bytes, blobs: Sequence[Blob]) -> bytes:
    """The manifest that the image came with, and so its digest, if it is of these blobs. Else a new one."""
    if came is not None:
        layers = json.loads(came).get("layers") or ()
        if [layer.get("digest") for layer in layers] == [blob.digest for blob in blobs]:
            return came
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": {
                "mediaType": f"{_OCI}.config.v1+json",
                "digest": "sha256:" + hashlib.sha256(configuration).hexdigest(),
                "size": len(configuration),
            },
            "layers": [_descriptor(blob) for blob in blobs],
        }
    )


def _descriptor(blob: Blob) -> dict[str, Any]:
    # docker's names for layers of a tar, in the OCI's words
    kind = blob.media_type.replace("vnd.docker.image.rootfs.diff.tar", "vnd.oci.image.layer.v1.tar")
    return {"mediaType": kind.replace(".tar.", ".tar+"), "digest": blob.digest, "size": blob.size}


def _descriptors(manifest: bytes, names: Sequence[Reference]) -> Iterator[dict[str, Any]]:
    """One for each name, as docker's and containerd's readers want them."""
    kind = json.loads(manifest).get("mediaType") or f"{_OCI}.manifest.v1+json"
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    descriptor = {"mediaType": kind, "digest": digest, "size": len(manifest)}
    for name in names:
        annotations = {
            "io.containerd.image.name": str(name),
            "org.opencontainers.image.ref.name": name.tag,
        }
        yield {**descriptor, "annotations": annotations}
    if not names:
        yield descriptor


def _entry(digest: str) -> str:
    return _BLOBS + digest.removeprefix("sha256:")


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


@contextlib.contextmanager
def _opened(target: str | os.PathLike[str] | IO[bytes]) -> Iterator[IO[bytes]]:
    if not isinstance(target, str | os.PathLike):
        yield target
        return
    path = os.fspath(target)
    try:
        if os.path.lexists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            # a pipe or a device, which must stay one
            with open(path, "wb", buffering=0) as file:
                yield file
            return
        with _appearing(path) as file:
            yield file
    except FileNotFoundError as error:
        raise ImageNotFound(f"cannot write `{path}`: no such directory") from error
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"cannot write `{path}`: {(error.strerror or str(error)).lower()}",
            errno=error.errno,
            filename=path,
        ) from error


@contextlib.contextmanager
def _appearing(path: str) -> Iterator[IO[bytes]]:
    """A new file that gets its name when it is whole; nothing is left otherwise."""
    directory, name = os.path.split(absolute(path))
    making = f"{directory}/.{name[:200]}.{os.urandom(6).hex()}"
    descriptor, named = _nameless(directory), False
    if descriptor is None:
        descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        named = True
    try:
        with open(descriptor, "wb", buffering=0) as file:
            yield file
            if not named:
                _link(descriptor, making)
                named = True
        os.rename(making, path)
    except BaseException:
        if named:
            os.unlink(making)
        raise


def _link(descriptor: int, path: str) -> None:
    directory, name = os.path.split(path)
    parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # only with a directory's descriptor does Python follow the link in /proc
        os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=parent)
    finally:
        os.close(parent)


def _nameless(directory: str) -> int | None:
    """A file of which even a killed process leaves nothing; None where the file system has no such files."""
    try:
        return os.open(directory, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
            raise
        return None
