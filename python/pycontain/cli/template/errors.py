"""What is wrong with a template, in the words of Go's text/template."""

from __future__ import annotations

from pycontain.errors import InvalidOption

__all__ = ["TemplateError", "at"]


class TemplateError(InvalidOption):
    """A template does not parse, or cannot be rendered for what it was given.

    Attributes:
        reason: without the words that every one of these begins with.
        parsed: whether it parsed.
        returncode: what the command line exits with.
    """

    returncode = 1

    def __init__(self, reason: str, *, parsed: bool = True) -> None:
        super().__init__(f"template parsing error: {reason}")
        self.reason = reason
        self.parsed = parsed


def at(line: int, message: str) -> TemplateError:
    """The error of a template that does not parse."""
    return TemplateError(f"template: :{line}: {message}", parsed=False)
