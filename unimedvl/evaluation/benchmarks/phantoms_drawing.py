"""Simulated images, drawn from words: what a classifier sees in them, and how far their features are from real ones."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from itertools import cycle
from pathlib import Path

import numpy as np

from unimedvl.evaluation.benchmark import Benchmark, Pairs, Scored
from unimedvl.evaluation.benchmarks.phantoms import SIMULATED, SPLIT, given, groups_of, looks, name_of
from unimedvl.evaluation.breakdown import shares
from unimedvl.evaluation.generation import distribution_scores, memorised_scores
from unimedvl.evaluation.item import Item
from unimedvl.evaluation.phantom_classifier import RULE, phantom_classifier
from unimedvl.evaluation.protocol import Protocol
from unimedvl.evaluation.score import Score, share
from unimedvl.phantoms import simulate
from unimedvl.phantoms.breast_stains import dab_share, level_from_dab
from unimedvl.phantoms.captions import caption
from unimedvl.phantoms.study import FIRST_TRAINING_SEED

# Modalities of the studies that nano was trained on, one after another, as in recipes/data/nano/phantoms.json, and how
# many of those studies are looked through for the nearest image.
TRAINED_ON = ("cxr", "mri", "his", "cfp", "ct", "mri", "oct", "us", "his", "endoscopy", "dermoscopy")
TRAINING = 330


def _captions(root: Path | None) -> Iterator[Item]:
    """Captions of cases with one finding; the image that the caption is of stands beside, for the distances."""
    for look in looks(findings=1):
        asked = caption(look.study, look.view.name, np.random.default_rng(look.study.case.seed))
        yield Item(
            name_of(look), "generate", "image", text=asked, question=asked, seed=look.study.case.seed,
            target=partial(given, look.image), groups=groups_of(look),
            truth={
                "modality": look.modality, "view": look.view.name, "kind": look.view.kind, "stained": look.stained,
                "finding": next(iter(look.findings)), "level": look.study.attributes.get("her2", ""),
            },
        )  # fmt: skip


def _score(pairs: Pairs) -> Scored:
    there = [(i, p) for i, p in pairs if p.drawn is not None]
    items = [i for i, _ in there]
    failed = len(pairs) - len(there)
    drawn, true = [p.image for _, p in there], [i.target() for i in items]
    got, own = _seen(items, drawn), _seen(items, true)
    scores: list[Score] = []
    for metric in ("asked modality", "asked finding", "asked finding, and more likely than not", "very view"):
        hits, mine = _of(got, metric), _of(own, metric)
        of = [i for i, g in zip(items, got, strict=True) if metric in g]
        beside = f"the classifier on simulated images: {100 * np.mean(mine):.1f} %" if mine else ""
        scores += shares(metric, of, hits, failed=failed, beside=beside)
    stained = [(i, d) for i, d in zip(items, drawn, strict=True) if i.truth["stained"]]
    if stained:
        right = [level_from_dab(dab_share(d)) == i.truth["level"] for i, d in stained]
        scores.append(share("asked level of immunostains", right))
    scores += distribution_scores([i.groups["modality"] for i in items], drawn, true)
    training = _training()
    memorised, nearest = memorised_scores(drawn, training, true)
    beside = {i.id: training[place] for i, place in zip(items, nearest, strict=False)}
    values = dict(zip((i.id for i in items), got, strict=True))
    told = [{k: float(v) for k, v in values.get(i.id, {}).items()} for i, _ in pairs]
    return Scored([*scores, *memorised], told, beside)


@cache
def _training() -> list[np.ndarray]:
    """Images of the first studies that nano was trained on."""
    turns = zip(range(TRAINING), cycle(TRAINED_ON))
    studies = (simulate(code, FIRST_TRAINING_SEED + number) for number, code in turns)
    return [image for study in studies for image in study.images.values()]


def _seen(items: list[Item], images: list[np.ndarray]) -> list[dict[str, bool]]:
    """What the classifier finds right in each image. Immunostains count by their kind alone."""
    verdicts = phantom_classifier()(images, [str(i.truth["modality"]) for i in items])
    out = []
    for item, seen in zip(items, verdicts, strict=True):
        told = {
            "asked modality": seen.view.kind == item.truth["kind"],
            "very view": (seen.modality, seen.view.name) == (item.truth["modality"], item.truth["view"]),
        }
        if not item.truth["stained"]:
            right = seen.finding == item.truth["finding"]
            told |= {"asked finding": right, "asked finding, and more likely than not": right and seen.sure}
        out.append(told)
    return out


def _of(seen: list[dict[str, bool]], metric: str) -> list[bool]:
    return [s[metric] for s in seen if metric in s]


PHANTOM_DRAWING = Benchmark(
    "phantoms-text-to-image", "Text to image (simulated)", "generation",
    Protocol(
        SPLIT + "; cases with one finding", "a caption in the phantoms' own language",
        "the drawing as it is, 128 px",
        open=f"{RULE} Fréchet and kernel distances against the images that the captions are of",
    ),
    _captions, _score, published_as="text-to-image", **SIMULATED,
)  # fmt: skip
