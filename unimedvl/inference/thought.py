"""Telling reasoning from the answer: in a whole text, and while one streams."""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"


def split_thought(text: str, thinks: bool = True) -> tuple[str, str]:
    """Reasoning between think tags and what follows: (thought, answer). An unclosed tag is all thought.

    thinks: whether tags are tags; where an answer must be JSON, for one, they are part of it.
    """
    if not thinks:
        return "", text.strip()
    start, end = text.find("<think>"), text.find("</think>")
    if start < 0:
        return "", text.strip()
    if end < 0:
        return text[start + 7 :].strip(), text[:start].strip()
    return text[start + 7 : end].strip(), (text[:start] + text[end + 8 :]).strip()


class ThoughtFilter:
    """Splits a stream as `split_thought` splits a whole text.

    The answers of `push` joined are the answer with its outer spaces off, the thoughts joined the thought.
    """

    def __init__(self, thinks: bool = True) -> None:
        self._held = ""          # may be the beginning of a tag
        self._spaces = ""        # only shown once something follows
        self._begun = False
        self._tags = [OPEN, CLOSE] if thinks else []

    def push(self, text: str) -> list[tuple[str, bool]]:
        """Pieces to show now: (text, whether it is thought)."""
        self._held += text
        out = []
        while self._tags and self._tags[0] in self._held:
            before, self._held = self._held.split(self._tags[0], 1)
            out.append((before, self._tags.pop(0) == CLOSE))
        tag = self._tags[0] if self._tags else ""
        keep = next((n for n in range(len(tag) - 1, 0, -1) if self._held.endswith(tag[:n])), 0)
        ready, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        out.append((ready, tag == CLOSE))
        return self._trimmed(out)

    def flush(self) -> list[tuple[str, bool]]:
        """What was held back, at the end."""
        held, self._held = self._held, ""
        return self._trimmed([(held, self._tags[:1] == [CLOSE])])

    def _trimmed(self, pieces: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
        out = []
        for text, thought in pieces:
            if not thought:
                text = self._spaces + text if self._begun else text.lstrip()
                kept = text.rstrip()
                self._spaces, text = text[len(kept) :], kept
                self._begun = self._begun or bool(kept)
            if text:
                out.append((text, thought))
        return out
