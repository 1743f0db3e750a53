"""By what the findings of the volumetric chest are graded, for the film and the slice of it alike."""

from __future__ import annotations

from dataclasses import replace

from unimedvl.phantoms import chest
from unimedvl.phantoms.chest_findings import SIZES, brim
from unimedvl.phantoms.study import Case, Finding, Grading


def _levelled(case: Case, finding: Finding) -> Finding:
    """Fluid or air that fills the pleural space as far as its millilitres reach."""
    ratio = next((f.size for f in case.findings if f.name == "cardiomegaly"), case.anatomy["ratio"])
    outlines = chest.outlines(case.anatomy, ratio)
    return replace(finding, shape=brim(case.anatomy, finding.side, finding.name, finding.size, outlines))


# The rows of lymph nodes: x, y, z, short radius, long over short axis.
_MORE = {
    "pleural effusion": {"finish": _levelled},
    "pneumothorax": {"finish": _levelled},
    "lymphadenopathy": {"row": 5, "lengths": (3,)},
}
CHEST = {name: Grading(sizes, **_MORE.get(name, {})) for name, sizes in SIZES.items()}
