"""GMAI-MMBench (Chen et al., NeurIPS 2024): its validation part, and its test part, whose answers are unpublished."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.sources.gmai_mmbench import SOURCE
from unimedvl.data.whole import written_whole
from unimedvl.evaluation.answers import read
from unimedvl.evaluation.benchmark import Benchmark, Pairs
from unimedvl.evaluation.benchmarks.accuracy import score
from unimedvl.evaluation.benchmarks.questions import Form, choice_protocol, read_form
from unimedvl.evaluation.error import EvaluationError

# The published form is VLMEvalKit's table, so that it is read as one: its images stay in the file until they are asked
# for. The fifth option of four is a word for none.
FORM = Form(
    source="gmai-mmbench",
    split="validation",
    tables=("GMAI_mm_bench_VAL.tsv", "GMAI-MMBench_VAL.tsv"),
    groups={
        "modality": ("modality",),
        "category": ("clinical VQA task",),
        "department": ("department",),
        "granularity": ("perceptual granularity",),
    },
    absent={"E": ("None", "nan")},
)
TEST_FORM = replace(FORM, split="test", tables=("GMAI_mm_bench_TEST_part_*.tsv",))
UNPUBLISHED = "the answers are not published: write the predictions and submit them"
GMAI_MMBENCH = Benchmark(
    name="gmai-mmbench",
    title=SOURCE.title,
    area="understanding",
    protocol=choice_protocol(
        split="validation, 4,550 questions",
        source="VLMEvalKit's GMAI-MMBench_VAL with its rules, and more forms read",
    ),
    read=partial(read_form, FORM),
    score=score,
    home=SOURCE.home,
    licence=SOURCE.licence,
    expected=4550,
    notes="Its images are of 284 public data sets, which trainings may have seen.",
)


def write_predictions(pairs: Pairs, file: Path) -> int:
    """Write the letters that were read as a table to be submitted, whole or not at all; returns how many are empty.

    The columns are `id`, `index` as in the published table, `question`, `prediction` (a letter; empty where none could
    be read) and `said`, what the model said.

    Raises:
        EvaluationError: the file can't be written.
    """
    empty = 0
    try:
        with written_whole(file) as part, part.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, delimiter="\t", lineterminator="\n")
            writer.writerow(("id", "index", "question", "prediction", "said"))
            for item, said in pairs:
                letter = "" if said.error else read(item, said.text) or ""
                empty += not letter
                # Of several tables the id begins with the table's name.
                writer.writerow((item.id, item.id.rpartition("-")[2], item.question, letter, said.text))
    except DataError as error:
        raise EvaluationError(str(error)) from error
    return empty


GMAI_MMBENCH_TEST = replace(
    GMAI_MMBENCH,
    name="gmai-mmbench-test",
    title=f"{SOURCE.title}, test",
    protocol=replace(
        GMAI_MMBENCH.protocol,
        split="test, 21,281 questions in 11 tables, whose answers are not published",
        closed=f"not scored: {UNPUBLISHED}",
        source="VLMEvalKit's GMAI-MMBench_TEST",
    ),
    read=partial(read_form, TEST_FORM),
    score=partial(score, unpublished=UNPUBLISHED),
    expected=21281,
    submit=write_predictions,
)
