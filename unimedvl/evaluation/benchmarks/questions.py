"""What the benchmarks of questions on images share: where their items come from and how they are worded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.record import IMAGE_MARK
from unimedvl.data.source import Fault, Sample
from unimedvl.data.sources import source
from unimedvl.data.sources.omnimedvqa import modality_named
from unimedvl.evaluation.answers import normalised
from unimedvl.evaluation.benchmark import Broken
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import LETTERS, Item, Load
from unimedvl.evaluation.protocol import Protocol
from unimedvl.evaluation.tsv import Row, lmu_data, read_tsv

# VLMEvalKit's words, to the blank, so that a model is asked the same here and there.
_CHOOSE = "Please select the correct answer from the options above. \n"
_SHORT = "\nPlease directly provide a short answer to the question. "
_SHORT_CHINESE = "\n请直接简短地回答问题。"

# The group that says whether a question is closed.
ANSWER_TYPE = "answer type"


def choice_protocol(split: str, source: str, prompt_note: str = "") -> Protocol:
    """The protocol of multiple choice. prompt_note: what else is done to the prompt."""
    return Protocol(
        split=split,
        prompt='images, then "Question: ...", "Options:", a line "A. ..." for each, and a request to select one'
        + prompt_note,
        extraction="a letter, by the rules of evaluation/answers.py; thinking is cut off; what can't be read is wrong",
        closed="the letter is the right one",
        source=source,
    )


def words_protocol(split: str, source: str, prompt_note: str = "") -> Protocol:
    """The protocol of questions that are answered by yes or no or in a few words. prompt_note: as above."""
    return Protocol(
        split=split,
        prompt=f"images, then the question, and a request for a short answer on a line of its own{prompt_note}",
        extraction="yes or no: the word that comes first, or the only one of the two in the answer; else its words: "
        "lower case, no punctuation, no articles, numbers as digits; thinking is cut off; what can't be read is wrong",
        closed="yes or no as it is right; a closed question with another answer as an open one",
        open="the words are those of the right answer; beside it the share of them that are said (token recall)",
        source=source,
    )


def _as_they_are(groups: dict[str, str], question: str) -> dict[str, str]:
    return groups


@dataclass(frozen=True)
class Form:
    """Where the items of a benchmark are in what is published of it.

    source: of the data engine. split: of the records. names: a pattern for ids of records that belong. only: further
    attributes of records that belong. faults: a pattern for places whose faults concern the benchmark. tables: patterns
    of the files of VLMEvalKit's form, the first that is there counts. absent: as of `read_tsv`. groups: what breakdowns
    are by, and in which attribute or column it stands. tidy: mends groups, which it is given with the question.
    """

    source: str
    split: str
    tables: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    names: str = ""
    only: Mapping[str, str] = field(default_factory=dict)
    faults: str = ""
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tidy: Callable[[dict[str, str], str], dict[str, str]] = _as_they_are


def read_form(form: Form, root: Path | None) -> Iterator[Item | Broken]:
    """Items in order, and what can't be used: from VLMEvalKit's table, where the folder has it, or the published form.

    root: the folder; None for that of VLMEvalKit's tables, `$LMUData`.

    Raises:
        EvaluationError: there is no folder, neither form is in it, or nothing of the benchmark's part.
    """
    folder = Path(root) if root else lmu_data()
    named = " or ".join(form.tables)
    if folder is None:
        raise EvaluationError(
            f"{form.source}: no data; give the folder of its published form, or set LMUData to one with {named}"
        )
    tables = tables_in(folder, form.tables)
    if not tables and root is None:
        raise EvaluationError(f"{folder}: no {named} in it; or give the folder of the published form of {form.source}")
    by_table = chain.from_iterable(_of_table(table, form, len(tables) > 1) for table in tables)
    empty = True
    for found in by_table if tables else _of_source(folder, form):
        empty = False
        yield found
    if empty:
        raise EvaluationError(f"{folder}: nothing of the {form.split} part of {form.source} in it")


def tables_in(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The files of the first pattern that any are there of, by the numbers in their names."""
    for pattern in patterns:
        # VLMEvalKit puts one called _local beside a large table, with its images in files.
        found = [file for file in folder.glob(pattern) if not file.stem.endswith("_local")]
        if found:
            return sorted(found, key=lambda file: [int(n) for n in re.findall(r"\d+", file.stem)])
    return []


