"""What data sets of multiple choice share: how options become turns."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_uppercase

from unimedvl.data.error import DataError
from unimedvl.data.record import Message
from unimedvl.data.source import answer, question


def multiple_choice(
    asked: str, options: Mapping[str, str], letter: str, images: int
) -> tuple[tuple[Message, Message], dict[str, str]]:
    """The turns of a question of multiple choice, and its attributes `answer` (a letter) and `options` (how many).

    The options stand below the question as `A. text`, and the answer is the one of them that is right.
    options: text by letter, from A on; empty ones at the end are left out. letter: of the right one.

    Raises:
        DataError: fewer than two options, an empty one between others, letters that aren't A, B and so on, or an
            answer that is none of them.
    """
    given = {key: " ".join(text.split()) for key, text in sorted(options.items())}
    while given and not given[max(given)]:
        del given[max(given)]
    if len(given) < 2:
        raise DataError(f"options: expected two or more, found {len(given)}")
    if list(given) != list(ascii_uppercase[: len(given)]):
        raise DataError(f"options: expected the letters A, B and so on, found {', '.join(given)}")
    if empty := next((key for key, text in given.items() if not text), None):
        raise DataError(f"options: {empty} is empty")
    right = letter.strip().upper()
    if right not in given:
        raise DataError(f"answer: expected one of {', '.join(given)}, found {letter!r}")
    lines = [f"{key}. {text}" for key, text in given.items()]
    turns = question("\n".join((asked.strip(), *lines)), images), answer(f"{right}. {given[right]}")
    return turns, {"answer": right, "options": str(len(given))}
