"""PMC-VQA (Zhang et al., 2023): the checked test questions of the first release, and the test part of the second."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from unimedvl.data.sources.pmc_vqa import SOURCE
from unimedvl.evaluation.benchmark import Benchmark
from unimedvl.evaluation.benchmarks.accuracy import score
from unimedvl.evaluation.benchmarks.questions import Form, choice_protocol, read_form

FORM = Form(
    source="pmc-vqa",
    split="test",
    tables=("PMC-VQA.tsv",),
    groups={},
    names=r"test_clean-\d+$",
    faults=r"test_clean\.csv",
)
SECOND_FORM = replace(FORM, tables=("PMC-VQA-2.tsv",), names=r"test_2-\d+$", faults=r"test_2\.csv")
PMC_VQA = Benchmark(
    name="pmc-vqa",
    title=SOURCE.title,
    area="understanding",
    protocol=choice_protocol(
        split="test_clean of the first release, 2,000 questions that people have checked",
        source="split of the authors; prompt and rules of VLMEvalKit, which lacks it, with more forms read",
    ),
    read=partial(read_form, FORM),
    score=score,
    home=SOURCE.home,
    licence=SOURCE.licence,
    expected=2000,
    notes="Questions are a language model's, of captions alone: many can be answered without the image. Other sets of "
    "PubMed Central share its figures.",
)
PMC_VQA_2 = replace(
    PMC_VQA,
    name="pmc-vqa-2",
    title=f"{SOURCE.title}, second release",
    protocol=replace(
        PMC_VQA.protocol, split="test of the second release, 33,430 questions, unchecked, on single figures"
    ),
    read=partial(read_form, SECOND_FORM),
    expected=33430,
)
