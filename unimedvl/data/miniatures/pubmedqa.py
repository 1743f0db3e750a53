"""PubMedQA in miniature: the three parts as objects by id, and the ids of the test with their decisions."""

from __future__ import annotations

import json
from pathlib import Path

_CONTEXTS = ["It is asked whether samples help.", "Ten samples were made and counted."]


def write(root: Path) -> None:
    folder = root / "data"
    folder.mkdir()
    labelled = {"90000001": "yes", "90000002": "no", "90000003": "maybe", "90000004": "yes"}
    parts = {
        "pqal": {key: entry(key, decision) for key, decision in labelled.items()},
        # Unlabelled questions have no decision, and no predictions of it.
        "pqau": {"90000011": entry("90000011")},
        "pqaa": {"90000021": entry("90000021", "no")},
    }
    for name, entries in parts.items():
        (folder / f"ori_{name}.json").write_text(json.dumps(entries, indent=1))
    (folder / "test_ground_truth.json").write_text(json.dumps({"90000002": "no", "90000004": "yes"}))


def entry(key: str, decision: str = "") -> dict:
    """One question. decision: yes, no or maybe; empty leaves it out."""
    told = {
        "QUESTION": f"Do samples help in case {key[-2:]}?",
        "CONTEXTS": _CONTEXTS,
        "LABELS": ["BACKGROUND", "METHODS"],
        "MESHES": ["Humans"],
        "YEAR": "2011",
        "LONG_ANSWER": "Samples are of help to those who count.",
    }
    labels = {"reasoning_required_pred": decision, "reasoning_free_pred": decision, "final_decision": decision}
    return told | (labels if decision else {})
