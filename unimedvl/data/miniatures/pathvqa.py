"""PathVQA in miniature: a pickle for each split, images named without suffix, and the files beside them."""

from __future__ import annotations

import pickle
from pathlib import Path

from unimedvl.data.miniatures.paint import picture, save

# Image, question, answer; the same numbers are in every split.
_PARTS = {
    "train": (("0001", "Where are the nuclei?", "in the gland"), ("0001", "Is stroma shown?", "yes"),
              ("0002", "What is dense?", "Stroma ")),
    "val": (("0001", "Are glands shown?", "No"),),
    "test": (("0001", "How many glands are there?", "4"),),
}  # fmt: skip


def write(root: Path) -> None:
    seed = 910
    for split, rows in _PARTS.items():
        for number in sorted({row[0] for row in rows}):
            seed += 1
            save(root / f"pvqa/images/{split}/{split}_{number}.jpg", picture("his", seed))
        entries = [{"image": f"{split}_{number}", "question": q, "answer": a} for number, q, a in rows]
        _pickle(root / f"pvqa/qas/{split}/{split}_qa.pkl", entries)
    # Made for one model's training, and not read.
    _pickle(root / "pvqa/qas/ans2label.pkl", {"yes": 0, "no": 1})


def _pickle(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(content, protocol=4))
