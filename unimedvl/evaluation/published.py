"""What the authors published (arXiv 2510.15710, README), by benchmark and metric, to print beside one's own figures.

Two lines there look misprinted: the eight Fréchet distances average 95.80, not 96.29, and those of CXR and CT are one
value. They are told as they were printed.
"""

from __future__ import annotations

from dataclasses import dataclass

from unimedvl.evaluation.score import Unit

SOURCE = "arXiv 2510.15710"
_VQA = ("vqa-rad", "slake", "pathvqa", "omnimedvqa", "gmai-mmbench")
_CODES = ("cfp", "cxr", "ct", "his", "mri", "oct", "us", "endoscopy")


@dataclass(frozen=True)
class Published:
    """One published figure. value: a share of 1 where the unit is "%", as in `Score`. group: as of `Score`."""

    model: str
    benchmark: str
    metric: str
    value: float
    unit: Unit = ""
    group: str = ""


def _vqa(model: str, *percent: float) -> list[Published]:
    return [
        Published(model, name, "accuracy", value / 100, "%") for name, value in zip(_VQA, percent, strict=True)
    ]


def _drawn(model: str, *pairs: tuple[float, float]) -> list[Published]:
    out = []
    for code, (distance, match) in zip((*_CODES, ""), pairs, strict=True):
        group = f"modality: {code}" if code else ""
        out.append(Published(model, "text-to-image", "Fréchet distance", distance, group=group))
        out.append(Published(model, "text-to-image", "image-text score", match, group=group))
    return out


def _pair(model: str, benchmark: str, psnr: float, ssim: float) -> list[Published]:
    return [Published(model, benchmark, "PSNR", psnr, "dB"), Published(model, benchmark, "SSIM", ssim)]


def _counterfactual(model: str, *values: float) -> list[Published]:
    names = ("Fréchet distance", "AUROC", "F1", "BLEU-3", "METEOR", "ROUGE-L")
    return [Published(model, "counterfactual", name, value) for name, value in zip(names, values, strict=True)]


PUBLISHED: tuple[Published, ...] = (
    *_vqa("GMAI-VL (7B)", 66.3, 72.9, 39.8, 88.5, 61.74),
    *_vqa("HuatuoGPT-Vision (7B)", 53.0, 49.1, 32.0, 50.0, 50.22),
    *_vqa("Bagel (7B)", 60.09, 58.91, 39.05, 71.13, 48.11),
    *_vqa("HealthGPT-L14 (14B)", 58.3, 64.5, 44.4, 74.4, 43.1),
    *_vqa("UniMedVL (14B)", 61.9, 75.4, 53.5, 85.8, 60.75),
    *_drawn("Bagel (7B)", (217.19, 0.65), (182.8, 0.662), (163.78, 0.652), (206.18, 0.643), (175.74, 0.639),
            (307.8, 0.719), (255.78, 0.672), (214.61, 0.668), (215.49, 0.66)),
    *_drawn("UniMedVL (14B)", (53.2, 0.708), (73.04, 0.702), (73.04, 0.696), (149.01, 0.704), (90.36, 0.706),
            (99.27, 0.721), (95.38, 0.706), (133.11, 0.707), (96.29, 0.706)),
    *_pair("Pyramid Pix2pix", "staining", 21.16, 0.477),
    *_pair("HealthGPT-M3", "staining", 15.81, 0.242),
    *_pair("UniMedVL (14B)", "staining", 20.27, 0.456),
    *_pair("AMIR", "super-resolution", 31.99, 0.939),
    *_pair("HealthGPT-M3", "super-resolution", 18.37, 0.58),
    *_pair("UniMedVL (14B)", "super-resolution", 27.29, 0.89),
    *_pair("ResViT", "translation", 25.38, 0.889),
    *_pair("HealthGPT-M3", "translation", 19.09, 0.748),
    *_pair("UniMedVL (14B)", "translation", 25.07, 0.882),
    *_counterfactual("ProgEmu", 29.21, 0.792, 0.891, 0.124, 0.41, 0.261),
    *_counterfactual("UniMedVL (14B, fine-tuned)", 27.17, 0.797, 0.873, 0.264, 0.449, 0.465),
)  # fmt: skip


def published(benchmark: str, metric: str, group: str = "") -> tuple[Published, ...]:
    """The published figures of a benchmark, metric and group, in the order of the table; none where there are none."""
    return tuple(p for p in PUBLISHED if (p.benchmark, p.metric, p.group) == (benchmark, metric, group))
