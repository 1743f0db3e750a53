"""BIOMEDICA (Lozano et al., CVPR 2025): all figures of PubMed Central's open articles with captions, as WebDataset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from unimedvl.data.archives import file_part, tar_members
from unimedvl.data.error import DataError
from unimedvl.data.files import Rows
from unimedvl.data.record import Record
from unimedvl.data.source import (
    Item,
    Sample,
    Source,
    described,
    need,
    pictures,
    required,
    samples,
    words,
)

# Folders, which are groups of licences.
_GROUPS = ("commercial", "noncommercial", "other")
# What a sample is made of; images are JPEG.
_KINDS = ("jpg", "json", "txt")
# Labels that name one modality; X_Ray_Radiography may be of any part, Light_Microscopy of anything.
_MODALITY = {
    "computerized_tomography": "ct",
    "computed_tomography": "ct",
    "magnetic_resonance": "mri",
    "ultrasound": "us",
    "endoscopy": "endoscopy",
    "optical_coherence_tomography": "oct",
}
_TEXTS = ("image_panel_type", "image_panel_subtype", "article_title", "article_journal", "article_date")
_LISTS = ("image_primary_label", "image_secondary_label", "article_mesh_terms", "article_keywords")

def read(root: Path) -> Iterator[Item]:
    """The samples of every shard of the groups of licences that are there."""
    need(root, *_GROUPS)
    for group in _GROUPS:
        if not (root / group).is_dir():
            continue
        shards = sorted((root / group).rglob("*.tar"))
        if not shards:
            raise DataError(f"{root / group}: expected *.tar in it, found none")
        for shard in shards:
            yield from samples(_joined(shard), lambda row, g=group, s=shard: _record(row, g, s))


def _joined(shard: Path) -> Rows:
    """The samples of a shard as rows `{"key", "jpg", "json", "txt"}` of places, each as soon as it is whole."""
    begun: dict[str, dict] = {}
    done: set[str] = set()
    try:
        with shard.open("rb") as stream:
            for name, place in tar_members(shard, stream):
                key, _, kind = name.rpartition(".")
                kind = {"jpeg": "jpg"}.get(kind.lower(), kind.lower())
                if kind not in _KINDS:
                    yield f"{shard}: {name}", DataError(f"expected .jpg, .json or .txt, found .{kind}")
                elif key in done or kind in begun.get(key, {}):
                    yield f"{shard}: {name}", DataError("a member of this name is before it")
                else:
                    begun.setdefault(key, {"key": key})[kind] = place
                    if len(begun[key]) == 1 + len(_KINDS):
                        done.add(key)
                        yield f"{shard}: {key}", begun.pop(key)
    except DataError as error:
        yield str(shard), error  # Other shards may be whole.
    for key, row in begun.items():
        missing = ", ".join(f".{kind}" for kind in _KINDS if kind not in row)
        yield f"{shard}: {key}", DataError(f"no {missing} of this key in the shard")


def _record(row: dict, group: str, shard: Path) -> Sample:
    key, about = row["key"], _object(file_part(shard, row["json"])())
    caption = _text(file_part(shard, row["txt"])(), "txt")
    # Keys are batch, article, position and the rest.
    in_key = key.split("-")[1] if key.count("-") >= 2 else ""
    article = (words(about, "article_accession_id") if "article_accession_id" in about else "") or in_key
    labels = {name: _listed(about, name) for name in _LISTS}
    told = {name: words(about, name) for name in _TEXTS if name in about}
    told |= {name: "; ".join(found) for name, found in labels.items()} | {"group": group}
    licence = words(about, "article_license") if "article_license" in about else ""
    record = Record(
        main_task_type="understanding", sub_task_type="caption", modality=_modality(labels["image_secondary_label"]),
        dataset="biomedica", input_img=pictures([f"{group}/{key}.jpg"]),
        message=described(required({"txt": caption}, "txt")), id=key,
        licence=licence or f"not stated; of the group {group}", study=article,
        attributes={name: text for name, text in told.items() if text},
    )  # fmt: skip
    return Sample(record, (file_part(shard, row["jpg"]),))


def _text(data: bytes, kind: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{kind}: not UTF-8: {error.reason}") from error


def _object(data: bytes) -> dict:
    try:
        found = json.loads(_text(data, "json"))
    except json.JSONDecodeError as error:
        raise DataError(f"json: not JSON: {error.msg} at line {error.lineno}") from error
    if not isinstance(found, dict):
        raise DataError(f"json: expected an object, found {type(found).__name__}")
    return found


def _listed(about: dict, name: str) -> list[str]:
    """A list of texts, which may be missing, null, or one text instead."""
    found = about.get(name) or []
    return list(map(str, found)) if isinstance(found, list) else [words(about, name)]


def _modality(labels: list[str]) -> str:
    found = {_MODALITY[label.lower()] for label in labels if label.lower() in _MODALITY}
    return found.pop() if len(found) == 1 else "mixed"


SOURCE = Source(
    name="biomedica",
    title="BIOMEDICA",
    home="https://huggingface.co/datasets/BIOMEDICA/biomedica_webdataset_24M",
    licence="each article's own, in groups commercial, noncommercial and other",
    access="gated",
    modalities=("ct", "mri", "us", "endoscopy", "oct", "mixed"),
    expected={"train": 17607694 + 5332781 + 1109948},
    read=read,
    notes="No split. A record has the licence of its article, and its study is its article. PMC-OA, PubMedVision and "
    "the others of PubMed Central share figures with it.",
    tasks=("caption",),
)
