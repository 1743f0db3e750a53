"""Without BiomedCLIP the image-text score has no value, and says what it needs."""

from __future__ import annotations

import math
from pathlib import Path

import huggingface_hub
import huggingface_hub.file_download
import numpy as np
import pytest

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.encoders import biomedclip_missing
from unimedvl.evaluation.metrics.image_text import IMAGE_TEXT, image_text_cosines, image_text_score

IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def nothing_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine whose cache is empty, whatever is installed."""
    find = huggingface_hub.file_download.try_to_load_from_cache
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a: find(*a, cache_dir=tmp_path))


def test_the_line_has_no_value_and_says_what_is_needed() -> None:
    score, values = image_text_score([IMAGE], ["Chest X-ray"], group="modality: cxr")
    assert score.metric == IMAGE_TEXT and math.isnan(score.value) and values == []
    assert score.beside == f"not measured: {biomedclip_missing()}" and score.group == "modality: cxr"


def test_asking_for_cosines_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="BiomedCLIP .open_clip. needs"):
        image_text_cosines([IMAGE], ["Chest X-ray"])
    with pytest.raises(EvaluationError, match="1 images for 0 texts"):
        image_text_cosines([IMAGE], [])
