"""`pycontain manifest inspect`."""

from __future__ import annotations

import json
from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.registry.repository import Document, Repository


def command(
    name: Annotated[str, typer.Argument(metavar="NAME[:TAG|@DIGEST]", show_default=False)],
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show each manifest with its name and platform")
    ] = False,
) -> None:
    """Show the manifest or index of an image as its registry has it."""
    from pycontain.images import documents
    from pycontain.images.pulling import ACCEPTED
    from pycontain.images.reference import parse
    from pycontain.registry import Client

    reference = parse(name).with_default_tag()
    with Client() as client:
        repository = client.source(reference.domain, reference.path)
        document = repository.manifest(reference.digest or reference.tag or "", ACCEPTED)
        kind = documents.kind_of(document.data, document.digest)
        if not verbose:
            text = json.dumps(documents.decode(document.data, dict[str, Any], document.digest), indent="\t")
            print(text)
            return
        if kind in documents.INDEX_TYPES:
            index = documents.decode(document.data, documents.Index, document.digest)
            shown: Any = [
                _described(
                    repository,
                    f"{reference.repository}@{one.digest}",
                    repository.manifest(one.digest, ACCEPTED),
                    one.platform,
                )
                for one in index.manifests
            ]
        else:
            shown = _described(repository, str(reference), document, None)
        print(json.dumps(shown, indent="\t"))


def _described(repository: Repository, name: str, document: Document, platform: Any) -> dict[str, Any]:
    """As docker shows one manifest with `--verbose`."""
    from pycontain.images import documents

    manifest = documents.decode(document.data, dict[str, Any], document.digest)
    kind = document.media_type or documents.kind_of(document.data, document.digest)
    if platform is None:
        config = documents.decode(document.data, documents.Manifest, document.digest).config
        platform = documents.configuration(repository.blob(config.digest, config.size), config.digest)
    shown = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        shown["variant"] = platform.variant
    return {
        "Ref": name,
        "Descriptor": {
            "mediaType": kind,
            "digest": document.digest,
            "size": len(document.data),
            "platform": shown,
        },
        "OCIManifest" if ".oci." in kind else "SchemaV2Manifest": manifest,
    }
