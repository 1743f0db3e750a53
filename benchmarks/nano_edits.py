"""The embedded model changes images: each function measures one task against the very image that is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.held_out import Look
from benchmarks.nano_bench import Bench, grouped
from benchmarks.scores import Measure, dice, mean, psnr, share
from unimedvl.inference.unimedvl import Request
from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.brain_ct import companion_ct
from unimedvl.phantoms.breast_stains import dab_share, level_from_dab
from unimedvl.phantoms.pixels import degrade, to_pixels
from unimedvl.phantoms.vocabulary import MODALITIES
from unimedvl.tasks import HER2_LEVELS, UPSCALE_FACTOR

MID_GREY = 127.5

def upscale(bench: Bench, count: int) -> list[Measure]:
    """MRI at a quarter of its resolution, enlarged bicubically, made sharp again."""
    looks = bench.held_out.looks(count, "mri")
    truths = [look.image for look in looks]
    blurred = [_rounded(degrade(to_pixels(truth), UPSCALE_FACTOR)) for truth in truths]
    wish = (("factor", str(UPSCALE_FACTOR)),)
    drawn = bench.run([
        Request("upscale", (b,), wishes=wish, seed=x.study.case.seed) for b, x in zip(blurred, looks, strict=True)
    ])
    return _gains(
        bench, "upscale", "super-resolution 4x, over bicubic", 3.0, blurred, [d.array for d in drawn], truths,
        [look.view.name for look in looks], "bicubic",
    )  # fmt: skip


def _rounded(pixels: Tensor) -> np.ndarray:
    """[3, H, W] in [-1, 1] to [H, W, 3] uint8, to the nearest."""
    return ((pixels + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()


# From, to, and what the two are called in words.
PAIRS = (("t2", "flair"), ("flair", "t2"), ("t1", "ct"), ("ct", "t1"))
SAID = {"t1": "MR"}


def translate(bench: Bench, count: int) -> list[Measure]:
    """Two sequences of each study, and its T1 and CT, both ways; each way has to reach the target."""
    looks = bench.held_out.looks(count, "mri")
    shown = [look.study.images | {"ct": companion_ct(look.study.case, bench.held_out.size)} for look in looks]
    measures = []
    for source, target in PAIRS:
        wishes = tuple((key, SAID.get(x, x.upper())) for key, x in (("source", source), ("target", target)))
        given, truths = ([images[view] for images in shown] for view in (source, target))
        drawn = bench.run([
            Request("translate", (image,), wishes=wishes, seed=look.study.case.seed)
            for image, look in zip(given, looks, strict=True)
        ])
        name = " to ".join(said for _, said in wishes) + ", over copying the input"
        images = [d.array for d in drawn]
        measures += _gains(bench, f"translate-{source}-{target}", name, 6.0, given, images, truths, (), "the input")
    return [replace(m, task="translate") for m in measures]


def _gains(
    bench: Bench,
    task: str,
    name: str,
    target: float,
    given: Sequence[np.ndarray],
    drawn: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    groups: Sequence[str],
    baseline: str,
) -> list[Measure]:
    """How many dB nearer to the truth the drawing is than what was given, image by image."""
    before = [psnr(g, t) for g, t in zip(given, truths, strict=True)]
    after = [psnr(d, t) for d, t in zip(drawn, truths, strict=True)]
    gains = [a - b for a, b in zip(after, before, strict=True)]
    rows = list(zip(given, drawn, truths, strict=True))
    words = [f"{b:.1f} dB, drawn {a:.1f} dB" for b, a in zip(before, after, strict=True)]
    bench.sheet(task, ("given", "drawn", "truth"), list(zip(rows, words, strict=True)))
    beside = f"drawn {np.mean(after):.2f} dB, {baseline} {np.mean(before):.2f} dB"
    measures = [mean(task, name, gains, "dB", target, beside)]
    for group, values in grouped(groups, gains).items() if groups else ():
        measures.append(mean(task, f"{task}, {group}", values, "dB"))
    return measures


def stain(bench: Bench, count: int) -> list[Measure]:
    """Every level asked of each H&E image; the level drawn is told by the share of DAB-stained area."""
    simulator, asked, truths, given = SIMULATORS["his"], [], [], []
    for look in bench.held_out.looks(count, "his"):
        for number, level in enumerate(HER2_LEVELS):
            case = look.study.case
            case = replace(case, anatomy={**case.anatomy, "her2": float(number)})
            truths.append(simulator.render(case, bench.held_out.size).images["ihc"])
            given.append(look.study.images["he"])
            asked.append((level, case.seed))
    drawn = bench.run([
        Request("stain", (image,), wishes=(("her2", level),), seed=seed)
        for image, (level, seed) in zip(given, asked, strict=True)
    ])
    found, own = ([level_from_dab(dab_share(i)) for i in x] for x in ([d.array for d in drawn], truths))
    right, own_right = ([f == level for f, (level, _) in zip(x, asked, strict=True)] for x in (found, own))
    rows = [
        ([g, d.array, t], f"asked {level}, stained area says {f}")
        for g, d, t, (level, _), f in zip(given, drawn, truths, asked, found, strict=True)
    ]
    bench.sheet("stain", ("H&E", "drawn", "truth"), rows)
    beside = f"the measure on simulated stains: {100 * np.mean(own_right):.1f} %"
    measures = [share("stain", "H&E to IHC: asked level", right, 0.92, beside)]
    for level, hits in grouped([level for level, _ in asked], right).items():
        measures.append(share("stain", f"stain, level {level}", hits))
    gains = [psnr(d.array, t) for d, t in zip(drawn, truths, strict=True)]
    return [*measures, mean("stain", "stain, PSNR", gains, "dB")]


def segment(bench: Bench, count: int) -> list[Measure]:
    """Structures and findings named in words, each study's in turn; the drawing is the mask from mid-grey on."""
    asked = [(look, *_target(look, number)) for number, look in enumerate(_first_views(bench, count))]
    drawn = bench.run([
        Request("segment", (look.image,), wishes=(("target", name),), seed=look.study.case.seed)
        for look, name, _ in asked
    ])
    scores = [dice(d.array.mean(-1) >= MID_GREY, truth) for d, (_, _, truth) in zip(drawn, asked, strict=True)]
    rows = [
        ([look.image, d.array, _white(truth)], f"{look.modality}: {name}, Dice {score:.2f}")
        for d, (look, name, truth), score in zip(drawn, asked, scores, strict=True)
    ]
    bench.sheet("segment", ("given", "drawn", "truth"), rows)
    measures = [mean("segment", "segmentation by name, Dice", scores, "", 0.75)]
    findings = ["findings" if name in look.findings else "structures" for look, name, _ in asked]
    for keys in (findings, [f"{look.modality}: {name}" for look, name, _ in asked]):
        for name, values in sorted(grouped(keys, scores).items()):
            measures.append(mean("segment", f"Dice, {name}", values, ""))
    return measures


def _first_views(bench: Bench, count: int) -> list[Look]:
    """Modalities in turn, each study's first view, as those that masks were taught on."""
    codes = bench.held_out.modalities
    seeds = {code: bench.held_out.seeds(code) for code in codes}
    turns = [codes[i % len(codes)] for i in range(count)]
    return [Look(bench.held_out.study(code, next(seeds[code])), MODALITIES[code].views[0]) for code in turns]


def _target(look: Look, number: int) -> tuple[str, np.ndarray]:
    """One of what the study has, drawn: its name and mask [H, W] bool."""
    masks = look.study.masks
    named = [*MODALITIES[look.modality].structures, *(f.name for f in look.study.findings)]
    there = [name for name in dict.fromkeys(named) if name in masks and masks[name].any()]
    name = there[np.random.default_rng(number).integers(len(there))]
    return name, masks[name]


def _white(mask: np.ndarray) -> np.ndarray:
    """[H, W] bool to [H, W, 3] uint8."""
    return np.repeat(np.where(mask, np.uint8(255), np.uint8(0))[..., None], 3, axis=2)
