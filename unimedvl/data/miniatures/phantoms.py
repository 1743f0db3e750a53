"""Phantoms in miniature: two studies of each modality, one of which is held out."""

from __future__ import annotations

import json
from pathlib import Path

from unimedvl.data.sources.phantoms import FILE
from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.study import FIRST_TRAINING_SEED


def write(root: Path) -> None:
    settings = {"studies": 2 * len(SIMULATORS), "first_seed": FIRST_TRAINING_SEED - len(SIMULATORS), "size": 128}
    (root / FILE).write_text(json.dumps(settings) + "\n")
