"""Other words for a request or a reply by a language model, kept by text and judged by rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unimedvl.data.captions.answers import Answers
from unimedvl.data.captions.chat import Chat
from unimedvl.data.captions.rules import reworded_faults
from unimedvl.inference.thought import split_thought

_ASK = (
    "Say this in other words, as a clinician would, in the same language and at about the same length. Keep every "
    "name, number, level, side and modality as it is, and in the same order. Answer with the new words alone. This is "
    "wording number {variant} of several, so make it unlike the usual one.\n\n{text}"
)


@dataclass(frozen=True)
class Rewriter:
    """A language model that varies texts.

    variants: how many wordings of a text there may be. answers: where they are kept, so that a second run gives the
    same bytes; None keeps nothing.
    """

    chat: Chat
    answers: Answers | None = None
    variants: int = 8

    @property
    def name(self) -> str:
        return self.chat.name

    def reworded(self, text: str, variant: int, kept: Sequence[str] = ()) -> tuple[str, str]:
        """The new words and "", or the old ones and why the new ones were refused.

        variant: which of the wordings; counted round. kept: names that must stay as they are.

        Raises:
            DataError: the model can't be asked, or a kept answer is damaged.
        """
        asked = _ASK.format(variant=variant % self.variants + 1, text=text)

        def ask() -> str:
            return self.chat.say(asked)

        said = ask() if self.answers is None else self.answers.of(self.chat.name, asked, "", ask)
        new = split_thought(said)[1].strip().strip('"').strip()
        broken = reworded_faults(new, text, kept)
        return (text, "; ".join(broken)) if broken else (new, "")
