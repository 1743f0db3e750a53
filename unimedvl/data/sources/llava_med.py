"""LLaVA-Med (Li et al., NeurIPS 2023): captions and conversations on figures of PubMed Central."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.files import json_lines, json_list
from unimedvl.data.record import Message, Record
from unimedvl.data.source import (
    Item,
    Sample,
    Source,
    answer,
    conversation,
    file_bytes,
    need,
    pictures,
    question,
    required,
    samples,
    value,
    words,
)

_LICENCE = "CC-BY-NC-4.0"
_MODALITY = {"chest_xray": "cxr", "mri": "mri", "histology": "his", "ct_scan": "ct"}
# What each file's ids begin with, since one figure may be in several; the task of its records.
_FILES = {
    "alignment/llava_med_alignment_500k.json": ("alignment", "caption"),
    "instruct/llava_med_instruct_10k.json": ("10k", "vqa"),
    "instruct/llava_med_instruct_60k.json": ("60k", "vqa"),
    "instruct/llava_med_instruct_60k_inline_mention.json": ("60k-inline", "vqa"),
}
_EVAL = "eval/llava_med_eval_qa50_qa.jsonl"


def read(root: Path) -> Iterator[Item]:
    """The records of all files that are there, below `data` or the folder itself."""
    data = root / "data" if (root / "data").is_dir() else root
    need(data, *_FILES, _EVAL)
    for name, (prefix, task) in _FILES.items():
        if (data / name).exists():
            _no_pointer(data / name)
            yield from samples(json_list(data / name), partial(_record, prefix=prefix, task=task, root=root))
    if (data / _EVAL).exists():
        _no_pointer(data / _EVAL)
        yield from samples(json_lines(data / _EVAL), partial(_asked, root=root))


def _no_pointer(file: Path) -> None:
    """The authors' repository has these files in Git LFS, and a plain clone has only what stands for them."""
    with file.open("rb") as opened:
        if opened.read(40).startswith(b"version https://git-lfs"):
            raise DataError(f"{file}: a Git LFS pointer, not the data; run the authors' download_data.sh")


def _record(row: dict, prefix: str, task: str, root: Path) -> Sample:
    # The file of the alignment stage has the key without its second i.
    turns = conversation(value(row, "conversations", "conversatons"), 1)
    return _sample(row, f"{prefix}-{required(row, 'id')}", turns, task, root)


def _asked(row: dict, root: Path) -> Sample:
    """One of the 50 questions of the evaluation."""
    turns = (question(required(row, "text")), answer(required(row, "gpt4_answer")))
    told = {"question_type": words(row, "type")} if "type" in row else {}
    return _sample(row, f"eval-{required(row, 'question_id')}", turns, "vqa", root, "test", told)


def _sample(row: dict, name: str, turns: tuple[Message, ...], task: str, root: Path,
            split: str | None = None, told: dict[str, str] | None = None) -> Sample:  # fmt: skip
    image = required(row, "image")
    data = "data/" if (root / "data").is_dir() else ""
    domain = _domain(row)
    record = Record(
        main_task_type="understanding", sub_task_type=task, modality=_MODALITY.get(domain, "mixed"),
        dataset="llava-med", input_img=pictures([f"{data}images/{image}"]), message=turns, id=name,
        licence=_LICENCE, split=split, attributes=({"domain": domain} if domain else {}) | (told or {}),
    )  # fmt: skip
    return Sample(record, (file_bytes(root / data / "images" / Path(image).name),))


def _domain(row: dict) -> str:
    """The one domain that the row says yes to; empty where it is none or several.

    Raises:
        DataError: the row's domain is no object.
    """
    found = row.get("domain") or {}
    if not isinstance(found, dict):
        raise DataError(f"domain: expected an object, found {type(found).__name__}")
    named = [name for name, yes in found.items() if yes is True]
    return named[0] if len(named) == 1 else ""


SOURCE = Source(
    name="llava-med",
    title="LLaVA-Med",
    home="https://github.com/microsoft/LLaVA-Med",
    licence=_LICENCE,
    access="open",
    modalities=("cxr", "mri", "his", "ct", "mixed"),
    expected={"train": None, "test": 50},
    read=read,
    notes="The images must be fetched with the authors' script, to data/images/. The 10k conversations are among the "
    "60k, and both 60k files are about the same figures: use one. llava_med_instruct_fig_captions.json is not read.",
    tasks=("caption", "vqa"),
)
