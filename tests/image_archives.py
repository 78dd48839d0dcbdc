"""Archives of images, written by hand, so that a test can have each byte of them wrong."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pycontain.paths import Paths

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
OCI = "application/vnd.oci.image"


def digest(data: bytes) -> str:
    """As in a descriptor."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar(files: dict[str, bytes]) -> bytes:
    """A tar of regular files."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


def layer(name: str = "hello", data: bytes = b"hello\n") -> bytes:
    """A layer of one file."""
    return tar({name: data})


def configuration(layers: list[bytes], **more: Any) -> bytes:
    """The configuration of an image of these (plain) layers."""
    document = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "created": "2026-01-02T03:04:05Z",
        "config": {"Env": ["A=1"], "Cmd": ["sh"], "Entrypoint": None},
        "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
        "history": [{"created_by": "COPY hello /", "created": "2026-01-02T03:04:05Z"}],
    }
    return json.dumps({**document, **more}).encode()


def docker_files(layers: list[bytes], *tags: str, **more: Any) -> dict[str, bytes]:
    """The entries of what `docker save` wrote for most of its life."""
    config = configuration(layers, **more)
    config_name = digest(config)[7:] + ".json"
    entries = {f"{number:064x}/layer.tar": data for number, data in enumerate(layers)}
    manifest = [{"Config": config_name, "RepoTags": list(tags) or None, "Layers": list(entries)}]
    return {**entries, config_name: config, "manifest.json": json.dumps(manifest).encode()}


def descriptor(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    """Of `data`."""
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


def blob(data: bytes) -> dict[str, bytes]:
    """As an entry."""
    return {"blobs/sha256/" + digest(data)[7:]: data}


def oci_manifest(
    layers: list[bytes], *, layer_type: str = f"{OCI}.layer.v1.tar+gzip", **more: Any
) -> tuple[bytes, dict[str, bytes]]:
    """A manifest of compressed layers, and all blobs."""
    config = configuration(layers, **more)
    packed = [gzip.compress(one, mtime=0) for one in layers]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": descriptor(config, f"{OCI}.config.v1+json"),
            "layers": [descriptor(one, layer_type) for one in packed],
        }
    ).encode()
    blobs: dict[str, bytes] = {}
    for data in (config, manifest, *packed):
        blobs |= blob(data)
    return manifest, blobs


def oci_files(manifests: list[dict[str, Any]], blobs: dict[str, bytes]) -> dict[str, bytes]:
    """The entries of an OCI layout with these descriptors in its index."""
    index = {"schemaVersion": 2, "manifests": manifests}
    return {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(index).encode(),
        **blobs,
    }


def oci_image(layers: list[bytes], name: str | None = None, **more: Any) -> dict[str, bytes]:
    """The entries of an OCI layout of one image."""
    manifest, blobs = oci_manifest(layers, **more)
    annotations = {"org.opencontainers.image.ref.name": name} if name else {}
    return oci_files([descriptor(manifest, f"{OCI}.manifest.v1+json", annotations=annotations)], blobs)


def nothing_left(paths: Paths) -> bool:
    """Neither a layer nor anything unfinished."""
    layers = os.listdir(paths.layers) if os.path.isdir(paths.layers) else []
    return os.listdir(paths.staging) == layers == []
