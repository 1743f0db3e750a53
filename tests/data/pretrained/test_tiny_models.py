"""The instruments through transformers itself, with tiny models of their architectures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture
from unimedvl.data.quality.transformers_models import E5Encoder, MedGemmaCaptioner, MedSiglipMatcher

IMAGES = [encoded(picture("cxr", n)) for n in range(2)]


def test_the_encoder_gives_unit_vectors_that_no_batch_changes(tiny):
    texts = ["a chest x ray", "no pleural effusion is visible in the left lung", "mri"]
    together, alone = (E5Encoder(tiny["encoder"], batch=n, device="cpu").encode(texts) for n in (3, 1))
    assert together.shape == (3, 32) and np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert np.allclose(together, alone, atol=1e-6) and not np.allclose(together[0], together[1], atol=1e-3)


def test_the_matcher_scores_each_pair_by_itself(tiny):
    matcher = MedSiglipMatcher(tiny["matcher"], device="cpu")
    long = "no pleural effusion is visible in the left lung " * 9  # over the 16 tokens that it takes
    scores = matcher.match(IMAGES, ["a chest x ray", long])
    assert scores.shape == (2,) and (np.abs(scores) <= 1).all() and scores[0] != scores[1]
    assert matcher.match(IMAGES[1:], [long]) == pytest.approx(scores[1:], abs=1e-6)


def test_the_captioner_says_the_same_of_an_image_whatever_came_before(tiny):
    captioner = MedGemmaCaptioner(tiny["captioner"], most_tokens=8, device="cpu")
    captioner.check()
    first = captioner.captions(IMAGES[0], None, 3)
    captioner.captions(IMAGES[1], None, 2)
    assert captioner.captions(IMAGES[0], None, 3) == first and len(set(first)) > 1
    other = MedGemmaCaptioner(tiny["captioner"], most_tokens=8, device="cpu", seed=1)
    assert other.captions(IMAGES[0], None, 3) != first


def test_a_folder_that_lacks_a_part_is_told(tiny, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((Path(tiny["encoder"]) / name).read_bytes())
    with pytest.raises(DataError, match=f"{tmp_path.name}@main: its tokenizer knows no words"):
        E5Encoder(str(tmp_path)).check()
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(DataError, match="can't be loaded: "):
        E5Encoder(str(tmp_path)).loaded()


def test_a_model_of_another_role_is_told(tiny):
    with pytest.raises(DataError, match=r"encoder@main: takes no images; expected one such as google/medsiglip-448"):
        MedSiglipMatcher(tiny["encoder"], device="cpu").check()
    with pytest.raises(DataError, match=r"matcher@main: takes images; expected one such as intfloat/e5-large-v2"):
        E5Encoder(tiny["matcher"], device="cpu").check()
    with pytest.raises(DataError, match=r"matcher@main: can't be loaded: "):
        MedGemmaCaptioner(tiny["matcher"], device="cpu").loaded()
