"""Images out of registries: manifest, configuration, and the layers that are not here, streamed into place.

    tag or digest -> (index ->)* manifest -> configuration, layers      each compared with its digest

    connection -> thread -> pipe -> launcher's errand: sha256, inflate, sha256, files     for each layer

Several layers come at once. One that is here moves nothing, and one that another process downloads is waited
for. The image appears at the end, with its name and the digest that the registry knows it by; where anything
fails, nothing of it appears.
"""

from __future__ import annotations

from pycontain.errors import ImageInvalid, ImageNotFound, InvalidOption, RegistryError, Unsupported
from pycontain.images import documents, downloads, platforms
from pycontain.images.documents import Descriptor, Index, Manifest
from pycontain.images.feeding import fed
from pycontain.images.reference import Reference, is_digest, parse
from pycontain.images.stage import NewImage
from pycontain.images.transferring import Transfer
from pycontain.registry.received import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain.images.platforms import Platform
    from pycontain.images.stage import Stage
    from pycontain.images.store import Store, StoredImage
    from pycontain.registry import Client
    from pycontain.registry.repository import Document, Repository
    from pycontain.types import Progress

__all__ = ["ACCEPTED", "Puller", "chosen"]

ACCEPTED = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_DEEPEST_INDEX = 8
_MOST_PLATFORMS = 10  # that are named
_LARGEST_CONFIGURATION = 8 << 20


class Puller:
    """Brings images into a store.

    Args:
        store: where to.
        client: from where; closed by the caller.
        progress: is told of each step, by several threads but never by two at once.
    """

    def __init__(
        self, store: Store, client: Client, progress: Callable[[Progress], None] | None = None
    ) -> None:
        self._store = store
        self._client = client
        self._transfer = Transfer(client, progress)
        self._say = self._transfer.say

    def pull(self, reference: Reference, platform: Platform | None = None) -> StoredImage:
        """One image.

        Raises:
            ImageNotFound: its registry has none of this name.
            Unsupported: it has none for this platform.
            RegistryError: the registry did not do its part.
            ImageInvalid: what it has is no image that can be unpacked.
        """
        reference = reference.with_default_tag()
        if reference.digest and not is_digest(reference.digest):
            raise Unsupported(f"cannot pull `{reference.familiar}`: only sha256 digests are supported")
        repository = self._client.source(reference.domain, reference.path)
        wanted = reference.digest or reference.tag or ""
        self._say(wanted, f"Pulling from {reference.path}")
        before = self._known(reference.key)
        named, chosen_one = chosen(repository, wanted, platform)
        manifest = _manifest(chosen_one)
        configuration = self._configuration(repository, manifest)
        _check_platform(reference, configuration, platform)
        diff_ids = documents.diff_ids(configuration, manifest.config.digest, len(manifest.layers))
        keys = (reference.key, f"{reference.repository}@{named.digest}")
        with self._store.stage(synced=False) as stage:
            self._layers(stage, repository, dict(zip(diff_ids, manifest.layers, strict=True)))
            image = NewImage(configuration, diff_ids, keys, chosen_one.data)
            stage.commit([image])
        self._say("", f"Digest: {named.digest}")
        newer = before != image.id
        self._say(
            "",
            f"Status: Downloaded newer image for {reference.familiar}"
            if newer
            else f"Status: Image is up to date for {reference.familiar}",
        )
        try:
            return self._store.get(image.id)
        except ImageNotFound as error:
            raise ImageNotFound(f"image `{reference.familiar}` has been removed meanwhile") from error

    def pull_all(self, reference: Reference, platform: Platform | None = None) -> list[StoredImage]:
        """Every tag of a repository."""
        if reference.tag or reference.digest:
            raise InvalidOption(f"`{reference.familiar}` is one image: all tags are those of a repository")
        tags = self._client.source(reference.domain, reference.path).tags()
        if not tags:
            raise ImageNotFound(f"no tags in repository `{reference.familiar_repository}`")
        for tag in tags:
            if not _is_tag(tag):
                raise RegistryError(
                    f"registry `{reference.domain}` lists a tag `{shown(tag)}`, which is none"
                )
        return [self.pull(Reference(reference.domain, reference.path, tag), platform) for tag in tags]

    def _known(self, key: str) -> str | None:
        try:
            return self._store.get(key).id
        except ImageNotFound:
            return None

    def _configuration(self, repository: Repository, manifest: Manifest) -> bytes:
        config = manifest.config
        if config.size > _LARGEST_CONFIGURATION:
            raise ImageInvalid(f"configuration {config.digest} has {config.size} bytes, which is too large")
        try:
            return self._store.configuration(config.digest)
        except ImageNotFound:
            return repository.blob(config.digest, config.size)

    def _layers(self, stage: Stage, repository: Repository, layers: dict[str, Descriptor]) -> None:
        missing = []
        for diff_id, layer in layers.items():
            here = stage.claim(diff_id)
            self._say(_short(layer), "Already exists" if here else "Pulling fs layer", total=layer.size)
            if not here:
                missing.append((diff_id, layer))
        if not missing:
            return
        directory = self._store.paths.downloads
        try:
            self._transfer.each(missing, lambda layer: self._layer(stage, repository, *layer))
        finally:
            downloads.sweep(directory)

    def _layer(self, stage: Stage, repository: Repository, diff_id: str, layer: Descriptor) -> None:
        def report(phase: str, done: int) -> None:
            self._say(_short(layer), phase, done, layer.size)

        with downloads.alone(
            self._store.paths.downloads,
            diff_id,
            waiting=lambda: report("Waiting", 0),
            stop=self._transfer.stop,
        ):
            if stage.claim(diff_id):  # whoever was waited for has brought it
                report("Already exists", layer.size)
                return
            source = downloads.Download(repository, layer.digest, layer.size, report, self._transfer.stop)
            with fed(source.pour) as reading:
                stage.unpack(
                    reading,
                    layer.digest,
                    diff_id=diff_id,
                    digest=layer.digest,
                    media_type=layer.media_type,
                )
        report("Pull complete", layer.size)


