"""BIOMEDICA in miniature: shards of two licence groups; keys with further dashes and dots, and empty licences."""

from __future__ import annotations

import json
from pathlib import Path

from unimedvl.data.miniatures.paint import encoded, picture, tarred

# Shard, key, simulator, caption, second labels, licence.
_SAMPLES = (
    ("commercial/0_100000000.tar", "0-PMC9000031-0-fig-1a", "mri", "Simulated section.\n", ["Magnetic_Resonance"],
     "CC BY"),
    ("commercial/0_100000000.tar", "0-PMC9000031-1-f.2", "cxr", "A nodule.", ["X_Ray_Radiography"], "CC BY"),
    ("noncommercial/0_100000000.tar", "3-PMC9000032-0-g001", "his", "Stained section.",
     ["Light_Microscopy", "Magnetic_Resonance", "Ultrasound"], ""),
)  # fmt: skip


def write(root: Path) -> None:
    for shard in dict.fromkeys(sample[0] for sample in _SAMPLES):
        members = []
        for seed, (where, key, kind, caption, labels, licence) in enumerate(_SAMPLES):
            if where == shard:
                about = json.dumps(_about(key, labels, licence)).encode()
                members += [(f"{key}.jpg", encoded(picture(kind, 470 + seed))), (f"{key}.txt", caption.encode()),
                            (f"{key}.json", about)]  # fmt: skip
        if shard.startswith("commercial"):
            # The three members of a sample need not follow each other.
            members = [*members[:2], *members[3:], members[2]]
        (root / shard).parent.mkdir(parents=True, exist_ok=True)
        (root / shard).write_bytes(tarred(members))


def _about(key: str, labels: list[str], licence: str) -> dict:
    article = key.split("-")[1]
    return {
        "image_file_name": f"{key}.jpg",
        "image_cluster_id": "12",
        "image_hash": "0f0f",
        "image_label_id": "3",
        "image_panel_type": "single",
        "image_panel_subtype": "single",
        "image_primary_label": ["Clinical_Imaging"],
        "image_secondary_label": labels,
        "image_size": [128, 128],
        "image_set": [f"{key}.jpg"],
        "image_context": {"mention": ["As the figure shows."]},
        "article_accession_id": article,
        "article_title": "An invented article",
        "article_journal": "Journal of Invention",
        "article_date": "2020-01-01",
        "article_abstract": "Invented.",
        "article_mesh_terms": ["Humans", "Lung"],
        "article_keywords": [],
        "article_reference_ids": [],
        "article_reference_count": 0,
        "article_reference_list": [],
        "article_subject": ["Invention"],
        "article_citation": "Nobody, 2020",
        "article_license": licence,
        "article_text": "Invented. " * 20,
    }
