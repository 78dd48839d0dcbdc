"""The question before something is removed, as docker asks it."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["confirmed", "print_networks", "print_reclaimed"]


def confirmed(warning: str) -> bool:
    """Whether the user says yes; without an answer it is no."""
    print(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    answer = sys.stdin.readline().strip().lower()
    return answer == "y"


def print_networks(names: Iterable[str]) -> None:
    """What is gone; nothing, if nothing is."""
    lines = list(names)
    if lines:
        print("\n".join(["Deleted Networks:", *lines, ""]))


def print_reclaimed(title: str, untagged: Iterable[str], deleted: Iterable[str], reclaimed: int) -> None:
    """What is gone, and how many bytes that freed."""
    from pycontain.cli.columns import size

    lines = [*(f"untagged: {name}" for name in untagged), *(f"deleted: {id}" for id in deleted)]
    if lines:
        print("\n".join([f"{title}:", *lines, ""]))
    print(f"Total reclaimed space: {size(reclaimed)}")
