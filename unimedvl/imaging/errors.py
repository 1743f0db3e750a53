"""The one exception type of files in and out."""

from __future__ import annotations

# File names and decoder messages may be of any length and hold any character; a terminal line may not.
_LONGEST_NAME = 200
_LONGEST_PROBLEM = 400


class ImagingError(ValueError):
    """An image could not be read or written, for a reason that its user can act on.

    The message is one line: the file's name, what was wrong, and what would be right.

    Args:
        source: the file's name as given, or a word in angle brackets for what has none.
        problem: what was wrong, and after a semicolon what would be right.
    """

    def __init__(self, source: object, problem: str) -> None:
        self.source = _one_line(str(source), _LONGEST_NAME)
        self.problem = _one_line(problem, _LONGEST_PROBLEM)
        super().__init__(self.source, self.problem)

    def __str__(self) -> str:
        return f"{self.source}: {self.problem}"


class TooLarge(ImagingError):
    """An image that is over the bounds of its reader."""


class NotAnImage(ImagingError):
    """What is of no kind that is read."""


def _one_line(text: str, longest: int) -> str:
    """`text` without line breaks and control characters, its middle left out where it is too long."""
    text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    if len(text) > longest:
        half = (longest - 3) // 2
        text = f"{text[:half]}...{text[-half:]}"
    return text
