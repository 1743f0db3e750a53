"""PathVQA (He et al., 2020): the test part."""

from __future__ import annotations

from functools import partial

from unimedvl.data.sources.pathvqa import SOURCE
from unimedvl.evaluation.benchmark import Benchmark
from unimedvl.evaluation.benchmarks.accuracy import score
from unimedvl.evaluation.benchmarks.questions import ANSWER_TYPE, Form, read_form, words_protocol

_ASKING = ("what", "where", "when", "whose", "who", "why", "which", "how")


def _tidy(groups: dict[str, str], question: str) -> dict[str, str]:
    """The kind of a question by the word that it begins with, since nothing else tells it."""
    first = question.lower().split()[:1]
    return groups | {"category": first[0] if first and first[0] in _ASKING else "whether or other"}


FORM = Form(
    source="pathvqa",
    split="test",
    tables=("PathVQA_TEST.tsv",),
    groups={ANSWER_TYPE: ("answer_type",)},
    faults=r"test_qa\.pkl|test-[^/]*\.parquet",
    tidy=_tidy,
)
PATHVQA = Benchmark(
    name="pathvqa",
    title=SOURCE.title,
    area="understanding",
    protocol=words_protocol(
        split="test, 6,719 questions in the Parquet form (6,761 in the authors' files, where some are repeated)",
        source="VLMEvalKit's PathVQA_TEST, whose judge decides all; here rules do, and a judge where one is given; "
        "token recall of open answers as LLaVA-Med",
    ),
    read=partial(read_form, FORM),
    score=score,
    home=SOURCE.home,
    licence=SOURCE.licence,
    expected=6719,
    notes="A question is closed where its answer is yes or no. An older release is split otherwise: figures on it "
    "can't be compared. Most images are histopathology, and none says which.",
)