def _of_source(folder: Path, form: Form) -> Iterator[Item | Broken]:
    try:
        for found in source(form.source).read(folder):
            if isinstance(found, Fault):
                if re.search(form.faults, found.where):
                    yield Broken(found.where, found.reason)
            elif _belongs(found, form):
                yield _of_sample(found, form)
    except DataError as error:
        raise EvaluationError(str(error)) from error


def _belongs(sample: Sample, form: Form) -> bool:
    record = sample.record
    return (
        record.split == form.split
        and re.match(form.names, record.id) is not None
        and all(record.attributes.get(key) == text for key, text in form.only.items())
    )


def _of_sample(sample: Sample, form: Form) -> Item:
    record, told = sample.record, dict(sample.record.attributes)
    if record.modality != "mixed":
        told["modality"] = record.modality
    asked, said, options = record.message[0].value.replace(IMAGE_MARK, "").strip(), record.message[1].value, ()
    if count := int(told.get("options", 0)):  # they are the last lines, one each
        lines = asked.split("\n")
        asked, said = "\n".join(lines[:-count]).strip(), told["answer"]
        options = tuple(line.partition(". ")[2] for line in lines[-count:])
    return make_item(record.id, asked, (said,), sample.images, _groups(told, asked, form), options)


def _of_table(file: Path, form: Form, several: bool) -> Iterator[Item | Broken]:
    """several: whether there are more tables, which may count from the same number."""
    for row in read_tsv(file, form.absent):
        if isinstance(row, Broken):
            yield row
            continue
        groups = _groups(row.cells, row.cell("question"), form)
        name = f"{file.stem}-{row.index}" if several else row.index
        try:
            answers = _answers(row)
            yield make_item(name, row.cell("question"), answers, row.images, groups, row.options, row.cell("hint"))
        except EvaluationError as error:
            yield Broken(row.where, str(error))


def _answers(row: Row) -> tuple[str, ...]:
    """What is right in a row, none where that isn't told. Raises EvaluationError where it is no option's letter."""
    letters = LETTERS[: len(row.options)]
    if row.options and row.answers and (len(row.answers) != 1 or row.answers[0] not in letters):
        raise EvaluationError(f"answer: expected one of {', '.join(letters)}, found {row.cell('answer')!r}")
    return row.answers


def _groups(told: Mapping[str, str], question: str, form: Form) -> dict[str, str]:
    found = {
        group: next((told[key].strip() for key in keys if told.get(key, "").strip()), "")
        for group, keys in form.groups.items()
    }
    if named := found.get("modality"):
        code = modality_named(named)
        found["modality"] = named.lower() if code == "mixed" else code
    return {group: text for group, text in form.tidy(found, question).items() if text}


def make_item(
    name: str, question: str, answers: tuple[str, ...], images: tuple[Load, ...], groups: Mapping[str, str],
    options: tuple[str, ...] = (), hint: str = "",
) -> Item:  # fmt: skip
    """An item, worded as VLMEvalKit does: a question of multiple choice where it has options, else one for few words.

    A question is closed that is so in its groups; where they don't say, one whose answer is yes or no.
    """
    if options:
        lines = [f"Hint: {hint}"] if hint else []
        lines += [f"Question: {question}", "Options:"]
        lines += [f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False)]
        text = "\n".join((*lines, _CHOOSE))
        return Item(name, "ask", "choice", images, text, question=question, options=options, answers=answers,
                    groups=groups)  # fmt: skip
    polar = len(answers) == 1 and normalised(answers[0]) in ("yes", "no")
    kind = groups.get(ANSWER_TYPE, "").lower() or ("closed" if polar else "open")
    groups = {ANSWER_TYPE: kind, **{key: text for key, text in groups.items() if key != ANSWER_TYPE}}
    text = question + (_SHORT_CHINESE if groups.get("language") == "zh" else _SHORT)
    if polar:
        answers = (normalised(answers[0]),)
    return Item(name, "ask", "closed" if polar else "open", images, text, question=question, answers=answers,
                groups=groups)  # fmt: skip
