"""The benchmarks that there are, by name. A new one is a file here and a line in the table."""

from __future__ import annotations

from unimedvl.evaluation.benchmark import Benchmark
from unimedvl.evaluation.benchmarks.gmai_mmbench import GMAI_MMBENCH, GMAI_MMBENCH_TEST
from unimedvl.evaluation.benchmarks.medxpertqa import MEDXPERTQA
from unimedvl.evaluation.benchmarks.omnimedvqa import OMNIMEDVQA
from unimedvl.evaluation.benchmarks.paired_sets import (
    COUNTERFACTUAL,
    MR_AND_CT,
    SEGMENTATION,
    STAINING,
    SUPER_RESOLUTION,
    TRANSLATION,
)
from unimedvl.evaluation.benchmarks.pathvqa import PATHVQA
from unimedvl.evaluation.benchmarks.phantoms_counterfactual import PHANTOM_COUNTERFACTUAL
from unimedvl.evaluation.benchmarks.phantoms_drawing import PHANTOM_DRAWING
from unimedvl.evaluation.benchmarks.phantoms_pairs import (
    PHANTOM_SEGMENTATION,
    PHANTOM_STAINING,
    PHANTOM_TRANSLATION,
    PHANTOM_UPSCALING,
)
from unimedvl.evaluation.benchmarks.phantoms_reading import (
    PHANTOM_CLOSED,
    PHANTOM_MODALITY,
    PHANTOM_OPEN,
    PHANTOM_REPORTS,
)
from unimedvl.evaluation.benchmarks.pmc_vqa import PMC_VQA, PMC_VQA_2
from unimedvl.evaluation.benchmarks.reports import MIMIC_REPORTS, OPENI_REPORTS
from unimedvl.evaluation.benchmarks.slake import SLAKE
from unimedvl.evaluation.benchmarks.text_to_image import TEXT_TO_IMAGE
from unimedvl.evaluation.benchmarks.vqa_rad import VQA_RAD
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.trust import trust_of

_QUESTIONS = (
    VQA_RAD, SLAKE, PATHVQA, OMNIMEDVQA, GMAI_MMBENCH, GMAI_MMBENCH_TEST, PMC_VQA, PMC_VQA_2, MEDXPERTQA,
)  # fmt: skip
_OTHERS = (
    TEXT_TO_IMAGE, STAINING, SUPER_RESOLUTION, TRANSLATION, MR_AND_CT, SEGMENTATION, COUNTERFACTUAL, OPENI_REPORTS,
    MIMIC_REPORTS,
    PHANTOM_MODALITY, PHANTOM_CLOSED, PHANTOM_OPEN, PHANTOM_REPORTS, PHANTOM_DRAWING, PHANTOM_UPSCALING,
    PHANTOM_TRANSLATION, PHANTOM_STAINING, PHANTOM_COUNTERFACTUAL, PHANTOM_SEGMENTATION,
)  # fmt: skip
_TRUST = tuple(trust_of(q) for q in (*_QUESTIONS, PHANTOM_CLOSED) if q.submit is None)
BENCHMARKS: dict[str, Benchmark] = {b.name: b for b in (*_QUESTIONS, *_OTHERS, *_TRUST)}


def benchmark(name: str) -> Benchmark:
    """The benchmark of a name. Raises EvaluationError that lists those there are."""
    if name not in BENCHMARKS:
        raise EvaluationError(f"no benchmark called {name!r}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
