"""Simulated images, changed: each against the very image that is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from unimedvl.evaluation.benchmark import Benchmark, Pairs, Scored
from unimedvl.evaluation.benchmarks.phantoms import (
    SIMULATED,
    SPLIT,
    encoded,
    given,
    groups_of,
    looks,
    name_of,
)
from unimedvl.evaluation.breakdown import failures, shares
from unimedvl.evaluation.held_out import HeldOut, Look
from unimedvl.evaluation.item import Item
from unimedvl.evaluation.paired import IMAGES, outlined_scores, paired_scores
from unimedvl.evaluation.protocol import Protocol
from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.brain_ct import companion_ct
from unimedvl.phantoms.breast_stains import dab_share, level_from_dab
from unimedvl.phantoms.pixels import degrade, to_pixels
from unimedvl.phantoms.vocabulary import MODALITIES
from unimedvl.tasks import HER2_LEVELS, UPSCALE_FACTOR

# From, to, and what the two are called in words.
PAIRS = (("t2", "flair"), ("flair", "t2"), ("t1", "ct"), ("ct", "t1"))
SAID = {"t1": "MR"}


def _coarse(root: Path | None) -> Iterator[Item]:
    for look in looks("mri"):
        low = ((degrade(to_pixels(look.image), UPSCALE_FACTOR) + 1) * 127.5).round().to(torch.uint8)
        yield Item(
            name_of(look), "upscale", "image", (encoded(low.permute(1, 2, 0).numpy()),),
            wishes=(("factor", str(UPSCALE_FACTOR)),), seed=look.study.case.seed, target=partial(given, look.image),
            groups=groups_of(look) | {"view": look.view.name},
        )  # fmt: skip


def _translations(root: Path | None) -> Iterator[Item]:
    """Each way of each study: two sequences, and its T1 and CT."""
    for look in looks("mri"):
        shown = look.study.images | {"ct": companion_ct(look.study.case, look.image.shape[0])}
        for source, target in PAIRS:
            wishes = tuple((key, SAID.get(x, x.upper())) for key, x in (("source", source), ("target", target)))
            yield Item(
                f"mri-{look.study.case.seed}-{source}-{target}", "translate", "image", (encoded(shown[source]),),
                wishes=wishes, seed=look.study.case.seed, target=partial(given, shown[target]),
                groups={"way": " to ".join(said for _, said in wishes)},
            )  # fmt: skip


def _stains(root: Path | None) -> Iterator[Item]:
    """All four levels of each H&E image."""
    for look in looks("his"):
        if look.stained:
            continue
        for number, level in enumerate(HER2_LEVELS):
            case = look.study.case
            case = replace(case, anatomy={**case.anatomy, "her2": float(number)})
            truth = SIMULATORS["his"].render(case, look.image.shape[0]).images["ihc"]
            yield Item(
                f"{name_of(look)}-{level}", "stain", "image", (encoded(look.image),), wishes=(("her2", level),),
                seed=case.seed, target=partial(given, truth), groups={"level": level}, truth={"her2": level},
            )  # fmt: skip


def _outlines(root: Path | None) -> Iterator[Item]:
    """Modalities in turn: of each study's first view, one of its structures and findings, drawn by the study's seed."""
    held_out = HeldOut()
    for number, code in held_out.turns():
        look = Look(held_out.study(code, number), MODALITIES[code].views[0])
        masks = look.study.masks
        named = [*MODALITIES[code].structures, *(f.name for f in look.study.findings)]
        there = [name for name in dict.fromkeys(named) if name in masks and masks[name].any()]
        if there:
            name = there[np.random.default_rng(number).integers(len(there))]
            sort = "finding" if name in look.findings else "structure"
            yield Item(
                f"{name_of(look)}-{name}", "segment", "mask", (encoded(look.image),), wishes=(("target", name),),
                seed=number, target=partial(given, masks[name]), question=f"Segment the {name}.",
                groups=groups_of(look) | {"of": sort, "name": f"{code} {name}"},
            )  # fmt: skip


# ------------------------------------------------------------------------------------------ scores


def _score_upscaled(pairs: Pairs) -> Scored:
    return Scored(*paired_scores(pairs, "PSNR over bicubic", ("view",)))


def _score_translated(pairs: Pairs) -> Scored:
    return Scored(*paired_scores(pairs, "PSNR over copying", ("way",)))


def _score_stained(pairs: Pairs) -> Scored:
    items, predictions = zip(*pairs, strict=True)
    levels = [level_from_dab(dab_share(p.image)) if p.drawn else None for p in predictions]
    right = [level == i.truth["her2"] for level, i in zip(levels, items, strict=True)]
    own = [level_from_dab(dab_share(i.target())) == i.truth["her2"] for i in items]
    beside = f"the measure on simulated stains: {100 * np.mean(own):.1f} %"
    scores = shares("level agreement", items, right, ("level",), failed=failures(predictions), beside=beside)
    more, values = paired_scores(pairs, "PSNR over copying")
    return Scored([*scores, *more], [{"level agreement": float(r)} | v for r, v in zip(right, values, strict=True)])


def _score_outlined(pairs: Pairs) -> Scored:
    return outlined_scores(pairs, ("of", "modality", "name"))


PHANTOM_UPSCALING = Benchmark(
    "phantoms-super-resolution", "MRI super-resolution 4x (simulated)", "paired",
    Protocol(SPLIT, "MRI enlarged bicubically from a quarter of its side", IMAGES, open="PSNR less that of the input"),
    _coarse, _score_upscaled, published_as="super-resolution", **SIMULATED,
)  # fmt: skip
PHANTOM_TRANSLATION = Benchmark(
    "phantoms-translation", "T2 and FLAIR, MR and CT, both ways (simulated)", "paired",
    Protocol(SPLIT, "the task's own words, T1 called MR", IMAGES, open="PSNR less that of the input"),
    _translations, _score_translated, published_as="translation", **SIMULATED,
)  # fmt: skip
PHANTOM_STAINING = Benchmark(
    "phantoms-staining", "H&E to HER2 immunohistochemistry (simulated)", "paired",
    Protocol(
        SPLIT, "the task's own words, each of the four levels of each H&E image", IMAGES,
        open="the level is told by the share of DAB-stained area",
    ),
    _stains, _score_stained, published_as="staining", **SIMULATED,
)  # fmt: skip
PHANTOM_SEGMENTATION = Benchmark(
    "phantoms-segmentation", "Segmentation by name (simulated)", "paired",
    Protocol(SPLIT, "the task's own words", "the drawing from mid-grey on", open="Dice; 1 where both are empty"),
    _outlines, _score_outlined, **SIMULATED,
)  # fmt: skip
