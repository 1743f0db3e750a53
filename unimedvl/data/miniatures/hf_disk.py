"""A data set saved to disk in miniature: a dictionary of two splits, one of them in two files of several batches."""

from __future__ import annotations

import json
from pathlib import Path

from unimedvl.data.miniatures.paint import encoded, picture

# By split: question, answer as the number of a class, and organ, of each row.
_ROWS = {
    "train": (("Is there a nodule?", 0, "lung"), ("Is the heart large?", 1, "heart"), ("Is there fluid?", 0, "")),
    "validation": (("Is there a device?", 1, "lung"),),
}
_FEATURES = {
    "image": {"_type": "Image"},
    "question": {"dtype": "string", "_type": "Value"},
    "answer": {"names": ["no", "yes"], "_type": "ClassLabel"},
    "organ": {"dtype": "string", "_type": "Value"},
}


def write(root: Path) -> None:
    (root / "dataset_dict.json").write_text(json.dumps({"splits": list(_ROWS)}))
    for split, rows in _ROWS.items():
        columns = [
            {"image": {"bytes": encoded(picture("cxr", 800 + n)), "path": None}, "question": q, "answer": a, "organ": o}
            for n, (q, a, o) in enumerate(rows)
        ]
        parts = [columns[:2], columns[2:]] if len(columns) > 2 else [columns]
        save(root / split, parts, split, _FEATURES)


def save(folder: Path, parts: list[list[dict]], split: str, features: dict) -> None:
    """Write one data set, of a file for each part, as `Dataset.save_to_disk` does. Each row is a batch."""
    import pyarrow as pa

    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{n:05d}-of-{len(parts):05d}.arrow" for n in range(len(parts))]
    schema = pa.Table.from_pylist([row for rows in parts for row in rows]).schema
    for name, rows in zip(names, parts, strict=True):
        with pa.OSFile(str(folder / name), "wb") as out, pa.ipc.new_stream(out, schema) as stream:
            stream.write_table(pa.Table.from_pylist(rows, schema=schema), max_chunksize=1)
    info = {"citation": "", "description": "Invented.", "features": features, "homepage": "", "license": "cc0-1.0"}
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0" * 16, "_format_columns": None,
             "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": split}  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2))
    (folder / "state.json").write_text(json.dumps(state, indent=2))
