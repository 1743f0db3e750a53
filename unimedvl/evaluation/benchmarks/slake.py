"""SLAKE (Liu et al., ISBI 2021): the test part, whose English questions are the headline."""

from __future__ import annotations

from functools import partial

from unimedvl.data.sources.slake import SOURCE
from unimedvl.evaluation.benchmark import Benchmark
from unimedvl.evaluation.benchmarks.accuracy import score
from unimedvl.evaluation.benchmarks.questions import ANSWER_TYPE, Form, read_form, words_protocol

FORM = Form(
    source="slake",
    split="test",
    # VLMEvalKit has no such table: `write_table` of tsv.py writes it.
    tables=("SLAKE.tsv",),
    groups={
        ANSWER_TYPE: ("answer_type",),
        "category": ("content_type", "category"),
        "modality": ("modality",),
        "knowledge": ("base_type", "knowledge"),
        "language": ("language",),
    },
    faults=r"test\.json",
)
SLAKE = Benchmark(
    name="slake",
    title=SOURCE.title,
    area="understanding",
    protocol=words_protocol(
        split="test, 2,094 questions on 96 images: 1,061 in English, which the headline is of, and 1,033 in Chinese",
        prompt_note="; in Chinese where the question is",
        source="split of the authors, English alone as is usual; prompt of VLMEvalKit's short answers; token recall of "
        "open answers as LLaVA-Med",
    ),
    read=partial(read_form, FORM),
    score=partial(score, main=("language", "en")),
    home=SOURCE.home,
    licence=SOURCE.licence,
    expected=2094,
    notes="72 of the 96 English test images are in the Chinese train part: a model trained on both has seen them. Many "
    "closed questions are answered by other words than yes and no, such as a side or a sequence.",
)
