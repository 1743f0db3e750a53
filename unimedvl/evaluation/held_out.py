"""Studies that nothing was trained on: every case whose seed lies below `FIRST_TRAINING_SEED`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from unimedvl.phantoms import SIMULATORS, Case, Study
from unimedvl.phantoms.study import FIRST_TRAINING_SEED
from unimedvl.phantoms.terms import View
from unimedvl.phantoms.vocabulary import MODALITIES, as_seen

_KEPT = 64


@dataclass(frozen=True)
class Look:
    """One view of one held-out study."""

    study: Study
    view: View

    @property
    def modality(self) -> str:
        return self.study.modality

    @property
    def image(self) -> np.ndarray:
        """[H, W, 3] uint8."""
        return self.study.images[self.view.name]

    @property
    def findings(self) -> set[str]:
        """Names of those that the view shows."""
        return {finding.name for finding in as_seen(self.study, self.view.name).findings}

    @property
    def stained(self) -> bool:
        """Whether it is an immunostain, of which the level counts and not the findings."""
        return self.view.stain == "HER2"


class HeldOut:
    """Renders held-out studies, and keeps the last ones, since several questions are of one study.

    first: the lowest seed. modalities: codes of those that are shown and asked about.
    Raises ValueError where a seed reaches those trained on.
    """

    def __init__(self, first: int = 0, size: int = 128, modalities: Sequence[str] = tuple(SIMULATORS)) -> None:
        self.first, self.size, self.modalities = first, size, tuple(modalities)
        self._studies: dict[tuple[str, int], Study] = {}

    def case(self, modality: str, seed: int) -> Case:
        if not 0 <= seed < FIRST_TRAINING_SEED:
            raise ValueError(f"seed {seed} is not held out; held-out seeds are 0 to {FIRST_TRAINING_SEED - 1}")
        return SIMULATORS[modality].sample(seed)

    def study(self, modality: str, seed: int) -> Study:
        key = modality, seed
        if key not in self._studies:
            if len(self._studies) >= _KEPT:
                del self._studies[next(iter(self._studies))]
            self._studies[key] = SIMULATORS[modality].render(self.case(modality, seed), self.size)
        return self._studies[key]

    def seeds(self) -> Iterator[int]:
        """Held-out seeds in order."""
        return iter(range(self.first, FIRST_TRAINING_SEED))

    def _shown(self, modality: str, seed: int, view: View) -> int:
        """How many findings of a case a view shows."""
        named = MODALITIES[modality]
        return sum(view.name not in named.term(f.name).unseen for f in self.case(modality, seed).findings)

    def turns(self) -> Iterator[tuple[int, str]]:
        """Seeds and modalities in turn, without end: each study once."""
        seeds = {code: self.seeds() for code in self.modalities}
        for turn in cycle(self.modalities):
            yield next(seeds[turn]), turn

    def stream(self, modality: str | None = None, findings: int | None = None) -> Iterator[Look]:
        """Looks without end, modalities and their views in turn; each look is at a study of its own.

        findings: only at views that show so many.
        """
        codes = [modality] if modality else list(self.modalities)
        seeds = {code: self.seeds() for code in codes}
        for turn, view in cycle([(code, view) for code in codes for view in MODALITIES[code].views]):
            fitting = (s for s in seeds[turn] if findings is None or self._shown(turn, s, view) == findings)
            yield Look(self.study(turn, next(fitting)), view)

    def looks(self, count: int, modality: str | None = None, findings: int | None = None) -> list[Look]:
        """The first `count` of them."""
        return list(islice(self.stream(modality, findings), count))
