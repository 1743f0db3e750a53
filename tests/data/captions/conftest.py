"""Records of simulated studies with their captions."""

from __future__ import annotations

import numpy as np
import pytest

from unimedvl.data.record import Record
from unimedvl.data.slices import png
from unimedvl.data.source import Sample, answer, pictures, question
from unimedvl.phantoms import simulate
from unimedvl.phantoms.language import caption, report


@pytest.fixture(scope="session")
def captioned():
    """A simulated study as a captioned sample, or one with its report."""

    def make(modality: str, seed: int, kind: str = "caption", text: str | None = None, **more) -> Sample:
        study = simulate(modality, seed, 64)
        view, rng = next(iter(study.images)), np.random.default_rng(seed)
        said = text or (caption(study, view, rng) if kind == "caption" else report(study, rng, view))
        record = Record(
            main_task_type="understanding", sub_task_type=kind, modality=modality, dataset="phantoms",
            input_img=pictures([f"{modality}-{seed}.png"]), message=(question("Describe this image."), answer(said)),
            id=f"{modality}-{seed}-{kind}", licence="Apache-2.0", patient=f"p{seed}", split="test", **more,
        )  # fmt: skip
        return Sample(record, (lambda: png(study.images[view]),))

    return make
