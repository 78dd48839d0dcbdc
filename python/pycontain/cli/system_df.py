"""`pycontain system df`."""

from __future__ import annotations

from pycontain.cli.formatting import FORMAT_HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Annotated, Any

    import typer

    from pycontain.engine import Engine
    from pycontain.images.usage import ImageUsage
    from pycontain.runtime.disk import ContainerUsage, DiskUsage

_HEADERS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
_IMAGE_HEADERS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "Size": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "Containers": "CONTAINERS",
}
_CONTAINER_HEADERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "LocalVolumes": "LOCAL VOLUMES",
    "Size": "SIZE",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Names": "NAMES",
}


def command(
    template: Annotated[str, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP)] = "",
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show each image, container and volume")
    ] = False,
) -> None:
    """Show what is kept on disk."""
    from pycontain.cli.formatting import fields, lines
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    engine: Engine = default()
    usage = engine.disk_usage()
    if verbose:
        for line in _verbose(usage, template):
            print(line)
        return
    rows = [fields(row, "diskUsageContext") for row in _rows(usage)]
    for line in lines(rows, _HEADERS, tuple(_HEADERS), template):
        print(line)


def _rows(usage: DiskUsage) -> Iterator[dict[str, str]]:
    from pycontain.cli.columns import size

    for name, share in (
        ("Images", usage.images),
        ("Containers", usage.containers),
        ("Local Volumes", usage.volumes),
        ("Build Cache", usage.build_cache),
    ):
        percent = f" ({share.reclaimable * 100 // share.size}%)" if share.size else ""
        yield {
            "Type": name,
            "TotalCount": str(share.total),
            "Active": str(share.active),
            "Size": size(share.size),
            "Reclaimable": size(share.reclaimable) + percent,
        }


def _verbose(usage: DiskUsage, template: str) -> Iterator[str]:
    from pycontain.cli.columns import size

    images = [row for one in usage.per_image for row in _image_rows(one, in_full=bool(template))]
    containers = [_container_row(one) for one in usage.per_container]
    volumes = [
        {"Name": one.name, "Links": str(one.links), "Size": size(one.size)} for one in usage.per_volume
    ]
    if template:
        yield _rendered(template, images, containers, volumes)
        return
    yield "Images space usage:\n"
    yield from _table(images, _IMAGE_HEADERS)
    yield f"\nLayers as they came, kept for push and save: {size(usage.blobs)}"
    yield "\nContainers space usage:\n"
    yield from _table(containers, _CONTAINER_HEADERS)
    yield "\nLocal Volumes space usage:\n"
    yield from _table(volumes, {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"})
    yield "\nBuild cache usage: 0B"


def _table(rows: Sequence[dict[str, str]], headers: dict[str, str]) -> Iterator[str]:
    from pycontain.cli.formatting import lines

    return lines(rows, headers, tuple(headers))


def _rendered(
    template: str,
    images: list[dict[str, str]],
    containers: list[dict[str, str]],
    volumes: list[dict[str, str]],
) -> str:
    from pycontain.cli.template import Fields, Template, as_json

    everything: dict[str, Any] = {
        "Images": images,
        "Containers": containers,
        "Volumes": volumes,
        "BuildCache": [],
    }
    if template == "json":
        return as_json(everything)
    return Template(template).render(Fields(everything, name="*formatter.diskUsageContext"))


def _image_rows(one: ImageUsage, *, in_full: bool) -> Iterator[dict[str, str]]:
    from pycontain.cli.columns import size
    from pycontain.cli.images import rows

    for row in rows(one.image, digests=False, no_trunc=in_full):
        row |= {
            "SharedSize": size(one.shared),
            "UniqueSize": size(one.unique),
            "Containers": str(one.containers),
        }
        yield row


def _container_row(one: ContainerUsage) -> dict[str, str]:
    from pycontain.cli.columns import size, when
    from pycontain.cli.status import command_text, status

    return {
        "ID": one.id[:12],
        "Image": one.image,
        "Command": command_text(one.args),
        "LocalVolumes": str(one.volumes),
        "Size": size(one.size),
        "RunningFor": when(one.created)[0],
        "Status": "Up" if one.state is None else status(one.state),
        "Names": one.name,
    }
