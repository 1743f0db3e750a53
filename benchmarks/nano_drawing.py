"""The embedded model draws: from words, and through its autoencoder. Each function measures one task."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.judge import compare, own_accuracy
from benchmarks.nano_bench import Bench, grouped
from benchmarks.scores import Measure, mean, psnr, share
from unimedvl import UniMedVL
from unimedvl.inference.unimedvl import Request
from unimedvl.phantoms.breast_stains import dab_share, level_from_dab
from unimedvl.phantoms.captions import caption
from unimedvl.phantoms.pixels import to_pixels


def generate(bench: Bench, count: int) -> list[Measure]:
    """Captions of cases with one finding, drawn, and judged; the judge's own accuracy beside."""
    looks = bench.held_out.looks(count, findings=1)
    captions = [caption(x.study, x.view.name, np.random.default_rng(x.study.case.seed)) for x in looks]
    seeds = [x.study.case.seed for x in looks]
    drawn = bench.run([Request("generate", (), c, seed=s) for c, s in zip(captions, seeds, strict=True)])
    images = [d.array for d in drawn]
    verdicts = bench.judge(images, [x.modality for x in looks])
    got, own = compare(verdicts, looks), own_accuracy(bench.judge, looks)

    def judged(name: str, part: str, target: float | None = None) -> Measure:
        own_share = np.mean(getattr(own, part)) if getattr(own, part) else np.nan
        return share("generate", name, getattr(got, part), target, f"judge itself: {100 * own_share:.1f} %")

    measures = [
        judged("text to image: asked modality", "kind", 0.98),
        judged("text to image: asked finding", "finding", 0.85),
        judged("text to image: finding, and over 0.5", "sure"),
        judged("text to image: very view or sequence", "view"),
    ]
    shown = [x.modality for x in looks if not x.stained]
    for name, hits in grouped(shown, got.finding).items():
        measures.append(share("generate", f"asked finding, {name}", hits))
    stained = [(d, x) for d, x in zip(images, looks, strict=True) if x.stained]
    levels = [level_from_dab(dab_share(d)) == x.study.attributes["her2"] for d, x in stained]
    if levels:
        measures.append(share("generate", "asked level of drawn immunostains", levels))
    rows = [
        ([image, x.image], f"{c} | judge: {v.view.kind}, {v.finding}")
        for image, x, c, v in zip(images, looks, captions, verdicts, strict=True)
    ]
    bench.sheet("generate", ("drawn", "a simulated one"), rows)
    return measures


def vae(bench: Bench, count: int) -> list[Measure]:
    """Images through the autoencoder and back."""
    looks = bench.held_out.looks(count)
    images = [look.image for look in looks]
    again = [_reconstructed(bench.model, image) for image in images]
    values = [psnr(a, b) for a, b in zip(again, images, strict=True)]
    groups = grouped([f"{look.modality}, {look.view.name}" for look in looks], values)
    rows = [([i, a], f"{x.modality} {v:.1f} dB") for i, a, x, v in zip(images, again, looks, values, strict=True)]
    bench.sheet("vae", ("simulated", "reconstructed"), rows)
    return [
        mean("vae", "VAE reconstruction", values, "dB", 33.0),
        *(mean("vae", f"VAE, {name}", v, "dB") for name, v in groups.items()),
    ]


@torch.inference_mode()
def _reconstructed(model: UniMedVL, image: np.ndarray) -> np.ndarray:
    net = model.model
    pixels = model.prepare.latent(to_pixels(image)).pixels.to(net.device, net.dtype)
    return _eight_bit(net.vae.decode(net.vae.encode(pixels[None]))[0].float())


def _eight_bit(pixels: Tensor) -> np.ndarray:
    """[3, H, W] in about [-1, 1] to [H, W, 3] uint8, truncated as drawings are."""
    return ((pixels * 0.5 + 0.5).clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
