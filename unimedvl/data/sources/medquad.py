"""MedQuAD (Ben Abacha and Demner-Fushman, BMC Bioinformatics 2019): questions and answers of the NIH's web pages."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.files import Rows
from unimedvl.data.record import Record
from unimedvl.data.source import Item, Sample, Source, answer, question, required, samples, words

_LICENCE = "CC-BY-4.0"
# Folders are numbered: 1_CancerGov_QA, 8_NHLBI_QA_XML.
_FOLDER = re.compile(r"(\d+)_\w+")


def read(root: Path) -> Iterator[Item]:
    """Every pair of every file of the numbered folders; a pair without its answer is a fault."""
    folders = {f: int(m.group(1)) for f in root.glob("*") if f.is_dir() and (m := _FOLDER.fullmatch(f.name))}
    if not folders:
        raise DataError(f"{root}: expected folders such as 1_CancerGov_QA in it, found none")
    for folder in sorted(folders, key=folders.__getitem__):
        for file in sorted(folder.rglob("*.xml")):
            yield from samples(_pairs(file), _record)


def _pairs(file: Path) -> Rows:
    """The pairs of a document with what it says of itself."""
    try:
        tree = ET.parse(file).getroot()
    except (ET.ParseError, OSError) as error:
        yield str(file), DataError(f"not XML: {error}")
        return
    # Nearly all are <Document id source url> with <QAPair>; a few are <doc corpus docid url> with <pair>, and one is
    # <DiseaseFile fid>.
    pairs = [e for e in tree.iter() if e.tag in ("QAPair", "pair")]
    if not pairs:
        yield str(file), DataError(f"expected <QAPair> or <pair> in <{tree.tag}>, found none")
    about = {
        "folder": file.parent.name,
        "stem": file.stem,
        "source": tree.get("source") or tree.get("corpus") or "",
        "url": tree.get("url", ""),
        "focus": _text(tree, "Focus", "focus"),
        "semantic_group": _text(tree, "SemanticGroup"),
    }
    for number, pair in enumerate(pairs, 1):
        asked = next((e for e in pair if e.tag in ("Question", "question")), None)
        told = {"question": _text(pair, "Question", "question"), "answer": _text(pair, "Answer", "answer")}
        kind = {} if asked is None else {"question_type": asked.get("qtype", ""), "question_id": asked.get("qid", "")}
        yield f"{file}: pair {number}", about | told | kind | {"number": number}


def _text(element: ET.Element, *names: str) -> str:
    """The text of the first element of these names, on one line; empty where there is none."""
    found = next((e for e in element.iter() if e.tag in names), None)
    return "" if found is None else " ".join("".join(found.itertext()).split())


def _record(row: dict) -> Sample:
    told = ("source", "url", "focus", "semantic_group", "question_type", "question_id")
    return Sample(
        Record(
            main_task_type="understanding",
            sub_task_type="text_qa",
            modality="text",
            dataset="medquad",
            message=(question(required(row, "question"), images=0), answer(required(row, "answer"))),
            # The same numbers are given out in each folder.
            id=f"{row['folder']}/{row['stem']}-{row['number']}",
            licence=_LICENCE,
            attributes={name: words(row, name) for name in told if row.get(name)},
        )
    )


SOURCE = Source(
    name="medquad",
    title="MedQuAD",
    home="https://github.com/abachaa/MedQuAD",
    licence=_LICENCE,
    access="open",
    modalities=("text",),
    expected={"train": 16407},
    read=read,
    notes="No official split. Of 47,441 pairs 31,034 are faults: the answers of folders 10 to 12, and a few more, were "
    "taken out for their copyright. Four files of another form have 16 pairs beside these.",
    tasks=("text_qa",),
)
