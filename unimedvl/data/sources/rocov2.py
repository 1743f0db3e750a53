"""ROCOv2 (Rückert et al., Scientific Data 2024): radiology figures of PubMed Central with captions and concepts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unimedvl.data.archives import embedded, image_store
from unimedvl.data.error import DataError
from unimedvl.data.files import parquet, table
from unimedvl.data.record import Record
from unimedvl.data.reports import split_named
from unimedvl.data.source import (
        Item,
        Sample,
        Source,
        described,
        need,
        pictures,
        required,
        samples,
        value,
        words,
)

# Of each image CC BY or CC BY-NC; the card of the whole says this.
_LICENCE = "CC-BY-NC-SA-4.0"
_SPLITS = ("train", "valid", "test")
# UMLS concepts that name a modality. Plain radiography (C1306645) may be of any part of the body.
_MODALITY = {"C0040405": "ct", "C0024485": "mri", "C0041618": "us"}
_RADIOGRAPH, _CHEST = "C1306645", "C0817096"


def read(root: Path) -> Iterator[Item]:
    """The tables of Zenodo, or the Parquet form of Hugging Face, whichever is there."""
    if (root / "data").is_dir():
        files = sorted((root / "data").glob("*-*.parquet"))
        if not files:
            raise DataError(f"{root / 'data'}: expected train-*.parquet and others of its kind, found none")
        for file in files:
            split = split_named(file.name.partition("-")[0])
            yield from samples(parquet(file), lambda row, s=split: _embedded(row, s))
        return
    need(root, *(f"{split}_captions.csv" for split in _SPLITS))
    names: dict[str, str] = {}
    articles: dict[str, dict[str, str]] = {}
    if (root / "cui_mapping.csv").exists():
        yield from samples(table(root / "cui_mapping.csv"), lambda row: _put(names, row, "CUI", "Canonical name"))
    if (root / "license_information.csv").exists():
        yield from samples(table(root / "license_information.csv"), lambda row: _article(row, articles))
    for split in _SPLITS:
        if (root / f"{split}_captions.csv").exists():
            yield from _split(root, split, names, articles)


def _split(root: Path, split: str, names: dict[str, str], articles: dict[str, dict[str, str]]) -> Iterator[Item]:
    store = image_store(root, (split,), f"{split}_images.zip")
    concepts: dict[str, dict[str, str]] = {}
    for kind in ("concepts", "concepts_manual"):
        file = root / f"{split}_{kind}.csv"
        found = concepts.setdefault(kind, {})
        if file.exists():
            yield from samples(table(file), lambda row, found=found: _put(found, row, "ID", "CUIs"))

    def make(row: dict) -> Sample:
        name = required(row, "ID")
        cuis = ";".join(c[name] for c in concepts.values() if name in c).split(";")
        article = articles.get(name, {})
        path = f"{split}/{name}.jpg"
        return Sample(_record(row, name, path, split_named(split), cuis, names, article), (store(path),))

    yield from samples(table(root / f"{split}_captions.csv"), make)


def _put(found: dict[str, str], row: dict, key: str, name: str) -> None:
    found[required(row, key)] = words(row, name)


def _article(row: dict, articles: dict[str, dict[str, str]]) -> None:
    articles[required(row, "ID")] = {"article": words(row, "PMCID"), "attribution": words(row, "Attribution")}


def _record(row: dict, name: str, path: str, split: str, cuis: list[str], names: dict, article: dict) -> Record:
    """names: of the concepts. A concept counts once, though both tables have it."""
    cuis = list(dict.fromkeys(c.strip() for c in cuis if c.strip()))
    told = {
        "attribution": article.get("attribution", ""),
        "cuis": "; ".join(cuis),
        "concepts": "; ".join(names[c] for c in cuis if c in names),
    }
    return Record(
        main_task_type="understanding", sub_task_type="caption", modality=_modality(cuis), dataset="rocov2",
        input_img=pictures([path]), message=described(required(row, "Caption", "caption")), id=name,
        licence=_LICENCE, study=article.get("article", ""), split=split,
        attributes={key: text for key, text in told.items() if text},
    )  # fmt: skip


def _modality(cuis: list[str]) -> str:
    found = {_MODALITY[c] for c in cuis if c in _MODALITY}
    if _RADIOGRAPH in cuis:
        found.add("cxr" if _CHEST in cuis else "mixed")
    return found.pop() if len(found) == 1 else "mixed"


def _embedded(row: dict, split: str) -> Sample:
    name, cuis = required(row, "image_id"), value(row, "cui") or []
    if not isinstance(cuis, list):
        raise DataError(f"cui: expected a list, found {type(cuis).__name__}")
    return Sample(_record(row, name, f"{name}.jpg", split, list(map(str, cuis)), {}, {}), (embedded(row),))


SOURCE = Source(
    name="rocov2",
    title="ROCOv2",
    home="https://doi.org/10.5281/zenodo.8333645",
    licence=_LICENCE,
    access="open",
    modalities=("ct", "mri", "us", "cxr", "mixed"),
    expected={"train": 59958, "validation": 9904, "test": 9927},
    read=read,
    notes="The first version on Zenodo has 60,163, 9,945 and 9,972 records. Each image is CC BY or CC BY-NC. The "
    "study of a record is its article. PMC-OA, PMC-VQA and the others of PubMed Central share figures with it.",
    tasks=("caption",),
)
