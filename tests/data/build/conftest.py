"""A language model on a real local server, as the builds that name one meet it."""

from __future__ import annotations

import pytest


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
