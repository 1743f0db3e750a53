"""The page on metrics speaks of each metric and encoder by the name that is printed with figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimedvl.evaluation.metrics.distances import FRECHET, KID
from unimedvl.evaluation.metrics.encoders import ENCODERS
from unimedvl.evaluation.metrics.findings import FINDING_F1, LABELLERS
from unimedvl.evaluation.metrics.image_text import IMAGE_TEXT
from unimedvl.evaluation.metrics.images import LARGEST_PSNR, SSIM_WINDOW, Lpips
from unimedvl.evaluation.metrics.masks import HAUSDORFF
from unimedvl.evaluation.metrics.nearest import MEMORISED
from unimedvl.evaluation.metrics.text import CIDER, EXACT_AND_STEM

PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
METRICS = (
    "BLEU-n", "Corpus BLEU", "METEOR", EXACT_AND_STEM, "ROUGE-L", CIDER, FINDING_F1, "PSNR", "SSIM", Lpips.name, "Dice",
    HAUSDORFF, FRECHET, KID, MEMORISED, IMAGE_TEXT, "AUROC", "F1", *(x.name.partition(" (")[0] for x in LABELLERS),
)  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_on_the_page(name: str) -> None:
    assert name.lower() in PAGE.lower()


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_is_on_the_page_with_its_size(name: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert ENCODERS[name].name in row and f"| {ENCODERS[name].features} |" in row


def test_settings_are_those_of_the_code() -> None:
    assert f"counts as {LARGEST_PSNR:.0f} dB" in PAGE.replace("\n", " ")
    assert f"windows of {SSIM_WINDOW} x {SSIM_WINDOW}" in PAGE
