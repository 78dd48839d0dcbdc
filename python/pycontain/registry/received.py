"""What a server sends and we have no reason to trust: numbers in headers, text in messages."""

from __future__ import annotations

from pycontain.escaping import escaped

__all__ = ["number", "shown"]

_MOST_DIGITS = 18  # so that it fits into 64 bits


def number(text: str) -> int | None:
    """The number that `text` is, in ASCII digits; None: it is none, or one that nobody means.

    >>> number("120"), number("²"), number("9" * 5000)
    (120, None, None)
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def shown(text: str, longest: int = 200) -> str:
    r"""The text as part of a line of ours: it steers no terminal, and has an end.

    >>> shown("a\x1b[1mb\n")
    'a\\x1b[1mb\\n'
    """
    return escaped(text if len(text) <= longest else text[:longest] + "…")
