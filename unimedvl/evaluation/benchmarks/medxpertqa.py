"""MedXpertQA MM (Zuo et al., ICML 2025): questions of specialists' examinations, with one to six images."""

from __future__ import annotations

from functools import partial

from unimedvl.data.sources.medxpertqa import SOURCE
from unimedvl.evaluation.benchmark import Benchmark
from unimedvl.evaluation.benchmarks.accuracy import score
from unimedvl.evaluation.benchmarks.questions import Form, choice_protocol, read_form

FORM = Form(
    source="medxpertqa",
    split="test",
    tables=("MedXpertQA_MM_test.tsv",),
    groups={
        "category": ("medical_task", "category"),
        "question type": ("question_type",),
        "body system": ("body_system",),
    },
    names=r"test-MM-",
    faults=r"MM/test\.jsonl|_mm_input\.jsonl",
)
MEDXPERTQA = Benchmark(
    name="medxpertqa-mm",
    title="MedXpertQA MM",
    area="understanding",
    protocol=choice_protocol(
        split="MM test, 2,000 questions on 2,852 images, five options each",
        prompt_note="; the options that the published question ends with are left out, as they follow",
        source="split of the authors, who let a model reason first; prompt and rules of VLMEvalKit's "
        "MedXpertQA_MM_test, with more forms read",
    ),
    read=partial(read_form, FORM),
    score=score,
    home=SOURCE.home,
    licence=SOURCE.licence,
    expected=2000,
    notes="Chance is 20 %. In VLMEvalKit's table a question may still end with its options, and is asked as it stands.",
)
