"""Drawn images against the very images that are right: over all items, and by groups of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unimedvl.evaluation.benchmark import Pairs, Scored
from unimedvl.evaluation.breakdown import failures, means
from unimedvl.evaluation.item import Item, Prediction
from unimedvl.evaluation.metrics.images import FITTING, lpips_if_there, pair_scores, psnr
from unimedvl.evaluation.metrics.masks import mask_of, mask_scores
from unimedvl.evaluation.pictures import picture
from unimedvl.evaluation.score import Score

IMAGES = f"8-bit RGB, {FITTING}; PSNR and SSIM by scikit-image"


def input_of(item: Item) -> np.ndarray:
    """An item's first input, [H, W, 3] uint8. Raises ImagingError where it can't be read."""
    return picture(item.images[0]())


def paired_scores(pairs: Pairs, over: str, by: Sequence[str] = ()) -> tuple[list[Score], list[dict[str, float]]]:
    """PSNR, SSIM, LPIPS where it is there, and by how many dB a drawing is nearer to the truth than its input.

    over: what the last is called; it comes first. What failed has no figure, and is counted.
    """
    there = [(item, prediction) for item, prediction in pairs if prediction.drawn is not None]
    items, failed = [item for item, _ in there], len(pairs) - len(there)
    truths = [item.target() for item in items]
    scores, values = pair_scores([p.image for _, p in there], truths, lpips_if_there(), failed=failed)
    before = [psnr(input_of(item), truth) for item, truth in zip(items, truths, strict=True)]
    values = [{over: value["PSNR"] - b, **value} for value, b in zip(values, before, strict=True)]
    gained = means(over, items, [value[over] for value in values], "dB", by, failed=failed)
    told = [*gained, *(s for score in scores for s in (score, *_groups(score, items, values, by)))]
    by_id = {item.id: value for item, value in zip(items, values, strict=True)}
    return told, [by_id.get(item.id, {}) for item, _ in pairs]


def outlined_scores(pairs: Pairs, by: Sequence[str] = ()) -> Scored:
    """Dice of drawings read as masks, and Hausdorff distances in pixels of the truth. What failed counts as empty."""
    items, truths = [item for item, _ in pairs], [item.target() for item, _ in pairs]
    masks = [_mask(prediction, truth) for (_, prediction), truth in zip(pairs, truths, strict=True)]
    scores, values = mask_scores(masks, truths, failed=failures([p for _, p in pairs]))
    first, *rest = scores
    return Scored([first, *_groups(first, items, values, by), *rest], values)


def _groups(score: Score, items: Sequence[Item], values: Sequence[dict[str, float]], by: Sequence[str]) -> list[Score]:
    """The same figure of each group."""
    each = [value[score.metric] for value in values]
    found = means(score.metric, items, each, score.unit, by, higher=score.higher)[1:]
    return [replace(part, beside=score.beside) for part in found]


def _mask(prediction: Prediction, truth: np.ndarray) -> np.ndarray:
    """What was drawn as a mask of the truth's size, [H, W] bool; nothing where nothing was drawn."""
    if prediction.drawn is None:
        return np.zeros_like(truth)
    drawn = mask_of(prediction.image)
    if drawn.shape == truth.shape:
        return drawn
    rows, columns = (np.arange(n) * m // n for n, m in zip(truth.shape, drawn.shape, strict=True))
    return drawn[np.ix_(rows, columns)]
