"""The embedded encoder gives features of any images; what is not on the machine is said in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import huggingface_hub.file_download
import numpy as np
import pytest

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.encoders import (
    ENCODERS,
    FOR_ALL,
    NANO,
    Encode,
    available,
    encoder_that_is_there,
)
from unimedvl.phantoms import simulate


@pytest.fixture(scope="module")
def nano() -> Encode:
    return encoder_that_is_there("nano")


@pytest.fixture
def nothing_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine whose caches are empty, whatever is installed."""
    for name in ("HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    find = huggingface_hub.file_download.try_to_load_from_cache
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a: find(*a, cache_dir=tmp_path))


def images(modality: str, n: int) -> list[np.ndarray]:
    return [next(iter(simulate(modality, seed).images.values())) for seed in range(n)]


def test_an_image_has_the_same_features_in_any_batch(nano: Encode) -> None:
    shown = images("cxr", 3)
    together, apart = nano(shown), np.concatenate([nano([image]) for image in shown])
    assert together.shape == (3, NANO.features) and together.dtype == np.float32
    np.testing.assert_allclose(together, apart, atol=1e-4)


def test_features_tell_kinds_of_images_apart(nano: Encode) -> None:
    cxr, cfp = nano(images("cxr", 6)), nano(images("cfp", 6))
    between = np.linalg.norm(cxr.mean(0) - cfp.mean(0))
    assert between > 2 * np.linalg.norm(cxr - cxr.mean(0), axis=1).mean()


def test_images_of_any_size_are_taken_and_none_have_no_features(nano: Encode) -> None:
    assert nano([np.zeros((40, 90, 3), np.uint8), np.zeros((300, 20, 3), np.uint8)]).shape == (2, NANO.features)
    assert nano([]).shape == (0, NANO.features)


def test_it_says_what_it_is(nano: Encode) -> None:
    assert nano.told.startswith("nano ViT (embedded, simulated images only): 192 features, 126 x 126 px bicubic")
    assert "weights " in nano.told


def test_what_is_no_image_is_an_error(nano: Encode) -> None:
    with pytest.raises(EvaluationError, match=r"must be \[H, W, 3\] uint8, got float64 of shape \(4, 4, 3\)"):
        nano([np.zeros((4, 4, 3))])


def test_without_downloads_the_embedded_one_is_taken(nothing_downloaded: None) -> None:
    missing = available()
    assert missing.pop("nano") == "" and set(missing) == {"inception", "xrv-densenet", "biomedclip"}
    assert all(" needs " in what and "\n" not in what for what in missing.values())
    assert encoder_that_is_there().name == NANO.name == ENCODERS[FOR_ALL[-1]].name


@pytest.mark.parametrize("name", ["inception", "xrv-densenet", "biomedclip"])
def test_asking_for_one_that_is_not_there_says_what_it_needs(name: str, nothing_downloaded: None) -> None:
    with pytest.raises(EvaluationError) as error:
        Encode(ENCODERS[name])
    assert str(error.value) == ENCODERS[name].missing()
    assert str(error.value).startswith(ENCODERS[name].name)


def test_an_encoder_that_lacks_something_is_not_loaded() -> None:
    with pytest.raises(EvaluationError, match="it needs a file"):
        Encode(replace(NANO, missing=lambda: "it needs a file"))


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(EvaluationError, match="no encoder 'vgg'; there are inception, xrv-densenet, biomedclip, nano"):
        encoder_that_is_there("vgg")
