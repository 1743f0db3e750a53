"""OmniMedVQA (Hu et al., CVPR 2024): its open-access part."""

from __future__ import annotations

from functools import partial

from unimedvl.data.sources.omnimedvqa import SOURCE
from unimedvl.evaluation.benchmark import Benchmark
from unimedvl.evaluation.benchmarks.accuracy import score
from unimedvl.evaluation.benchmarks.questions import Form, choice_protocol, read_form

FORM = Form(
    source="omnimedvqa",
    split="test",
    tables=("OmniMedVQA.tsv", "omnimedbench_part_*.tsv"),
    groups={
        "modality": ("modality", "modality_type"),
        "category": ("question_type", "category"),
    },
    only={"access": "open"},
    faults=r"Open-access",
)
OMNIMEDVQA = Benchmark(
    name="omnimedvqa",
    title=SOURCE.title,
    area="understanding",
    protocol=choice_protocol(
        split="all of the open-access part, 88,996 questions; there is no other split. The restricted part, whose "
        "images come from their owners, is left out",
        source="prompt and rules of VLMEvalKit, with more forms read; VLMEvalKit itself runs 14 of its 30 parts",
    ),
    read=partial(read_form, FORM),
    score=score,
    home=SOURCE.home,
    licence=SOURCE.licence,
    expected=88996,
    notes="Its images are of public classification data sets, which trainings may have seen. The authors of the "
    "published figure don't say which part it is of.",
)
