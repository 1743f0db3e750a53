"""ICG-CXR (Ma et al., 2025; ProgEmu): a chest X-ray, how it progresses, the follow-up, and what has changed in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.files import Rows, read_json
from unimedvl.data.record import Record
from unimedvl.data.reports import labels, split_named
from unimedvl.data.source import (
    Fault,
    Item,
    Sample,
    Source,
    answer,
    file_bytes,
    need,
    pictures,
    question,
    required,
    samples,
    value,
    words,
)

_BRANCHES = {
    "chexpertplus": "Stanford University Dataset Research Use Agreement",
    "mimic_cxr": "PhysioNet Credentialed Health Data License 1.5.0",
}
_SPLITS = ("train", "val", "test")
# The MIMIC branch may lack those that describe the patient.
_ABOUT = ("view", "time-interval", "age", "sex", "race", "ethnicity", "reference-study-id", "followup-study-id")


def read(root: Path) -> Iterator[Item]:
    """Every pair below `icg-cxr-v1`, or below the folder itself.

    The split is that of the parent data set, which the pair's JSON names; list files beside the branches
    (`*train*.json`, `*val*.json`, `*test*.json`), where there are any, go before it.
    """
    folder = root / "icg-cxr-v1"
    folder = folder if folder.is_dir() else root
    need(folder, *_BRANCHES)
    listed: dict[str, str] = {}
    for split in _SPLITS:
        for file in sorted(folder.glob(f"*{split}*.json")):
            for key in _listed(file):
                if listed.setdefault(key, split) != split:
                    yield Fault(f"{file}: {key}", f"in the list of {listed[key]} too, which is what it counts as")
    for branch, licence in _BRANCHES.items():
        for file in sorted((folder / branch).rglob("*.json")):
            split = listed.pop(_key(file), "")
            yield from samples(_row(file), lambda row, f=file, s=split, c=licence: _record(row, f, root, s, c))
    yield from (Fault(f"{folder}: {key}", f"no such pair, though a list has it in {s}") for key, s in listed.items())


def _key(file: Path) -> str:
    """Patient and pair, by which a pair is known in both branches: the stem alone repeats over patients."""
    return f"{file.parent.parent.name}/{file.stem}"


def _listed(file: Path) -> list[str]:
    """The pairs of a list by their keys.

    Raises:
        DataError: it is neither a list of paths nor an object with `path_list`.
    """
    content = read_json(file)
    # The other form is {"prefix": folder, "path_list": [...]}; the folder is its author's, and says nothing here.
    paths = content.get("path_list") if isinstance(content, dict) else content
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise DataError(f"{file}: expected paths, as a list or under path_list")
    return [_key(Path(path)) for path in paths]


def _row(file: Path) -> Rows:
    try:
        yield str(file), read_json(file)
    except DataError as error:
        yield str(file), error


def _record(row: dict, file: Path, root: Path, split: str, licence: str) -> Sample:
    images = [file.with_name(f"{file.stem}-{name}-reg.png") for name in ("ref", "flu")]
    before, after = ([path.relative_to(root).as_posix()] for path in images)
    told = {name: words(row, name) for name in _ABOUT if name in row} | {"confidence": _confidence(row)}
    for time in ("reference", "followup"):
        told |= labels(_mapping(row, f"{time}-diseases"), f"{time}_")
    record = Record(
        main_task_type="interleaved",
        sub_task_type="counterfactual",
        modality="cxr",
        dataset="icg-cxr",
        input_img=pictures(before),
        output_img=pictures(after),
        message=(question(required(row, "progression-description")), answer(required(row, "changes-of-findings"))),
        id=_key(file),
        licence=licence,
        patient=words(row, "subject-id") or file.parent.parent.name,
        study=words(row, "followup-study-id"),
        split=split_named(split or required(row, "split")),
        attributes={key.replace("-", "_"): text for key, text in told.items() if text},
    )
    return Sample(record, tuple(map(file_bytes, images)))


def _mapping(row: dict, name: str) -> dict:
    """An object that may be missing.

    Raises:
        DataError: it is something else.
    """
    found = value(row, name) if name in row else None
    if not isinstance(found, dict | None):
        raise DataError(f"{name}: expected an object, found {type(found).__name__}")
    return found or {}


def _confidence(row: dict) -> str:
    """How sure the annotator was of the changes; empty where it isn't said."""
    comment = _mapping(row, "comment")
    return words(comment, "confidence") if "confidence" in comment else ""


SOURCE = Source(
    name="icg-cxr",
    title="ICG-CXR",
    home="https://github.com/Masaaki-75/progemu",
    licence="as CheXpert Plus or MIMIC-CXR, by the branch",
    access="credentialed",
    modalities=("cxr",),
    expected={"train": None, "validation": None, "test": None},
    read=read,
    notes="11,439 pairs of 7,388 patients. The images of the CheXpert Plus branch must be made with the authors' "
    "register_chexpertplus.py. Both branches have patients of their parents.",
    tasks=("counterfactual",),
)
