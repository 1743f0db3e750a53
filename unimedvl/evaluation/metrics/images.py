"""How near a drawn image is to the one that is right: PSNR, SSIM, LPIPS.

Images are [H, W, 3] uint8. Where their sizes differ, the truth is brought to the size of the drawn one (`fitted`).
Definitions, sources and pitfalls: docs/metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.packages import package
from unimedvl.evaluation.score import Score, mean
from unimedvl.imaging.resize import resize

# A perfect image has no finite PSNR; it counts as this many dB.
LARGEST_PSNR = 100.0
# Sides of the window of SSIM, so that no smaller image has one.
SSIM_WINDOW = 7
FITTING = "truth resized to the output (bicubic, antialiased) where sizes differ"


def fitted(truth: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The truth at the size of the drawn image: [H, W, 3] uint8, bicubic with antialiasing, rounded to 8 bits.

    Raises:
        EvaluationError: one of them is no [H, W, 3] uint8 image.
    """
    for name, image in (("the drawn image", drawn), ("the truth", truth)):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise EvaluationError(f"{name} must be [H, W, 3] uint8, got {image.dtype} of shape {image.shape}")
    if truth.shape == drawn.shape:
        return truth
    resized = resize(truth.astype(np.float32) / 255, (drawn.shape[1], drawn.shape[0]))
    return np.rint(resized * 255).astype(np.uint8)


def psnr(drawn: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio over all pixels and channels, in dB: ``10 log10(255^2 / MSE)``, by scikit-image.

    At most `LARGEST_PSNR`, which is what a perfect image counts as.

    Raises:
        EvaluationError: one of them is no [H, W, 3] uint8 image.
    """
    truth = fitted(truth, drawn)
    if np.array_equal(drawn, truth):
        return LARGEST_PSNR
    metrics = package("skimage.metrics", "PSNR")
    return min(LARGEST_PSNR, float(metrics.peak_signal_noise_ratio(truth, drawn, data_range=255)))


def ssim(drawn: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity, -1 to 1 (Wang et al. 2004), by scikit-image: windows of 7 x 7, each channel by itself,
    ``data_range=255``.

    Raises:
        EvaluationError: one of them is no [H, W, 3] uint8 image, or the drawn one is smaller than the window.
    """
    truth = fitted(truth, drawn)
    if min(drawn.shape[:2]) < SSIM_WINDOW:
        height, width = drawn.shape[:2]
        raise EvaluationError(f"SSIM needs images of at least {SSIM_WINDOW} x {SSIM_WINDOW}, got {width} x {height}")
    metrics = package("skimage.metrics", "SSIM")
    return float(metrics.structural_similarity(truth, drawn, channel_axis=2, data_range=255))


class Lpips:
    """Learned perceptual distance, 0 for equal images (Zhang et al. 2018): AlexNet, by torchmetrics.

    AlexNet's weights are a download of torchvision's; nothing is downloaded here.
    """

    name = "LPIPS (AlexNet)"

    def __init__(self) -> None:
        """Raises EvaluationError where something is missing, with the words of `missing`."""
        if what := self.missing():
            raise EvaluationError(what)
        image = package("torchmetrics.image.lpip", self.name)
        self._metric = image.LearnedPerceptualImagePatchSimilarity("alex", normalize=True).eval()

    @classmethod
    def missing(cls) -> str:
        """What LPIPS would need on this machine, in one line; empty where it is there."""
        for name, extra in (("torchmetrics", "eval"), ("torchvision", "encoders")):
            if find_spec(name) is None:
                return f"{cls.name} needs {name}, which is not installed; pip install 'unimedvl[{extra}]'"
        try:
            url = package("torchvision.models", cls.name).AlexNet_Weights.DEFAULT.url
        except EvaluationError as error:
            return str(error)
        file = hub_file(url)
        return "" if file.is_file() else f"{cls.name} needs AlexNet's weights: put {url} at {file}"

    def __call__(self, drawn: np.ndarray, truth: np.ndarray) -> float:
        """The distance of two images; the drawn one needs sides of at least 32.

        Raises:
            EvaluationError: one of them is no [H, W, 3] uint8 image, or the drawn one is too small.
        """
        import torch

        truth = fitted(truth, drawn)
        if min(drawn.shape[:2]) < 32:
            raise EvaluationError(f"LPIPS needs images of at least 32 x 32, got {drawn.shape[1]} x {drawn.shape[0]}")
        pair = [torch.from_numpy(x.copy()).permute(2, 0, 1)[None].float() / 255 for x in (drawn, truth)]
        with torch.inference_mode():
            return float(self._metric(*pair))


def lpips_if_there() -> Lpips | None:
    """LPIPS, or None where it is not on this machine (`Lpips.missing` says why)."""
    return None if Lpips.missing() else Lpips()


def hub_file(url: str) -> Path:
    """Where torch keeps the weights that it downloads from an address."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def pair_scores(
    drawn: Sequence[np.ndarray], truths: Sequence[np.ndarray], lpips: Lpips | None = None, **told
) -> tuple[list[Score], list[dict[str, float]]]:
    """PSNR, SSIM and, where it is given, LPIPS as lines of a table, and of each item its values.

    told: further fields of `Score`, such as the group. Beside the values stands how many truths were resized and how
    many images were perfect.

    Raises:
        EvaluationError: an image is not [H, W, 3] uint8, or too small.
    """
    pairs = list(zip(drawn, truths, strict=True))
    values = [{"PSNR": psnr(a, b), "SSIM": ssim(a, b)} for a, b in pairs]
    if lpips is not None:
        values = [v | {lpips.name: lpips(a, b)} for v, (a, b) in zip(values, pairs, strict=True)]
    resized = sum(a.shape != b.shape for a, b in pairs)
    beside = f"{FITTING}: {resized} of {len(pairs)}"
    perfect = sum(math.isclose(v["PSNR"], LARGEST_PSNR) for v in values)
    if perfect:
        beside += f"; {perfect} perfect, counted as {LARGEST_PSNR:.0f} dB"
    told = {"beside": beside} | told
    scores = [
        mean("PSNR", [v["PSNR"] for v in values], "dB", **told),
        mean("SSIM", [v["SSIM"] for v in values], **told),
    ]
    if lpips is not None:
        scores.append(mean(lpips.name, [v[lpips.name] for v in values], **{"higher": False} | told))
    return scores, values
