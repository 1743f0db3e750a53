"""Drawn images against the very images that are right: PSNR, SSIM, LPIPS where it is there, Dice, Hausdorff."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unimedvl.evaluation.benchmark import Pairs, Scored
from unimedvl.evaluation.breakdown import failures, means
from unimedvl.evaluation.item import Item
from unimedvl.evaluation.metrics.images import lpips_if_there, psnr, ssim
from unimedvl.evaluation.metrics.masks import dice, hausdorff
from unimedvl.evaluation.pictures import picture
from unimedvl.evaluation.score import Score, mean

IMAGES = "8-bit RGB, the truth resized to the drawing's size; PSNR and SSIM by scikit-image"
MID_GREY = 127.5


def input_of(item: Item) -> np.ndarray:
    """An item's first input, [H, W, 3] uint8. Raises ImagingError where it can't be read."""
    return picture(item.images[0]())


def paired_scores(pairs: Pairs, over: str, by: Sequence[str] = ()) -> tuple[list[Score], list[dict[str, float]]]:
    """PSNR, SSIM, LPIPS where it is there, and by how many dB a drawing is nearer to the truth than its input.

    over: what the last is called; it comes first. What failed has no figure, and is counted.
    """
    values, lpips = [], lpips_if_there()
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
    """Dice of drawings read as masks, bright from mid-grey on, and Hausdorff distance in pixels where both have any."""
    items, predictions = [i for i, _ in pairs], [p for _, p in pairs]
    masks = [p.image.mean(-1) >= MID_GREY if p.drawn else np.zeros_like(i.target()) for i, p in pairs]
    overlaps = [dice(mask, i.target()) for mask, i in zip(masks, items, strict=True)]
    apart = [hausdorff(mask, i.target()) for mask, i in zip(masks, items, strict=True)]
    scores = means("Dice", items, overlaps, "", by, failed=failures(predictions))
    both = [d for d in apart if np.isfinite(d)]
    scores.append(mean("Hausdorff distance", both, higher=False, beside=f"px, of {len(both)} with something drawn"))
    values = [
        {"Dice": o} | ({"Hausdorff distance": d} if np.isfinite(d) else {})
        for o, d in zip(overlaps, apart, strict=True)
    ]
    return Scored(scores, values)
