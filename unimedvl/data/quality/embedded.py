"""Small stand-ins for the instruments of stage 2, so that the whole pipeline runs without any download.

They are no substitute for MedGemma, E5 and MedSigLIP: the captioner is the embedded nano model, which has seen
simulated images alone; the encoder counts words and parts of words; the matcher compares the few facts that a
word list can read.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from unimedvl.data.error import DataError
from unimedvl.data.quality.alignment import Instruments
from unimedvl.data.record import Record, sha256
from unimedvl.phantoms.parser import ParsedFinding, parse

if TYPE_CHECKING:
    from torch import Tensor

    from unimedvl.imaging import Image
    from unimedvl.inference.context import Context
    from unimedvl.inference.text import Sampling
    from unimedvl.inference.unimedvl import UniMedVL

# Asked of the nano model in the words that it was trained on.
_KIND = "What kind of image is this?"
# Images whose captions are remembered: the questions on one image mostly follow each other.
_REMEMBERED = 1024
# Images that the model is asked of at once: a quarter of the time that it takes for them one by one.
_BATCH = 64


def embedded_instruments(seed: int = 0) -> Instruments:
    """The three stand-ins; the model is loaded once, when it is first asked."""
    captioner, encoder = StandInCaptioner(seed), StandInEncoder()
    return Instruments(captioner, encoder, StandInMatcher(captioner, encoder))


class StandInCaptioner:
    """The embedded nano model as captioner: the kind of image, and its report."""

    def __init__(self, seed: int = 0, temperature: float = 0.7, most_tokens: int = 96) -> None:
        """seed: of all captions but the first, which is the likeliest one. most_tokens: of a caption."""
        self.seed, self.temperature, self.most_tokens = seed, temperature, most_tokens
        self._model: UniMedVL | None = None
        self._said: dict[tuple[str, int], list[str]] = {}

    @property
    def name(self) -> str:
        return f"stand-in captioner (nano {self._loaded().weights[:12]}, seed {self.seed})"

    def look_at(self, images: Sequence[bytes], n: int) -> None:
        """Caption these images in batches, each once; `captions` and `describe` then know them, and none before them.

        What is said follows from these images alone. One that can't be read is left for `captions` to tell.
        """
        readable = {}
        for image in images:
            key = sha256(image)
            if key not in readable:
                with suppress(DataError), _unreadable():
                    readable[key] = self._loaded().read(image)
        self._said = {}
        keys = list(readable)
        for start in range(0, len(keys), _BATCH):
            part = keys[start : start + _BATCH]
            read = [readable[key] for key in part]
            for key, said in zip(part, self._asked(read), strict=True):
                self._said[key, 1] = said
            for key, said in zip(part, self._drawn(read, n) if n > 1 else (), strict=n > 1):
                self._said[key, n] = said

    def captions(self, image: bytes, record: Record, n: int) -> list[str]:
        """n captions, of which the first is the likeliest; the same image, n and seed give the same.

        Raises:
            DataError: the image can't be read.
        """
        kind, report = self._likeliest(image)
        others = self._remembered(image, n, lambda: self._drawn([image], n)) if n > 1 else []
        return [f"{kind}. {r}" for r in (report, *others)]

    def describe(self, image: bytes) -> str:
        """The likeliest caption. Raises DataError as `captions`."""
        return ". ".join(self._likeliest(image))

    def _likeliest(self, image: bytes) -> list[str]:
        """The kind of image, and its report."""
        return self._remembered(image, 1, lambda: self._asked([image]))

    def _remembered(self, image: bytes, n: int, say: Callable[[], list[list[str]]]) -> list[str]:
        key = (sha256(image), n)
        if key not in self._said:
            if len(self._said) >= _REMEMBERED:
                del self._said[next(iter(self._said))]
            with _unreadable():
                (self._said[key],) = say()
        return self._said[key]

    def _asked(self, images: Sequence[bytes | Image]) -> list[list[str]]:
        """By image its kind and its report. An image is taken in once, and both are asked in branches of that."""
        from unimedvl.inference.text import Sampling
        from unimedvl.tasks import task

        model = self._loaded()
        seen = self._seen(images)
        asked = ((task("ask"), _KIND, 16), (task("report"), task("report").request, self.most_tokens))
        said = []
        for what, words, most in asked:
            branches = [context.branch() for context, _ in seen]
            prompts = [what.prompt(pixels, words, model.prepare)[1:] for _, pixels in seen]
            said.append(_spoken(model, branches, prompts, Sampling(max_tokens=most)))
        return [list(both) for both in zip(*said, strict=True)]

    def _seen(self, images: Sequence[bytes | Image]) -> list[tuple[Context, tuple[Tensor]]]:
        """Contexts that have taken in one image each, and its pixels."""
        from unimedvl.inference.context import Context, extend_all
        from unimedvl.inference.job import as_pixels

        model = self._loaded()
        pixels = [(as_pixels(model.read(image)),) for image in images]
        contexts = [Context(model.model) for _ in images]
        extend_all(contexts, [[model.prepare.seen(image)] for (image,) in pixels])
        return list(zip(contexts, pixels, strict=True))

    def _drawn(self, images: Sequence[bytes | Image], n: int) -> list[list[str]]:
        """By image n - 1 reports with tokens drawn at random."""
        from unimedvl.inference.text import Sampling
        from unimedvl.inference.unimedvl import Request

        requests = [Request("report", (image,), seed=self.seed + k) for image in images for k in range(1, n)]
        sampling = Sampling(temperature=self.temperature, max_tokens=self.most_tokens)
        said = [result.text for result in self._loaded().run(requests, sampling=sampling)]
        return [said[k : k + n - 1] for k in range(0, len(said), n - 1)]

    def _loaded(self) -> UniMedVL:
        if self._model is None:
            from unimedvl.inference.unimedvl import UniMedVL

            self._model = UniMedVL.load(generation=False)
        return self._model

    def __getstate__(self) -> dict:
        """Without the model, which each process loads itself."""
        return self.__dict__ | {"_model": None, "_said": {}}


def _spoken(model: UniMedVL, contexts: list[Context], prompts: list, sampling: Sampling) -> list[str]:
    """The answers in contexts that each take in a prompt."""
    from unimedvl.inference.context import extend_all
    from unimedvl.inference.text import speak_all
    from unimedvl.inference.thought import split_thought

    extend_all(contexts, prompts)
    return [split_thought(s.text)[1] for s in speak_all(contexts, model.tokenizer, sampling)]


@contextmanager
def _unreadable() -> Iterator[None]:
    """An image that can't be read, as the exception of the data engine."""
    from unimedvl.imaging import ImagingError

    try:
        yield
    except ImagingError as error:
        raise DataError(str(error)) from error


