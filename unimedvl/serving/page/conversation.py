"""A conversation of a tab: what was said, which images go with the next message, and what the page shows of it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from unimedvl.serving.page.cards import CERTAINTY
from unimedvl.serving.page.session import Made, Session

if TYPE_CHECKING:
    from unimedvl.inference.conversation import Conversation
    from unimedvl.inference.results import ImageResult, TextResult
    from unimedvl.serving.page.upload import Item

_MARKS = frozenset("\\`*_[]!#|~$<>&\"'")


def new_images(session: Session) -> list[Item]:
    """The images that go with the next message: those that are given and not in the conversation yet, as they look."""
    return [item for item in session.given if item.key not in session.attached]


def asked(session: Session, words: str, *, draw: bool, think: bool, seed: int) -> Conversation:
    """The conversation with one more message. Raises ValueError."""
    from unimedvl.inference.conversation import Conversation, Turn

    if not words.strip():
        raise ValueError("a message needs words")
    parts = (*(item.image for item in new_images(session)), words.strip())
    return Conversation((*session.turns, Turn("user", parts)), think=think, draw=draw, seed=seed)


def answered(session: Session, conversation: Conversation, result: TextResult | ImageResult, made: Made) -> None:
    """Keep a message and its answer, in the session and on the page."""
    from unimedvl.inference.conversation import Turn

    session.attached |= {item.key for item in new_images(session)}
    answer = Turn("assistant", (result.text,)) if result.text else Turn("assistant", ("An image was drawn.",))
    session.turns = [*conversation.turns, answer]
    session.said = [*session.said, said(conversation, made), {"role": "assistant", "content": _answer(made)}]


def said(conversation: Conversation, made: Made | None = None) -> dict[str, Any]:
    """The last message as the page shows it."""
    turn = conversation.turns[-1]
    names = [source.source for source in turn.sources]
    told = f'<div class="with">with {escape(", ".join(names))}</div>' if names else ""
    return {"role": "user", "content": f"{_plain(turn.words)}{told}"}


def saying(text: str, thought: str) -> dict[str, Any]:
    """An answer that is on its way."""
    return {"role": "assistant", "content": _plain(text) or (f"<i>{_plain(thought)}</i>" if thought else "…")}


def _answer(made: Made) -> str:
    result = made.result
    parts = [_plain(result.text)]
    if made.png:
        parts.append(
            f'<img src="page/results/{made.id}/png" alt="Synthetic image: {escape(made.words)}">'
            '<div class="with">Synthetic, drawn by the model</div>'
        )
    if result.confidence is not None:
        parts.append(f'<div class="with">Confidence {result.confidence:.0%} ({CERTAINTY})</div>')
    return "".join(parts)


def _plain(text: str) -> str:
    """Words as HTML that is nothing but words: nothing in them is markdown, such as the address of an image."""
    words = "".join(f"&#{ord(c)};" if c in _MARKS else escape(c) for c in text)
    return words.replace("\n", "<br>")
