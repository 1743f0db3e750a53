"""Drawn images against the very images that are right: PSNR, SSIM, LPIPS where it is there, Dice, Hausdorff."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unimedvl.evaluation.benchmark import Pairs, Scored
from unimedvl.evaluation.breakdown import failures, means
from unimedvl.evaluation.item import Item, Prediction
from unimedvl.evaluation.metrics.images import Lpips, psnr, ssim
from unimedvl.evaluation.metrics.masks import HAUSDORFF, dice, hausdorff, mask_of
from unimedvl.evaluation.pictures import picture
from unimedvl.evaluation.score import Score, mean

IMAGES = "8-bit RGB, the truth resized to the drawing's size; PSNR and SSIM by scikit-image"


def input_of(item: Item) -> np.ndarray:
    """An item's first input, [H, W, 3] uint8. Raises ImagingError where it can't be read."""
    return picture(item.images[0]())


def paired_scores(pairs: Pairs, over: str, by: Sequence[str] = ()) -> tuple[list[Score], list[dict[str, float]]]:
    """PSNR, SSIM, LPIPS where it is there, and by how many dB a drawing is nearer to the truth than its input.

    over: what the last is called; it comes first. What failed has no figure, and is counted.
    """
    values, lpips = [], None if Lpips.missing() else Lpips()
    for item, prediction in pairs:
        if prediction.drawn is None:
            values.append({})
            continue
        drawn, truth = prediction.image, item.target()
        value = {over: psnr(drawn, truth) - psnr(input_of(item), truth), "PSNR": psnr(drawn, truth),
                 "SSIM": ssim(drawn, truth)}  # fmt: skip
        values.append(value | ({"LPIPS": lpips(drawn, truth)} if lpips else {}))
    there = [(item, value) for (item, _), value in zip(pairs, values, strict=True) if value]
    items, failed = [item for item, _ in there], len(pairs) - len(there)
    scores = []
    for metric, unit in ((over, "dB"), ("PSNR", "dB"), ("SSIM", ""), *([("LPIPS", "")] if lpips else [])):
        told = {"failed": failed, "higher": metric != "LPIPS"}
        scores += means(metric, items, [value[metric] for _, value in there], unit, by, **told)
    return scores, values


def mask_scores(pairs: Pairs, by: Sequence[str] = ()) -> Scored:
    """Dice of drawings read as masks, bright from mid-grey on, and Hausdorff distance in pixels of the truth."""
    items, predictions = [i for i, _ in pairs], [p for _, p in pairs]
    truths = [i.target() for i in items]
    masks = [_mask(p, truth) for p, truth in zip(predictions, truths, strict=True)]
    overlaps = [dice(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
    apart = [_apart(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
    scores = means("Dice", items, overlaps, "", by, failed=failures(predictions))
    empty = sum(not mask.any() for mask in masks)
    told = f"px; {empty} masks were empty, which counts as the image's diagonal"
    scores.append(mean(HAUSDORFF, apart, higher=False, beside=told))
    return Scored(scores, [{"Dice": o, HAUSDORFF: d} for o, d in zip(overlaps, apart, strict=True)])


def _apart(mask: np.ndarray, truth: np.ndarray) -> float:
    """Hausdorff distance; where only one mask is empty, the image's diagonal, as far as two pixels can be apart."""
    distance = hausdorff(mask, truth)
    return distance if np.isfinite(distance) else float(np.hypot(*(side - 1 for side in truth.shape)))


def _mask(prediction: Prediction, truth: np.ndarray) -> np.ndarray:
    """What was drawn as a mask of the truth's size, [H, W] bool; nothing where nothing was drawn."""
    if prediction.drawn is None:
        return np.zeros_like(truth)
    drawn = mask_of(prediction.image)
    if drawn.shape == truth.shape:
        return drawn
    rows, columns = (np.arange(n) * m // n for n, m in zip(truth.shape, drawn.shape, strict=True))
    return drawn[np.ix_(rows, columns)]