class StandInEncoder:
    """Counts of words and of their parts of 3 to 5 letters, hashed to a vector; nothing is learnt.

    A count n weighs 1 + log n; a word weighs as much as all its parts together, and words that say nothing of
    an image are left out. The cosine of two texts is 0 to 1.
    """

    name = "stand-in encoder (hashed words and letter n-grams, 1)"

    def __init__(self, dimensions: int = 4096) -> None:
        self.dimensions = dimensions

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """[n, dimensions] float32 vectors of length 1."""
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word, count in Counter(_words(text)).items():
                weight = 1 + np.log(count)
                vector[self._place(word)] += weight
                parts = list(_parts(word))
                for part in parts:
                    vector[self._place(part)] += weight / len(parts)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _place(self, feature: str) -> int:
        # CRC-32, since Python's own hash differs from run to run.
        return zlib.crc32(feature.encode()) % self.dimensions


_FILLING = frozenset(
    ("a", "an", "and", "any", "are", "as", "at", "be", "by", "for", "from", "has", "in", "is", "it", "its", "of",
     "on", "or", "seen", "show", "shown", "shows", "that", "the", "there", "this", "to", "was", "what", "which",
     "with", "findings", "impression", "image")
)  # fmt: skip


def _words(text: str) -> list[str]:
    """Lower-case words; one empty word for a text without any, so that it has a vector too."""
    words = re.findall(r"[^\W_]+", text.lower())
    return [w for w in words if w not in _FILLING] or words or [""]


