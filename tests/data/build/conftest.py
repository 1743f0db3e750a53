"""What tests of builds share: the bytes of a folder, lanes that fail, and a language model on a real local server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from unimedvl.data.error import DataError

LOCKS = ("build.lock", "lanes.lock")


@pytest.fixture(scope="session")
def hashes() -> Callable[[Path], dict[str, str]]:
    """By path, the SHA-256 of every file of a folder but the locks."""

    def of(folder: Path) -> dict[str, str]:
        files = [p for p in folder.rglob("*") if p.is_file() and p.name not in LOCKS]
        return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    return of


def fail_in_one(_, lane, lanes):
    yield 1
    if lane == 1:
        raise DataError("x.csv: row 7: no key")


def break_in_one(_, lane, lanes):
    yield 1
    if lane == 1:
        raise RuntimeError("a defect")


@pytest.fixture(params=[(fail_in_one, "^x.csv: row 7: no key$"), (break_in_one, "a defect")], ids=["told", "broken"])
def failing(request):
    """The work of lanes of which one fails, and the error that it ends with."""
    return request.param


def wish(asked: dict) -> str:
    """The words that the model was asked with."""
    content = asked["messages"][0]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def caption_in(words: str) -> str:
    return words.split("has this caption:\n", 1)[1].split("\n\nAnd this", 1)[0]


def willing(asked: dict) -> str:
    """A model that describes, asks for an image with its own caption, plans, and says things otherwise politely."""
    words = wish(asked)
    if "Say this in other words" in words:
        return f"As agreed: {words.rsplit(chr(10) * 2, 1)[1]}"
    if "Write one paragraph" in words:
        kind = words.split('begins with "', 1)[1].split('"', 1)[0]
        return f"{kind}: {caption_in(words)}"
    if "Think aloud" in words:
        return "The type of image comes first, then the large structures. The image shows what the words ask for."
    return "A picture in which the large structures are in view and nothing stands out."


@pytest.fixture
def model():
    """What the model answers, and how its words are told from a request."""
    return type("Model", (), {"say": staticmethod(willing), "wish": staticmethod(wish)})
