"""PubMedVision (Chen et al., EMNLP 2024; HuatuoGPT-Vision): conversations on figures of PubMed, by GPT-4V."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from unimedvl.data.archives import image_store
from unimedvl.data.error import DataError
from unimedvl.data.files import json_list
from unimedvl.data.record import Record
from unimedvl.data.source import (
    Item,
    Load,
    Sample,
    Source,
    conversation,
    need,
    pictures,
    required,
    samples,
    value,
    words,
)

_LICENCE = "Apache-2.0"
# Both files have the same ids.
_FILES = {
    "PubMedVision_Alignment_VQA.json": "alignment",
    "PubMedVision_InstructionTuning_VQA.json": "instruction",
}
# The words are a model's. Microscopy and digital radiography are more than histopathology and chest X-rays.
_MODALITY = {
    "computed tomography": "ct",
    "magnetic resonance imaging": "mri",
    "ultrasound": "us",
    "endoscopy": "endoscopy",
    "dermoscopy": "dermoscopy",
    "fundus photography": "cfp",
    "optical coherence tomography": "oct",
}


def read(root: Path) -> Iterator[Item]:
    """The records of both files, or of the one that is there."""
    need(root, *_FILES)
    store = image_store(root, ("images",), "images_*.zip")
    for name, subset in _FILES.items():
        if (root / name).exists():
            yield from samples(json_list(root / name), lambda row, s=subset: _record(row, s, store))


def _record(row: dict, subset: str, store: Callable[[str], Load]) -> Sample:
    paths = value(row, "image")
    if not isinstance(paths, list) or not paths or not all(isinstance(p, str) and p for p in paths):
        raise DataError("image: expected a list of paths")
    told = {name: words(row, name) for name in ("modality", "body_part") if name in row}
    record = Record(
        main_task_type="understanding",
        sub_task_type="vqa",
        modality=_modality(told.get("modality", ""), told.get("body_part", "")),
        dataset="pubmedvision",
        input_img=pictures(paths),
        message=conversation(value(row, "conversations"), len(paths)),
        id=f"{subset}-{required(row, 'id')}",
        licence=_LICENCE,
        attributes={key: text for key, text in told.items() if text} | {"subset": subset},
    )
    return Sample(record, tuple(map(store, paths)))


def _modality(named: str, body_part: str) -> str:
    if named.lower() == "digital radiography":
        return "cxr" if body_part.lower() == "chest" else "mixed"
    return _MODALITY.get(named.lower(), "mixed")


SOURCE = Source(
    name="pubmedvision",
    title="PubMedVision",
    home="https://huggingface.co/datasets/FreedomIntelligence/PubMedVision",
    licence=_LICENCE,
    access="open",
    modalities=("ct", "mri", "us", "cxr", "cfp", "oct", "endoscopy", "dermoscopy", "mixed"),
    expected={"train": 2 * 647031},
    read=read,
    notes="No split. Both files, of 647,031 records each, are about the same images. Modality and body part are a "
    "model's. PMC-OA, PMC-VQA, LLaVA-Med and the others of PubMed Central share figures with it.",
)
