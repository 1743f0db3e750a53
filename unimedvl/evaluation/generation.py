"""How far drawn images are from real ones as a distribution: Fréchet and kernel distance, per modality and in all.

Features are those of the best encoder that is there (`metrics/encoders.py`); the figure's name says which.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unimedvl.evaluation.metrics.distances import frechet_score, kernel_score
from unimedvl.evaluation.metrics.encoders import encoder_that_is_there
from unimedvl.evaluation.metrics.nearest import memorised_score
from unimedvl.evaluation.score import Score, grouped

# Fewer images than this say nothing of a modality's distribution.
FEWEST = 10


def distribution_scores(
    modalities: Sequence[str], drawn: Sequence[np.ndarray], real: Sequence[np.ndarray], encoder: str | None = None,
    **told,
) -> list[Score]:
    """Distances of drawn from real images [H, W, 3] uint8, over all and by modality where there are enough.

    encoder: the name of one of `metrics/encoders.py`; the best that is there where None.
    """
    if len(drawn) < FEWEST:
        return []
    encode = encoder_that_is_there(encoder)
    made, true = encode(drawn), encode(real)
    scores = [frechet_score(made, true, encode.told, **told), kernel_score(made, true, encode.told, **told)]
    for modality, places in grouped(modalities, range(len(drawn))).items():
        if len(places) >= FEWEST:
            scores.append(frechet_score(made[places], true[places], encode.told, group=f"modality: {modality}"))
    return scores


def memorised_scores(
    drawn: Sequence[np.ndarray], training: Sequence[np.ndarray], real: Sequence[np.ndarray], encoder: str | None = None
) -> tuple[list[Score], list[int]]:
    """The share of drawn images that are nearer to a training image than held-out ones are, and each one's nearest.

    Nothing where there are fewer than 20 held-out images, of which 5 % could not be told.
    """
    if min(len(drawn), len(training)) == 0 or len(real) < 20:
        return [], []
    encode = encoder_that_is_there(encoder)
    score, found = memorised_score(encode(drawn), encode(training), encode(real), encode.told)
    return [score], found.index.tolist()

