"""A picture as a piece of a message and as a file, and a tiny model that ends an answer by itself."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unimedvl.evaluation.harness.message import Part, Question, answer_all
from unimedvl.inference.text import Sampling
from unimedvl.inference.unimedvl import UniMedVL


@pytest.fixture(scope="session")
def picture_part(picture: np.ndarray) -> Part:
    return Part(image=picture)


@pytest.fixture
def picture_file(picture: np.ndarray, tmp_path: Path) -> Path:
    Image.fromarray(picture).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture(scope="session")
def closing(tiny: UniMedVL, picture_part: Part) -> UniMedVL:
    """`tiny` with the scores of two tokens swapped, so that its greedy answer on the picture, if there is an effusion,
    ends after some words.
    """
    asked = Question((picture_part, Part("Is there an effusion?")), Sampling(max_tokens=8))
    model = copy.deepcopy(tiny.model)
    close = model.config.special.text_close
    (answer,) = answer_all(tiny, [asked])
    ids = tiny.tokenizer.encode(answer.text)
    late = next(token for token in reversed(ids) if token != ids[0])
    with torch.no_grad():
        head = model.language_model.lm_head.weight
        head[[close, late]] = head[[late, close]]
    return UniMedVL(model, tiny.tokenizer, tiny.card, tiny.weights)
