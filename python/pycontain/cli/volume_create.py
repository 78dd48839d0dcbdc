"""`pycontain volume create`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated

    import typer

    from pycontain.volumes import Volumes


def command(
    name: Annotated[str | None, typer.Argument(metavar="[VOLUME]", show_default=False)] = None,
    driver: Annotated[str, typer.Option("--driver", "-d", metavar="DRIVER", help="Its driver")] = "local",
    labels: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Label the volume")
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--opt", "-o", metavar="KEY=VALUE", help="What mount(8) would be given: type, device, o"
        ),
    ] = None,
) -> None:
    """Make a volume."""
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    volumes: Volumes = default().volumes
    pairs = (text.partition("=") for text in options or ())
    made = volumes.create(
        name or None, driver=driver, labels=labels or (), options={key: value for key, _, value in pairs}
    )
    print(made.name)
