"""The classes that lmms-eval loads: `lmms.py` with the suite's base class, progress bar, cache and form of answers."""

from __future__ import annotations

from collections.abc import Sequence

from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms
from tqdm import tqdm

from unimedvl.evaluation.harness.lmms import Answering, Chat, Simple


class _InSuite(Answering):
    """Answers as the suite counts them: with the tokens of the message, of all that was said, and of the answer."""

    def generate_until(self, requests: Sequence) -> list[GenerationResult]:
        with tqdm(total=len(requests), disable=self.rank != 0, desc="unimedvl") as self._bar:
            answers = super().generate_until(requests)
        return [GenerationResult(a.text, TokenCounts(input_tokens=a.taken, output_tokens=a.spoken)) for a in answers]

    def told(self, done: int, total: int) -> None:
        if hasattr(self, "_bar"):
            self._bar.update(done - self._bar.n)

    def keep(self, kind: str, asked: tuple, answer: object) -> None:
        self.cache_hook.add_partial(kind, asked, answer)


class UniMedVLChat(_InSuite, Chat, lmms):
    """Structured messages: what the suite takes unless it is told otherwise."""

    is_simple = False


class UniMedVLSimple(_InSuite, Simple, lmms):
    """Words and images apart, and likelihoods; with `--force_simple`."""

    is_simple = True
