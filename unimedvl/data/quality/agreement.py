"""How far raters agree: Krippendorff's alpha (Content Analysis, 4th ed., 2019, ch. 12) with the interval metric.

Written out here, since the package that has it is under the GPL.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from unimedvl.data.quality.audit import DIMENSIONS, Rating

# The name under which the alpha of whole ratings stands, beside those of the dimensions.
OVERALL = "overall"


def agreement(ratings: Sequence[Rating]) -> dict[str, float | None]:
    """Alpha of each dimension, and of the ratings' scores (to two digits) as `overall`; None where undefined.

    1 is agreement, 0 what chance would give, less is systematic disagreement.
    """
    found = {d.name: alpha(_units((r, r.scores.get(d.name)) for r in ratings)) for d in DIMENSIONS}
    return found | {OVERALL: alpha(_units((r, round(r.score, 2)) for r in ratings))}


def alpha(units: Iterable[Mapping[str, float]]) -> float | None:
    """Krippendorff's alpha with the interval metric, ``1 - observed / expected`` disagreement.

    With SS the sum of squares about the mean, over n values in units of m_u >= 2 values each:
    ``1 - (n - 1) / n * sum_u(m_u / (m_u - 1) * SS_u) / SS``.

    units: for each thing that was rated, the value by rater. Those with fewer than two raters tell nothing.
    None where alpha is undefined: nothing has two raters, or all values are the same.
    """
    rated = [np.array(list(unit.values()), dtype=np.float64) for unit in units if len(unit) > 1]
    if not rated or np.ptp(values := np.concatenate(rated)) == 0:
        return None
    observed = sum(len(unit) / (len(unit) - 1) * _squares(unit) for unit in rated)
    return float(1 - (len(values) - 1) / len(values) * observed / _squares(values))


def _squares(values: np.ndarray) -> float:
    """Sum of squares about the mean."""
    return float(np.square(values - values.mean()).sum())


def _units(scored: Iterable[tuple[Rating, float | None]]) -> list[dict[str, float]]:
    units: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for rating, score in scored:
        if score is not None:
            units[rating.key][rating.rater] = score
    return list(units.values())