def chosen(repository: Repository, wanted: str, platform: Platform | None) -> tuple[Document, Document]:
    """What a tag or digest names, and the manifest of one image that this comes to for a platform.

    Raises:
        Unsupported: there is none for it.
        ImageInvalid: it is neither an image nor an index.
    """
    named = document = repository.manifest(wanted, ACCEPTED)
    for _ in range(_DEEPEST_INDEX):
        if _is_manifest(document):
            return named, document
        index = documents.decode(document.data, Index, document.digest)
        member = _member(index, platform, f"{repository.path}@{document.digest}")
        document = repository.manifest(member.digest, ACCEPTED)
        if len(document.data) != member.size:
            raise ImageInvalid(
                f"manifest {member.digest} has {len(document.data)} bytes, its index promises {member.size}"
            )
    raise ImageInvalid(f"`{repository.path}:{wanted}` is an index nested too deeply")


def _member(index: Index, platform: Platform | None, name: str) -> Descriptor:
    member = platforms.best(index.manifests, platform)
    if member is not None:
        return member
    single = [one for one in index.manifests if one.platform is None]
    if len(single) == len(index.manifests) == 1:  # an index of one image does not have to say what for
        return single[0]
    known = sorted(
        {
            shown(
                str(platforms.Platform(one.platform.os, one.platform.architecture, one.platform.variant)), 40
            )
            for one in index.manifests
            if one.platform is not None and one.platform.os != "unknown"
        }
    )
    if len(known) > _MOST_PLATFORMS:
        known[_MOST_PLATFORMS:] = ["…"]
    raise Unsupported(
        f"no image for {platform or 'this machine'} in `{name}`",
        hint=f"there are: {', '.join(known) or 'none'}; `--platform` chooses",
    )


def _is_manifest(document: Document) -> bool:
    """Whether this is an image's manifest, not an index: what its type and its members say alike."""
    by_members = documents.kind_of(document.data, document.digest)
    known = documents.MANIFEST_TYPES | documents.INDEX_TYPES
    told = document.media_type if document.media_type in known else by_members
    for kind in (by_members, told):
        if kind not in known:
            raise ImageInvalid(f"`{document.digest}` is no image: its media type is `{shown(kind)}`")
    # a document that is both would be one image here and another elsewhere (CVE-2021-41190)
    if (by_members in documents.MANIFEST_TYPES) != (told in documents.MANIFEST_TYPES):
        raise ImageInvalid(f"`{document.digest}` is sent as `{shown(told)}`, but is `{shown(by_members)}`")
    return told in documents.MANIFEST_TYPES


def _manifest(document: Document) -> Manifest:
    manifest = documents.decode(document.data, Manifest, document.digest)
    if manifest.config.media_type not in documents.CONFIG_TYPES:
        raise ImageInvalid(
            f"`{document.digest}` is no container image: its configuration is of type"
            f" `{shown(manifest.config.media_type)}`"
        )
    for layer in manifest.layers:
        if layer.media_type not in documents.LAYER_TYPES:
            foreign = "foreign" in layer.media_type or "nondistributable" in layer.media_type
            what = "is not in the registry, but elsewhere" if foreign else "is not one that can be unpacked"
            raise ImageInvalid(f"layer {layer.digest} {what}: its media type is `{shown(layer.media_type)}`")
    return manifest


def _check_platform(reference: Reference, data: bytes, platform: Platform | None) -> None:
    if platform is None:
        return
    found = documents.configuration(data, reference.familiar)
    if not platform.is_served_by(found.os, found.architecture, found.variant):
        raise Unsupported(
            f"`{reference.familiar}` is for {shown(f'{found.os}/{found.architecture}')}, not for {platform}",
            hint="its registry has it for that platform only",
        )


def _is_tag(text: str) -> bool:
    try:
        return parse(f"name:{text}").tag == text
    except InvalidOption:
        return False


def _short(layer: Descriptor) -> str:
    return layer.digest[7:19]
