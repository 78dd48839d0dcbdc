"""What strangers wrote, in lines of ours: it steers no terminal."""

from __future__ import annotations

import re

__all__ = ["escaped", "escaped_json"]

# control characters, separators of lines, what turns the direction of text, and what is no character at all
_STEERING = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# of which JSON leaves some as they are
_CONTROL = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}


def escaped(text: str) -> str:
    r"""The text with the characters that control a terminal as Python writes them.

    >>> print(escaped("\x1b[2J zwei\nZeilen für dich"))
    \x1b[2J zwei\nZeilen für dich
    """
    if text.isprintable():
        return text
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escaped_json(document: str) -> str:
    """The same document without any control character in its texts."""
    return document if document.isascii() and "\x7f" not in document else document.translate(_CONTROL)
