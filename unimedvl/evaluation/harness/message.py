"""What a harness asks: images and words in the order of its message, answered in batches.

The task `ask` lays out all images first, then the words. A message of a harness may have words between its images, and
several turns. Its pieces are laid out in the order in which they come, as the published code does with interleaved
input (BAGEL, arXiv 2505.14683): the model takes segments in any order (`sequence.py`). Names for images put into the
words would keep `ask`'s layout, but no training had such names. A message of images and then words is laid out exactly
as `ask` does.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from unimedvl.evaluation.error import EvaluationError
from unimedvl.inference.context import Context, extend_all
from unimedvl.inference.job import as_pixels
from unimedvl.inference.text import Sampling, speak_all
from unimedvl.inference.thought import split_thought
from unimedvl.sequence import Segment
from unimedvl.tasks import THINK_FIRST

if TYPE_CHECKING:
    from unimedvl import UniMedVL
    from unimedvl.imaging.image import Readable

logger = logging.getLogger(__name__)
DTYPES = ("float32", "bfloat16", "float16")


def load_reader(
    model: str, device: str | None = None, dtype: str | None = None, adapters: str | None = None
) -> UniMedVL:
    """A model that reads images and answers; what draws is left out.

    model: "nano", a folder or a hub id. device, dtype, adapters: as of `UniMedVL.load`.

    Raises:
        CheckpointError: no such model.
        EvaluationError: no such dtype.
    """
    import torch

    from unimedvl import UniMedVL

    if dtype not in (None, *DTYPES):
        raise EvaluationError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")
    return UniMedVL.load(
        None if model == "nano" else model,
        dtype=getattr(torch, dtype) if dtype else None,
        device=device,
        generation=False,
        adapters=adapters,
    )


@dataclass(frozen=True)
class Part:
    """One piece of a message: an image, or words where there is none.

    own: whether the words are the model's own, of an earlier turn.
    """

    text: str = ""
    image: Readable | None = None
    own: bool = False


@dataclass(frozen=True)
class Question:
    """A message and how it is to be answered. think: reason first; the reasoning is no part of the answer."""

    parts: tuple[Part, ...]
    sampling: Sampling = field(default_factory=Sampling)
    think: bool = False

    @property
    def words(self) -> str:
        """All that the user says, line by line."""
        return "\n".join(part.text for part in self.parts if part.image is None and not part.own)


@dataclass(frozen=True)
class Answer:
    """What came back.

    text: without reasoning, which is in `thought`. taken, spoken: tokens of the message and of all that was said.
    error: why there is no answer; all else is empty then.
    """

    text: str = ""
    thought: str = ""
    taken: int = 0
    spoken: int = 0
    error: str = ""


def picture(source: Readable) -> Readable:
    """What `UniMedVL.read` takes for an image of a message: a `data:` URL becomes bytes, all else stays.

    Raises:
        EvaluationError: a `data:` URL that is not base64.
    """
    if not (isinstance(source, str) and source.startswith("data:")):
        return source
    head, _, body = source.partition(",")
    try:
        if not head.endswith(";base64"):
            raise binascii.Error
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise EvaluationError(f"{head[:40]}: no base64, which an image as a data URL must be") from None


def segments(owner: UniMedVL, question: Question) -> list[Segment]:
    """The sequence that a message is, as far as it is given. Words that follow each other are joined, line by line.

    Raises:
        EvaluationError: no words at all, or the last of them are the model's own.
        ImagingError: an image can't be read.
    """
    runs = [(key, list(run)) for key, run in groupby(_told(question.parts), key=_kind)]
    words = [n for n, (key, _) in enumerate(runs) if key != "image"]
    if not words:
        raise EvaluationError("the message has no words; it needs a question or an instruction")
    if runs[words[-1]][0] == "own":
        raise EvaluationError("the message ends with the model's own words; it must end with the user's")
    out: list[Segment] = []
    for n, (key, run) in enumerate(runs):
        if key == "image":
            out += [owner.prepare.seen(as_pixels(owner.read(part.image))) for part in run]
            continue
        text = "\n".join(part.text for part in run)
        thinking = question.think and n == words[-1]
        out.append(owner.prepare.text(f"{THINK_FIRST} {text}" if thinking else text))
    return out


def _told(parts: Sequence[Part]) -> Iterator[Part]:
    """Parts without blank words."""
    return (part for part in parts if part.image is not None or part.text.strip())


def _kind(part: Part) -> str:
    return "image" if part.image is not None else "own" if part.own else "user"


def answer_all(owner: UniMedVL, questions: Sequence[Question | Answer]) -> list[Answer]:
    """The answer to each question in order; all pass the model together, and each is answered as it would be alone.

    One that can't be put or answered has an answer that says why, and is logged; an `Answer` among the questions is
    such a one already, and is handed back.
    """
    answers: dict[int, Answer] = {}
    laid: list[tuple[int, Question, list[Segment]]] = []
    for place, question in enumerate(questions):
        if isinstance(question, Answer):
            answers[place] = question
            continue
        try:
            laid.append((place, question, segments(owner, question)))
        except (ValueError, TypeError) as error:  # TypeError: what is no image at all
            answers[place] = failed(error)
    spoken = _spoken(owner, [(question, sequence) for _, question, sequence in laid]) if laid else []
    answers |= {place: answer for (place, _, _), answer in zip(laid, spoken, strict=True)}
    return [answers[place] for place in range(len(questions))]


def failed(error: Exception) -> Answer:
    """What stands for an answer that there is not; the reason is logged."""
    reason = " ".join(str(error).split()) or type(error).__name__
    logger.warning("not answered: %s", reason)
    return Answer(error=reason)


def _spoken(owner: UniMedVL, batch: Sequence[tuple[Question, list[Segment]]]) -> list[Answer]:
    """Answers of a batch; where it fails, each of its questions is asked alone."""
    contexts = [Context(owner.model) for _ in batch]
    try:
        extend_all(contexts, [sequence for _, sequence in batch])
        taken = [context.length for context in contexts]
        said = speak_all(contexts, owner.tokenizer, [question.sampling for question, _ in batch])
    except (ValueError, RuntimeError) as error:  # a message that is too long, or memory that is too small
        if len(batch) == 1:
            return [failed(error)]
        return [answer for one in batch for answer in _spoken(owner, [one])]
    thoughts = [split_thought(spoken.text) for spoken in said]
    return [
        Answer(text, thought, length, len(spoken.ids))
        for (thought, text), length, spoken in zip(thoughts, taken, said, strict=True)
    ]
