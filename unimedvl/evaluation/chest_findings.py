"""Findings in drawn chest X-rays by a classifier trained on real ones: torchxrayvision's DenseNet, where it is there.

The authors measured AUROC and F1 of counterfactuals with a classifier that they don't name; this one is likely. Its
weights are a download that only the user starts: without them the figures are told as not measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from unimedvl.evaluation.item import Item
from unimedvl.evaluation.metrics.classification import auroc, f1
from unimedvl.evaluation.score import Score

WEIGHTS = "densenet121-res224-all"
NEEDED = (
    f"not measured: needs `pip install torchxrayvision` and its weights, which "
    f"`python -c \"import torchxrayvision as x; x.models.DenseNet(weights='{WEIGHTS}')\"` downloads"
)
# CheXpert's names as the classifier has them.
_NAMES = {
    "Atelectasis": "Atelectasis", "Cardiomegaly": "Cardiomegaly", "Consolidation": "Consolidation", "Edema": "Edema",
    "Enlarged Cardiomediastinum": "Enlarged Cardiomediastinum", "Fracture": "Fracture", "Lung Lesion": "Lung Lesion",
    "Lung Opacity": "Lung Opacity", "Pleural Effusion": "Effusion", "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
}  # fmt: skip


def finding_scores(items: Sequence[Item], drawn: Sequence[np.ndarray]) -> list[Score]:
    """AUROC and F1 over all stated findings of the true follow-ups. drawn: [H, W, 3] uint8 each.

    Findings are an item's `followup_positive` and `followup_negative`, names joined by commas.
    """
    stated = [
        (number, _NAMES[name], kind == "positive")
        for number, item in enumerate(items)
        for kind in ("positive", "negative")
        for name in str(item.truth.get(f"followup_{kind}", "")).split(", ")
        if name in _NAMES
    ]
    if not there() or len({truth for *_, truth in stated}) < 2:
        why = NEEDED if not there() else "not measured: the follow-ups state no findings both ways"
        return [Score(m, math.nan, math.nan, math.nan, 0, beside=why) for m in ("AUROC", "F1")]
    names, rows = classified(drawn)
    sure = [float(rows[number, names.index(name)]) for number, name, _ in stated]
    truths = [truth for *_, truth in stated]
    beside = f"findings by torchxrayvision {WEIGHTS}"
    return [auroc(sure, truths, beside=beside), f1([s > 0.5 for s in sure], truths, beside=beside)]


@cache
def there() -> bool:
    """Whether the classifier can be used without a download."""
    folder = Path.home() / ".torchxrayvision" / "models_data"
    return find_spec("torchxrayvision") is not None and any(folder.glob("*densenet121*"))


def classified(images: Sequence[np.ndarray]) -> tuple[list[str], np.ndarray]:
    """The classifier's findings, and each image's probabilities of them [n, findings]."""
    import torch
    import torchxrayvision as xrv

    model = xrv.models.DenseNet(weights=WEIGHTS).eval()
    shrink = xrv.datasets.XRayResizer(224, engine="cv2")
    rows = []
    with torch.inference_mode():
        for image in images:
            grey = xrv.datasets.normalize(image.mean(-1).astype(np.float32), 255)[None]
            rows.append(model(torch.from_numpy(shrink(grey)).float()[None])[0].numpy())
    return list(model.pathologies), np.stack(rows)
