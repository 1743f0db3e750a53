"""PSNR, SSIM and LPIPS have the values that their definitions give by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.images import (
    LARGEST_PSNR,
    Lpips,
    fitted,
    hub_file,
    lpips_if_there,
    pair_scores,
    psnr,
    ssim,
)


def grey(value: int, height: int = 16, width: int = 16) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_psnr_of_a_shift_by_a_few_levels() -> None:
    assert psnr(grey(100), grey(110)) == pytest.approx(20 * math.log10(255 / 10))


def test_psnr_counts_all_channels_together() -> None:
    red = grey(100)
    red[..., 0] += 10  # a third of the values differs
    assert psnr(red, grey(100)) == pytest.approx(10 * math.log10(255**2 / (100 / 3)))


def test_black_and_white_are_zero_db_apart_and_equal_images_count_as_the_largest() -> None:
    assert psnr(grey(0), grey(255)) == pytest.approx(0.0)
    assert psnr(grey(7), grey(7)) == LARGEST_PSNR


def test_ssim_of_flat_images_is_its_luminance_term() -> None:
    # no contrast: (2 m n + c1) / (m^2 + n^2 + c1) with c1 = (0.01 * 255)^2
    c1 = 2.55**2
    assert ssim(grey(100), grey(150)) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1), abs=1e-6)


def test_ssim_of_an_image_and_its_negative_is_below_nought() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert ssim(noise, noise) == pytest.approx(1.0)
    assert ssim(noise, 255 - noise) < -0.8


def test_the_truth_is_resized_to_the_drawn_image() -> None:
    assert fitted(grey(90, 64, 32), grey(0, 32, 16)).shape == (32, 16, 3)
    assert psnr(grey(90, 32, 16), grey(90, 64, 32)) == LARGEST_PSNR


def test_antialiasing_keeps_what_is_finer_than_a_pixel_grey() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    small = fitted(np.repeat(board[..., None], 3, 2).astype(np.uint8), grey(0))
    assert abs(small[4:-4, 4:-4].astype(int) - 128).max() <= 2


def test_scores_of_pairs_and_what_they_are_read_with() -> None:
    scores, values = pair_scores([grey(100), grey(9)], [grey(110, 32, 32), grey(9)], group="modality: ct")
    assert values[0]["PSNR"] == pytest.approx(28.1308, abs=1e-4)
    assert [(s.metric, s.unit, s.n, s.group) for s in scores] == [
        ("PSNR", "dB", 2, "modality: ct"), ("SSIM", "", 2, "modality: ct"),
    ]  # fmt: skip
    assert scores[0].value == pytest.approx((28.1308 + 100) / 2, abs=1e-4)
    assert "differ: 1 of 2" in scores[0].beside and "1 perfect, counted as 100 dB" in scores[0].beside


@pytest.mark.parametrize("truth", [grey(1)[..., 0], grey(1).astype(np.float32), grey(1)[..., :2]])
def test_what_is_no_rgb_image_is_an_error(truth: np.ndarray) -> None:
    with pytest.raises(EvaluationError, match=r"the truth must be \[H, W, 3\] uint8"):
        psnr(grey(1), truth)


def test_ssim_of_an_image_smaller_than_its_window_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="at least 7 x 7, got 16 x 6"):
        ssim(grey(1, 6, 16), grey(1, 6, 16))


def test_lpips_without_its_weights_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # empty: whatever is installed, the weights are missing
    with pytest.raises(EvaluationError, match="LPIPS .AlexNet. needs (torchvision|AlexNet's weights)") as error:
        Lpips()
    assert str(error.value) == Lpips.missing() and "\n" not in Lpips.missing()
    assert lpips_if_there() is None
    assert hub_file("https://example.org/alexnet.pth") == tmp_path / "hub" / "checkpoints" / "alexnet.pth"
