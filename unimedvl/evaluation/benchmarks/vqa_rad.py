"""VQA-RAD (Lau et al., Scientific Data 2018): the 451 questions of its test part."""

from __future__ import annotations

from functools import partial

from unimedvl.data.sources.vqa_rad import SOURCE
from unimedvl.evaluation.benchmark import Benchmark
from unimedvl.evaluation.benchmarks.accuracy import score
from unimedvl.evaluation.benchmarks.questions import ANSWER_TYPE, Form, read_form, words_protocol

# As some records spell them.
_MISSPELT = {"ATRIB": "ATTRIB", "PRSE": "PRES"}


def _tidy(groups: dict[str, str], question: str) -> dict[str, str]:
    """One spelling of each kind of question, kinds of one question in order. Images that are neither of the chest nor
    of the abdomen are CT or MRI of a head; the Parquet form tells nothing of them.
    """
    kinds = {kind.strip().upper() for kind in groups["category"].split(",")} - {""}
    if kinds and not groups["modality"]:
        groups["modality"] = "head ct or mri"
    return groups | {"category": ", ".join(sorted(_MISSPELT.get(kind, kind) for kind in kinds))}


FORM = Form(
    source="vqa-rad",
    split="test",
    # VLMEvalKit has no such table: `write_table` of tsv.py writes it.
    tables=("VQA-RAD.tsv",),
    groups={ANSWER_TYPE: ("answer_type",), "category": ("question_type", "category"), "modality": ("modality",)},
    # A list of both parts: a broken entry of it may be of either.
    faults=r"Public\.json|test-[^/]*\.parquet",
    tidy=_tidy,
)
VQA_RAD = Benchmark(
    name="vqa-rad",
    title=SOURCE.title,
    area="understanding",
    protocol=words_protocol(
        split="test (phrase types test_freeform and test_para), 451 questions on 203 images",
        source="split of the authors; prompt of VLMEvalKit's short answers; token recall of open answers as LLaVA-Med",
    ),
    read=partial(read_form, FORM),
    score=score,
    home=SOURCE.home,
    licence=SOURCE.licence,
    expected=451,
    notes="202 of the 203 test images are also in train: a model trained on it has seen them. The Parquet form doesn't "
    "tell modality and kind of question, and calls closed what is answered by yes or no.",
)
