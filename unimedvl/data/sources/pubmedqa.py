"""PubMedQA (Jin et al., EMNLP 2019): questions that titles of PubMed ask, answered out of the abstract."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.files import Rows, parquet, read_json
from unimedvl.data.record import Record
from unimedvl.data.source import (
    Fault,
    Item,
    Sample,
    Source,
    answer,
    need,
    question,
    required,
    samples,
    value,
    words,
)

_LICENCE = "MIT"
_TRUTH = "test_ground_truth.json"
# Part: its file in the repository, and its folder in the Parquet form of Hugging Face.
_PARTS = {
    "labelled": ("ori_pqal.json", "pqa_labeled"),
    "unlabelled": ("ori_pqau.json", "pqa_unlabeled"),
    "artificial": ("ori_pqaa.json", "pqa_artificial"),
}
_DECISIONS = ("yes", "no", "maybe")


def read(root: Path) -> Iterator[Item]:
    """Each part that is there, in the form of the repository or of Hugging Face.

    Which of the labelled questions are for testing is said by `test_ground_truth.json`. It must be there with the
    repository's form; without it the labelled questions of the other form have no split.
    """
    if (root / "data").is_dir() and any((root / "data").glob("*.json")):
        root = root / "data"
    there = [part for part, names in _PARTS.items() if any((root / name).exists() for name in names)]
    if not there:
        need(root, *(name for names in _PARTS.values() for name in names))
    truth = _truth(root, needed=(root / _PARTS["labelled"][0]).exists())
    for part in there:
        file, folder = (root / name for name in _PARTS[part])
        rows = _entries(file) if file.exists() else _rows(folder)
        # Ids that the test has and the questions don't are left in it.
        left = dict(truth or {}) if part == "labelled" else {}
        yield from samples(rows, partial(_record, part=part, truth=truth, left=left))
        for key in left:
            yield Fault(f"{root / _TRUTH}: {key}", "no labelled question of this id")


def _truth(root: Path, needed: bool) -> dict[str, str] | None:
    """The decisions of the test by id; None where there is no such file and none is needed."""
    if not needed and not (root / _TRUTH).exists():
        return None
    found = read_json(need(root, _TRUTH))
    if not isinstance(found, dict):
        raise DataError(f"{root / _TRUTH}: expected an object of decisions by id, found {type(found).__name__}")
    return {str(key): str(decision) for key, decision in found.items()}


def _entries(file: Path) -> Rows:
    """The entries of an object by id, in the columns of the Parquet form."""
    found = read_json(file)
    if not isinstance(found, dict):
        raise DataError(f"{file}: expected an object of questions by id, found {type(found).__name__}")
    for key, row in found.items():
        where = f"{file}: {key}"
        if not isinstance(row, dict):
            yield where, DataError(f"expected an object, found {type(row).__name__}")
            continue
        context = {"contexts": row.get("CONTEXTS"), "labels": row.get("LABELS")}
        named = {name: row[name.upper()] for name in ("question", "long_answer") if name.upper() in row}
        about = {"year": row.get("YEAR"), "final_decision": row.get("final_decision")}
        yield where, {"pubid": key, "context": context} | named | about


def _rows(folder: Path) -> Rows:
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise DataError(f"{folder}: expected Parquet files in it, found none")
    for file in files:
        yield from parquet(file)


def _record(row: dict, part: str, truth: dict[str, str] | None, left: dict[str, str]) -> Sample:
    key = required(row, "pubid")
    wanted = left.pop(key, None)
    decision = words(row, "final_decision") if row.get("final_decision") is not None else ""
    if decision not in _DECISIONS and (decision or part != "unlabelled"):
        raise DataError(f"final_decision: expected {', '.join(_DECISIONS)}, found {decision!r}")
    if wanted not in (None, decision):
        raise DataError(f"final_decision: expected {wanted!r} as in {_TRUTH}, found {decision!r}")
    asked = f"{_context(row)}\n\n{required(row, 'question')}"
    said = " ".join(filter(None, (decision and f"{decision.capitalize()}.", required(row, "long_answer"))))
    told = {"part": part, "decision": decision, "year": words(row, "year") if "year" in row else ""}
    record = Record(
        main_task_type="understanding",
        sub_task_type="text_qa",
        modality="text",
        dataset="pubmedqa",
        message=(question(asked, images=0), answer(said)),
        id=f"{part}-{key}",
        licence=_LICENCE,
        study=key,
        split=_split(part, key, truth),
        attributes={name: text for name, text in told.items() if text},
    )
    return Sample(record)


def _split(part: str, key: str, truth: dict[str, str] | None) -> str | None:
    if part != "labelled":
        return "train"
    if truth is None:
        return None
    return "test" if key in truth else "train"


def _context(row: dict) -> str:
    """The abstract: its sections with their headings, a line for each.

    Raises:
        DataError: it has none, or not as many headings.
    """
    context = value(row, "context")
    texts, headings = (context.get(name) if isinstance(context, dict) else None for name in ("contexts", "labels"))
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise DataError("contexts: expected a list of texts")
    if not isinstance(headings, list) or len(headings) != len(texts):
        raise DataError(f"labels: expected {len(texts)}, as many as contexts")
    return "\n".join(f"{heading}: {text}" for heading, text in zip(headings, texts, strict=True))


SOURCE = Source(
    name="pubmedqa",
    title="PubMedQA",
    home="https://github.com/pubmedqa/pubmedqa",
    licence=_LICENCE,
    access="open",
    modalities=("text",),
    expected={"train": None, "test": 500},
    read=read,
    notes="500 labelled questions for training, and as many for testing; 61.2 thousand without a decision and 211.3 "
    "thousand artificial ones, where they are there, are for training. The abstracts are of PubMed. With its abstract "
    "a question is longer than the published quality rule for texts lets pass.",
    tasks=("text_qa",),
)
