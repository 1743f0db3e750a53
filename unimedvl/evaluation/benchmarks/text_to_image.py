"""Captions of any data build's test split, drawn: the published table's form, on whatever images the build has."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.record import IMAGE_MARK
from unimedvl.data.shards import read_shard
from unimedvl.data.source import Load
from unimedvl.evaluation.benchmark import Benchmark, Broken, Pairs, Scored
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.generation import distribution_scores, memorised_scores
from unimedvl.evaluation.item import Item
from unimedvl.evaluation.metrics.image_text import IMAGE_TEXT, image_text_score
from unimedvl.evaluation.protocol import Protocol

# Training images among which the nearest one is looked for.
MOST_TRAINING = 5000


def _read(root: Path | None) -> Iterator[Item | Broken]:
    """Records of drawing from words in the test shards of a finished build."""
    if root is None:
        raise EvaluationError("text-to-image: no data; give the folder of a finished data build (unimedvl data build)")
    files = sorted((root / "shards").glob("test-*.parquet"))
    if not files:
        raise EvaluationError(f"{root}: no shards/test-*.parquet; a finished data build with a test split has them")
    for file in files:
        try:
            for sample in read_shard(file):
                r = sample.record
                if r.sub_task_type == "text_to_image":
                    asked = r.message[0].value.replace(IMAGE_MARK, "").strip()
                    seed = int.from_bytes(hashlib.sha256(r.id.encode()).digest()[:4])
                    yield Item(
                        f"{r.dataset}-{r.id}", "generate", "image", text=asked, question=asked, seed=seed,
                        target=partial(_opened, sample.images[-1]), groups={"modality": r.modality},
                        truth={"build": str(root)},
                    )  # fmt: skip
        except DataError as error:
            yield Broken(str(file), str(error))


def _opened(load: Load) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(load())).convert("RGB"))


def _score(pairs: Pairs) -> Scored:
    there = [(i, p) for i, p in pairs if p.drawn is not None]
    drawn, true = [p.image for _, p in there], [i.target() for i, _ in there]
    modalities = [i.groups["modality"] for i, _ in there]
    scores = distribution_scores(modalities, drawn, true, failed=len(pairs) - len(there))
    match, each = image_text_score(drawn, [i.text for i, _ in there])
    training = _training(Path(str(there[0][0].truth["build"]))) if there else []
    memorised, nearest = memorised_scores(drawn, training, true)
    told = {i.id: {IMAGE_TEXT: value} for (i, _), value in zip(there, each, strict=False)}
    beside = {i.id: training[place] for (i, _), place in zip(there, nearest, strict=False)}
    return Scored([*scores, match, *memorised], [told.get(i.id, {}) for i, _ in pairs], beside)


def _training(build: Path) -> list[np.ndarray]:
    """The first images that a training on this build would learn to draw."""
    out: list[np.ndarray] = []
    for file in sorted((build / "shards").glob("train-*.parquet")):
        for sample in read_shard(file):
            if sample.record.sub_task_type == "text_to_image":
                out.append(_opened(sample.images[-1]))
                if len(out) == MOST_TRAINING:
                    return out
    return out


TEXT_TO_IMAGE = Benchmark(
    "text-to-image", "Text to image", "generation",
    Protocol(
        "the test split of a data build; the authors held out 20 % of caption pairs, N not published",
        "the caption as it is", "the drawing as it is",
        open="Fréchet distance and kernel distance of drawn from held-out images by the encoder that is named, per "
        "modality and in all; image-text score by BiomedCLIP where it is there; nearness to training images",
    ),
    _read, _score, home="any finished data build", licence="that of the build's records",
)  # fmt: skip
