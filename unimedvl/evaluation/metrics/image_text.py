"""How well drawn images match the words that they were asked for with: BiomedCLIP's image-text score."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.encoders import BIOMEDCLIP_ENCODER, biomedclip, biomedclip_missing
from unimedvl.evaluation.score import Score, mean

IMAGE_TEXT = "image-text score"
RULE = "(1 + cosine) / 2 of BiomedCLIP's image and text; the published definition is not told"
# Tokens of a text that BiomedCLIP reads.
CONTEXT = 256
_BATCH = 16


def image_text_cosines(images: Sequence[np.ndarray], texts: Sequence[str]) -> list[float]:
    """The cosine of each [H, W, 3] uint8 image with its text under BiomedCLIP, -1 to 1 (Zhang et al. 2023).

    Texts are read up to 256 tokens.

    Raises:
        EvaluationError: not of one length, or something of BiomedCLIP is not on this machine.
    """
    import torch
    from PIL import Image

    if len(images) != len(texts):
        raise EvaluationError(f"{len(images)} images for {len(texts)} texts")
    model, prepare, tokenize = biomedclip()
    cosines: list[float] = []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            pixels = [prepare(Image.fromarray(image)) for image in images[start : start + _BATCH]]
            words = tokenize(list(texts[start : start + _BATCH]), context_length=CONTEXT)
            seen = model.encode_image(torch.stack(pixels), normalize=True)
            read = model.encode_text(words, normalize=True)
            cosines += (seen * read).sum(1).tolist()
    return cosines


def image_text_score(images: Sequence[np.ndarray], texts: Sequence[str], **told) -> tuple[Score, list[float]]:
    """The mean of ``(1 + cosine) / 2``, 0 to 1, as a line of a table, and each item's value.

    Where BiomedCLIP is not on this machine, the line has no value and says beside it what is needed. told: further
    fields of `Score`.
    """
    if what := biomedclip_missing():
        absent = {"beside": f"not measured: {what}"} | told
        return Score(IMAGE_TEXT, math.nan, math.nan, math.nan, 0, **absent), []
    values = [(1 + cosine) / 2 for cosine in image_text_cosines(images, texts)]
    return mean(IMAGE_TEXT, values, **{"beside": f"{BIOMEDCLIP_ENCODER.name}: {RULE}"} | told), values
