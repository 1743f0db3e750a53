"""A conversation given as a whole: several turns with images, then the model's answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from unimedvl.imaging import Image, ReadOptions
from unimedvl.inference.prepared import Prepared, as_pixels, check_draws, grid_of, sampling_for
from unimedvl.inference.requests import Source
from unimedvl.inference.sampling import Sampling, check_seed
from unimedvl.inference.thought import split_thought
from unimedvl.sequence import Segment
from unimedvl.tasks import EDIT, GENERATE, THINK_FIRST, Drawing, Task

if TYPE_CHECKING:
    from unimedvl.inference.unimedvl import UniMedVL

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """What one side said.

    parts: words and images. A part that is a `str` is words; an image in a file is a `Path`, or what else
        `Request` takes. Images of a turn are laid before its words, as the model was trained.
    """

    role: Role
    parts: tuple[Source, ...]

    def __post_init__(self) -> None:
        if self.role not in ("system", "user", "assistant"):
            raise ValueError(f"a turn's role is {self.role!r}; it must be system, user or assistant")
        if isinstance(self.parts, str):
            object.__setattr__(self, "parts", (self.parts,))

    @property
    def words(self) -> str:
        """Its words, those of several parts on lines of their own."""
        return "\n".join(part for part in self.parts if isinstance(part, str))

    @property
    def sources(self) -> tuple[Source, ...]:
        """Its images."""
        return tuple(part for part in self.parts if not isinstance(part, str))


@dataclass(frozen=True)
class Conversation:
    """Turns in order, the last the user's; the model answers it.

    think: reason before the answer, or plan before the image. draw: the answer is an image, edited where the
        conversation has images, with a reply before it, or drawn from the words alone. size: (width, height) of it in
        pixels. read: how image files are read.

    An assistant's turn is what the model answered before; reasoning in it between think tags is left out.
    """

    turns: tuple[Turn, ...]
    think: bool = False
    seed: int = 0
    draw: bool = False
    size: tuple[int, int] | None = None
    read: ReadOptions = ReadOptions()

    def __post_init__(self) -> None:
        check_seed(self.seed)
        object.__setattr__(self, "turns", tuple(self.turns))
        if not self.turns or self.turns[-1].role != "user":
            raise ValueError("a conversation ends with a turn of the user")
        if not self.turns[-1].words.strip():
            raise ValueError("the user's last turn needs words: a question, a caption or an instruction")
        if any(turn.role == "system" for turn in self.turns[1:]):
            raise ValueError("a system turn comes first, and there is one at most")
        if any(turn.sources for turn in self.turns if turn.role == "system"):
            raise ValueError("a system turn takes no images")

    @property
    def task(self) -> Task | None:
        """Whose way of drawing is taken."""
        if not self.draw:
            return None
        return EDIT if any(turn.sources for turn in self.turns) else GENERATE


def prepared_conversation(
    owner: UniMedVL, asked: Conversation, sampling: Sampling | None, drawing: Drawing
) -> Prepared:
    """The conversation with its images read, laid out as `Chat` takes it in. Raises ValueError, ImagingError."""
    what = asked.task
    if what is not None:
        check_draws(owner, "the conversation", drawing)
    images = [tuple(owner.read(source, asked.read) for source in turn.sources) for turn in asked.turns]
    everything = tuple(image for some in images for image in some)
    segments: list[Segment] = []
    for number, (turn, some) in enumerate(zip(asked.turns, images, strict=True)):
        segments += _images(owner, some, what is not None)
        words = turn.words if turn.role != "assistant" else split_thought(turn.words)[1]
        last = number == len(asked.turns) - 1
        if words:
            segments.append(owner.prepare.text(f"{THINK_FIRST} {words}" if asked.think and last else words))
    return Prepared(
        owner,
        segments=segments,
        parts=_parts(what, asked.think),
        sampling=sampling_for(sampling, asked.seed, asked.think),
        drawing=drawing,
        shape=(0, 0) if what is None else grid_of(owner, asked.size, images[-1] or everything),
        seed=asked.seed,
        name="chat",
        words=asked.turns[-1].words,
        settings=_settings(asked, images),
        images=everything,
    )


def _parts(what: Task | None, think: bool) -> tuple[str, ...]:
    if what is None:
        return ("answer",)
    return what.predicted if think or not what.planned else ("target",)


def _images(owner: UniMedVL, images: tuple[Image, ...], drawn: bool) -> list[Segment]:
    """An image that is to be edited is also taken in as a latent."""
    segments: list[Segment] = []
    for pixels in (as_pixels(image) for image in images):
        segments += [owner.prepare.latent(pixels)] if drawn else []
        segments.append(owner.prepare.seen(pixels))
    return segments


def _settings(asked: Conversation, images: list[tuple[Image, ...]]) -> dict:
    """What came before, as `Chat` tells it."""
    turns: list[dict] = []
    for turn, some in zip(asked.turns[:-1], images[:-1], strict=True):
        if turn.role == "user":
            turns.append({"request": turn.words, "new_inputs": len(some), "answer": ""})
        elif turn.role == "assistant" and turns:
            turns[-1]["answer"] = split_thought(turn.words)[1]
    settings: dict = {"turns_before": turns}
    if asked.think:
        settings["think"] = True
    if asked.turns[0].role == "system":
        settings["system"] = asked.turns[0].words
    return settings
