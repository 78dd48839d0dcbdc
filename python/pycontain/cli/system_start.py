"""`pycontain system start`."""

from __future__ import annotations


def command() -> int:
    """Start the containers that are to run after a boot; goes on after a failure, and exits with 1 then."""
    from pycontain.cli.each import failed
    from pycontain.engine import default  # type: ignore[import-not-found,unused-ignore]

    status = 0
    for container, error in default().containers.start_again():
        if error is None:
            print(container.name)
        else:
            failed(error)
            status = 1
    return status
