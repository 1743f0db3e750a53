"""Data sets of pairs: staining, super-resolution, translation, segmentation, counterfactuals.

Where a data set has a test split, that is it. The others have none, and what the authors used isn't published: here it
is the tenth of patients whose name's SHA-256 is lowest, which anyone can repeat.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.examples import TASK_OF
from unimedvl.data.record import IMAGE_MARK
from unimedvl.data.source import Fault, Sample
from unimedvl.data.sources import source
from unimedvl.evaluation.benchmark import Benchmark, Broken, Pairs, Scored
from unimedvl.evaluation.breakdown import shares
from unimedvl.evaluation.chest_findings import finding_scores
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.generation import distribution_scores
from unimedvl.evaluation.item import Item, Load
from unimedvl.evaluation.metrics.text import text_scores
from unimedvl.evaluation.paired import IMAGES, outlined_scores, paired_scores
from unimedvl.evaluation.protocol import Protocol
from unimedvl.phantoms.breast_stains import dab_share, level_from_dab

HELD_OUT = 0.1
TENTH = (
    "no official one, and the authors' isn't published: the tenth of patients with the lowest SHA-256 of "
    '"data set patient"'
)
_TWO = ("T2", "FLAIR")
_WORDS = "the data engine's words for the pair (data/edits.py), chosen by the record's name"


@dataclass(frozen=True)
class Pairing:
    """Where pairs are. source: of the data engine. task: a record's sub task. split: the source's own; empty for the
    tenth. only: attributes that a record has, each one of some values. groups: breakdowns, by attribute.
    """

    source: str
    task: str
    split: str = ""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: Mapping[str, Callable[[Mapping[str, str]], str]] = field(default_factory=dict)


def held_out(dataset: str, patient: str, part: float = HELD_OUT) -> bool:
    """Whether a patient of a data set without a test split is of the test here."""
    digest = hashlib.sha256(f"{dataset} {patient}".encode()).digest()
    return int.from_bytes(digest[:8]) < part * 2**64


def read_pairs(pairing: Pairing, root: Path | None) -> Iterator[Item | Broken]:
    """Items in order, and what can't be used.

    Raises:
        EvaluationError: the folder isn't of the published form.
    """
    if root is None:
        raise EvaluationError(f"{pairing.source}: no data; give the folder of its published form")
    try:
        for found in source(pairing.source).read(root):
            if isinstance(found, Fault):
                yield Broken(found.where, found.reason)
            elif _belongs(found, pairing):
                yield _item(found, pairing)
    except DataError as error:
        raise EvaluationError(str(error)) from error


def _belongs(sample: Sample, pairing: Pairing) -> bool:
    r = sample.record
    ours = r.split == pairing.split if pairing.split else held_out(r.dataset, r.patient or r.study or r.id)
    return (
        ours
        and r.sub_task_type == pairing.task
        and all(r.attributes.get(key) in values for key, values in pairing.only.items())
    )


def _item(sample: Sample, pairing: Pairing) -> Item:
    r, count = sample.record, len(sample.record.input_img)
    task = TASK_OF[r.sub_task_type]
    request, reply = (m.value.replace(IMAGE_MARK, "").strip() for m in r.message[:2])
    groups = {name: of(r.attributes) for name, of in pairing.groups.items()}
    seed = int.from_bytes(hashlib.sha256(r.id.encode()).digest()[:4])
    return Item(
        r.id, task, "mask" if task == "segment" else "image", sample.images[:count], request, seed=seed,
        question=request, answers=(reply,), target=partial(_target, sample.images[count], task == "segment"),
        groups={k: v for k, v in groups.items() if v} | {"modality": r.modality}, truth=dict(r.attributes),
    )  # fmt: skip


def _target(load: Load, mask: bool) -> np.ndarray:
    image = np.asarray(Image.open(io.BytesIO(load())).convert("RGB"))
    return image.max(-1) > 127 if mask else image


def _way(told: Mapping[str, str]) -> str:
    return f"{told.get('source', '')} to {told.get('target', '')}"


# ------------------------------------------------------------------------------------------- scores


def _score_stained(pairs: Pairs) -> Scored:
    """PSNR and SSIM, and beside them whether the drawn level, told by stained area, is the asked one."""
    scores, values = paired_scores(pairs, "PSNR over copying")
    there = [(i, p) for i, p in pairs if p.drawn is not None]
    items = [i for i, _ in there]
    right = [level_from_dab(dab_share(p.image)) == i.truth.get("her2") for i, p in there]
    own = [level_from_dab(dab_share(i.target())) == i.truth.get("her2") for i, _ in there]
    beside = f"by stained area; the true stains by the same measure: {100 * np.mean(own):.1f} %" if own else ""
    return Scored([*scores, *shares("level agreement", items, right, ("level",), beside=beside)], values)


def _score_sharpened(pairs: Pairs) -> Scored:
    return Scored(*paired_scores(pairs, "PSNR over bicubic"))


def _score_translated(pairs: Pairs) -> Scored:
    return Scored(*paired_scores(pairs, "PSNR over copying", ("way",)))


def _score_outlined(pairs: Pairs) -> Scored:
    return outlined_scores(pairs, ("target",))


def _score_counterfactual(pairs: Pairs) -> Scored:
    """Distance of drawn from true follow-ups, findings by a classifier where one is there, and the words."""
    there = [(i, p) for i, p in pairs if p.drawn is not None]
    drawn, true = [p.image for _, p in there], [i.target() for i, _ in there]
    scores, values = paired_scores(pairs, "PSNR over copying")
    words, each = text_scores([p.text for _, p in there], [i.answers for i, _ in there])
    told = {i.id: w for (i, _), w in zip(there, each, strict=True)}
    values = [v | told.get(i.id, {}) for (i, _), v in zip(pairs, values, strict=True)]
    distances = distribution_scores(["cxr"] * len(there), drawn, true)
    return Scored([*distances, *finding_scores([i for i, _ in there], drawn), *words, *scores], values)


def _benchmark(
    name: str, title: str, pairing: Pairing, score: Callable[[Pairs], Scored], split: str, **told
) -> Benchmark:
    about = source(pairing.source)
    return Benchmark(
        name, title, "paired", Protocol(split, _WORDS, IMAGES, open=told.pop("open", "mean over pairs")),
        partial(read_pairs, pairing), score, home=about.home, licence=about.licence, **told,
    )  # fmt: skip


STAINING = _benchmark(
    "staining", "Virtual HER2 staining (BCI)",
    Pairing("bci", "staining", "test", groups={"level": lambda t: t.get("her2", "")}),
    _score_stained, "the official test split, 977 pairs", expected=977,
)  # fmt: skip
SUPER_RESOLUTION = _benchmark(
    "super-resolution", "MRI super-resolution 4x (IXI)", Pairing("ixi", "super_resolution"), _score_sharpened, TENTH,
    notes="T2; the input is a mean over 4 x 4 pixels, bicubic to the size before. How the authors made theirs coarse "
    "isn't published.",
)  # fmt: skip
TRANSLATION = _benchmark(
    "translation", "T2 and FLAIR, both ways (BraTS 2023)",
    Pairing("brats2023", "translation", only={"source": _TWO, "target": _TWO}, groups={"way": _way}),
    _score_translated, TENTH,
)  # fmt: skip
MR_AND_CT = _benchmark(
    "translation-mr-ct", "MR and CT, both ways (SynthRAD 2023)",
    Pairing("synthrad2023", "translation", groups={"way": _way}), _score_translated, TENTH,
)  # fmt: skip
SEGMENTATION = _benchmark(
    "segmentation", "Segmentation by name (BraTS 2023)",
    Pairing("brats2023", "segmentation", groups={"target": lambda t: t.get("target", "")}), _score_outlined, TENTH,
    open="Dice; 1 where both are empty",
)  # fmt: skip
COUNTERFACTUAL = _benchmark(
    "counterfactual", "Counterfactual chest X-rays (ICG-CXR)", Pairing("icg-cxr", "counterfactual", "test"),
    _score_counterfactual, "the data set's test split",
    open="Fréchet distance of drawn from true follow-ups; AUROC and F1 of findings by a chest X-ray classifier, where "
    "one is there; words against the changes of findings",
)  # fmt: skip