def _parts(word: str) -> Iterator[str]:
    """What a word is made of, with marks for where it begins and ends."""
    marked = f"<{word}>"
    for n in (3, 4, 5):
        yield from (marked[k : k + n] for k in range(len(marked) - n + 1))


class StandInMatcher:
    """Compares what a text and the stand-in captioner's likeliest caption state.

    The share of the text's facts that the caption bears out: the modality where both name one, each finding
    stated or denied (`unimedvl.phantoms.parser`), and that all is normal. Questions state nothing. Where the
    text has no such fact, the cosine of text and caption under an encoder. 0 to 1.
    """

    def __init__(self, captioner: StandInCaptioner, encoder: StandInEncoder) -> None:
        self.captioner, self.encoder = captioner, encoder

    @property
    def name(self) -> str:
        return f"stand-in matcher (facts read from words, 1; {self.captioner.name})"

    def match(self, images: Sequence[bytes], texts: Sequence[str]) -> np.ndarray:
        """[n] scores, 0 to 1. Raises DataError for an image that can't be read."""
        return np.array([self._one(i, t) for i, t in zip(images, texts, strict=True)], dtype=np.float64)

    def _one(self, image: bytes, text: str) -> float:
        caption = self.captioner.describe(image)
        borne_out = facts_borne_out(text, caption)
        if borne_out is not None:
            return borne_out
        a, b = self.encoder.encode([text, caption])
        return float(a @ b)


_QUESTION = re.compile(r"[^.!?\n]*\?")
_NORMAL = re.compile(
    r"\b(?:normal|unremarkable|no (?:\w+ )?(?:abnormalit(?:y|ies)|findings?))\b", re.IGNORECASE
)


def facts_borne_out(text: str, caption: str) -> float | None:
    """The share of a text's facts that a caption bears out; None where the text states none that can be read."""
    text = _QUESTION.sub(" ", text)
    said, seen = parse(text), [f for f in parse(caption) if not f.negated]
    facts = [(not f.negated) == any(_same(f, other) for other in seen) for f in said]
    if all(f.negated for f in said) and _NORMAL.search(text):
        facts.append(not seen)
    named, shown = _modalities(text), _modalities(caption)
    if named and shown:
        facts.append(bool(named & shown))
    return sum(facts) / len(facts) if facts else None


def _same(one: ParsedFinding, other: ParsedFinding) -> bool:
    return one.name == other.name and (not one.side or not other.side or one.side == other.side)


def _modalities(text: str) -> set[str]:
    """Codes of the modalities that a text names."""
    pattern, codes = _modality_words()
    return {codes[found.lower().removesuffix("s")] for found in pattern.findall(text)}


@cache
def _modality_words() -> tuple[re.Pattern[str], dict[str, str]]:
    from unimedvl.phantoms.vocabulary import MODALITIES
    from unimedvl.tasks import MODALITY_NAMES

    codes = {name.lower(): code for code, name in MODALITY_NAMES.items()}
    for modality in MODALITIES.values():
        for name in (modality.said, *modality.aliases):
            codes.setdefault(name.lower(), modality.code)
    longest_first = sorted(codes, key=lambda name: (-len(name), name))
    names = "|".join(map(re.escape, longest_first))
    return re.compile(rf"\b(?:{names})s?\b", re.IGNORECASE), {
        n.removesuffix("s"): c for n, c in codes.items()
    }
