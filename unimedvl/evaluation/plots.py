"""Plots of an evaluation as SVG files: no scripts, light and dark, and their numbers in words for those who can't see.

Own and published figures, points and lines differ by shape as well as by colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from unimedvl.evaluation.calibration import Bin
from unimedvl.evaluation.outcomes import MODALITY
from unimedvl.evaluation.published import Published
from unimedvl.evaluation.score import Score, Unit
from unimedvl.evaluation.tables import as_printed

_STYLE = """
svg { --paper: #fcfcfa; --ink: #1c2126; --soft: #59626a; --line: #d9dddb; --own: #2f6f9f; --other: #b3541e; }
@media (prefers-color-scheme: dark) { svg { --paper: #15181b; --ink: #e5e7e7; --soft: #a0a8ae; --line: #343a3f;
  --own: #6fb1e0; --other: #ec9a63; } }
text { fill: var(--ink); font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
.title { font-weight: 600; font-size: 13px; } .soft { fill: var(--soft); } .paper { fill: var(--paper); }
.own { fill: var(--own); } .other { fill: none; stroke: var(--other); stroke-width: 1.5; }
.grid { stroke: var(--line); } .even { stroke: var(--soft); stroke-dasharray: 4 4; fill: none; }
.whisker { stroke: var(--ink); stroke-width: 1.5; } .curve { stroke: var(--own); stroke-width: 2; fill: none; }
"""
_WIDTH = 560
_ROW = 24
_NAMES = 168  # room for names at the left
_LONGEST = 22
# A plot's square: left, top, side.
_LEFT, _TOP, _SIDE = 56, 40, 320
# Points that a curve is drawn with at most.
_POINTS = 200


def bars(scores: Sequence[Score], title: str) -> str:
    """A metric by group as horizontal bars with 95 % intervals. Figures that are NaN are named, without a bar."""
    rows = [(_group(s), s.value, s.low, s.high, f"{_shown(s.value, s.unit)}, n = {s.n}", True) for s in scores]
    return _bars(rows, title, scores[0].unit if scores else "")


def beside_published(
    own: Score, name: str, published: Sequence[Published], title: str, simulated: bool
) -> str:
    """One's own figure above the published ones, which are outlined.

    simulated: whether one's own is of simulated images, which is then said, as the figures can't be compared.
    """
    data = ("simulated images", "real images") if simulated else ("", "published")
    rows = [(name, own.value, own.low, own.high, _noted(_shown(own.value, own.unit), data[0]), True)]
    rows += [(p.model, p.value, math.nan, math.nan, _noted(as_printed(p), data[1]), False) for p in published]
    return _bars(rows, title, own.unit)


def reliability_plot(bins: Sequence[Bin], title: str) -> str:
    """Accuracy over mean confidence of each bin, with Wilson's intervals; a calibrated model lies on the diagonal.

    The area of a point grows with the number of its items.
    """
    most = max((b.n for b in bins), default=1)
    parts = [_axes("confidence", "accuracy"), f'<path class="even" d="M {_x(0)} {_y(0)} L {_x(1)} {_y(1)}"/>']
    for b in bins:
        x, radius = _x(b.confidence), 3 + 5 * math.sqrt(b.n / most)
        told = f"confidence {b.confidence:.2f}: accuracy {b.accuracy:.2f}, n = {b.n}"
        parts.append(
            f"<g><title>{told}</title>"
            f'<path class="whisker" d="M {x} {_y(b.accuracy_low)} L {x} {_y(b.accuracy_high)}"/>'
            f'<circle class="own" cx="{x}" cy="{_y(b.accuracy)}" r="{radius:.1f}"/></g>'
        )
    parts.append(_note("dashed: calibrated"))
    words = "; ".join(f"at {b.confidence:.2f} {b.accuracy:.2f} of {b.n}" for b in bins) or "nothing"
    return _svg(_LEFT + _SIDE + 24, _TOP + _SIDE + 44, title, f"accuracy by confidence: {words}", "".join(parts))


def risk_coverage_plot(coverage: np.ndarray, risk: np.ndarray, title: str) -> str:
    """The share of errors among the most confident answers, by how many are answered."""
    top = _ceiling(float(risk.max(initial=0)))
    if not len(coverage):
        return _svg(_LEFT + _SIDE + 24, _TOP + _SIDE + 44, title, "nothing", _axes("answered", "wrong", top))
    kept = np.unique(np.linspace(0, len(coverage) - 1, min(_POINTS, len(coverage))).round().astype(int))
    points = " ".join(f"{_x(c)},{_y(r / top)}" for c, r in zip(coverage[kept], risk[kept], strict=True))
    even = _y(float(risk[-1]) / top)
    inside = (
        _axes("answered", "wrong", top)
        + f'<path class="even" d="M {_x(0)} {even} L {_x(1)} {even}"/>'
        + f'<polyline class="curve" points="{points}"/>'
        + _note("dashed: confidence says nothing")
    )
    asked = [int(np.searchsorted(coverage, c - 1e-9)) for c in (0.25, 0.5, 0.75, 1)]
    words = ", ".join(f"{100 * risk[k]:.1f} % wrong of {100 * coverage[k]:.0f} %" for k in asked)
    return _svg(_LEFT + _SIDE + 24, _TOP + _SIDE + 44, title, f"errors among the most confident: {words}", inside)


def _bars(rows: Sequence[tuple[str, float, float, float, str, bool]], title: str, unit: Unit) -> str:
    """rows: name, value, low, high, what is written behind the bar, and whether it is one's own."""
    numbers = [x for _, *three, _, _ in rows for x in three if math.isfinite(x)]
    top = 1.0 if unit == "%" else _ceiling(max(numbers, default=0.0))
    room = _WIDTH - _NAMES - 170
    parts = [
        f'<path class="grid" d="M {_NAMES} {_TOP - 4} V {_TOP + len(rows) * _ROW + 2}"/>',
        *(_row(place, row, room, top) for place, row in enumerate(rows)),
    ]
    words = ", ".join(f"{name} {label}" for name, *_, label, _ in rows) or "nothing"
    return _svg(_WIDTH, _TOP + len(rows) * _ROW + 14, title, words, "".join(parts))


def _row(place: int, row: tuple[str, float, float, float, str, bool], room: float, top: float) -> str:
    name, value, low, high, label, own = row
    y, middle = _TOP + place * _ROW, _TOP + place * _ROW + _ROW / 2
    short = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
    parts = [f"<g><title>{escape(name)}: {escape(label)}</title>"]
    parts.append(f'<text x="{_NAMES - 8}" y="{middle + 4}" text-anchor="end">{escape(short)}</text>')
    end = _NAMES
    if math.isfinite(value):
        width = room * min(max(value, 0) / top, 1)
        end = max(end, _NAMES + width)
        kind = "own" if own else "other"
        parts.append(f'<rect class="{kind}" x="{_NAMES}" y="{y + 5}" width="{width:.1f}" height="{_ROW - 10}"/>')
    if math.isfinite(low) and math.isfinite(high):
        a, b = (_NAMES + room * min(max(x, 0) / top, 1) for x in (low, high))
        end = max(end, b)
        parts.append(
            f'<path class="whisker" d="M {a:.1f} {middle} H {b:.1f} M {a:.1f} {middle - 4} V {middle + 4} '
            f'M {b:.1f} {middle - 4} V {middle + 4}"/>'
        )
    parts.append(f'<text x="{end + 8:.1f}" y="{middle + 4}">{escape(label)}</text></g>')
    return "".join(parts)


def _axes(across: str, up: str, top: float = 1.0) -> str:
    """The square with a grid of five lines each way. top: what its upper edge stands for."""
    parts = []
    for k in range(6):
        at = k / 5
        parts.append(f'<path class="grid" d="M {_x(at)} {_y(0)} V {_y(1)} M {_x(0)} {_y(at)} H {_x(1)}"/>')
        parts.append(f'<text class="soft" x="{_x(at)}" y="{_y(0) + 18}" text-anchor="middle">{at:g}</text>')
        parts.append(f'<text class="soft" x="{_x(0) - 8}" y="{_y(at) + 4}" text-anchor="end">{at * top:.3g}</text>')
    parts.append(f'<text x="{_x(0.5)}" y="{_y(0) + 36}" text-anchor="middle">{across}</text>')
    parts.append(f'<text x="{-_y(0.5)}" y="14" text-anchor="middle" transform="rotate(-90)">{up}</text>')
    return "".join(parts)


def _note(text: str) -> str:
    return f'<text class="soft" x="{_x(1) - 6}" y="{_y(0) - 8}" text-anchor="end">{text}</text>'


def _x(share: float) -> float:
    return round(_LEFT + _SIDE * float(share), 1)


def _y(share: float) -> float:
    return round(_TOP + _SIDE * (1 - float(share)), 1)


def _ceiling(value: float) -> float:
    """The next of 1, 2, 2.5, 5 and 10 times a power of ten, so that axes have plain numbers."""
    if not value > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 2.5, 5, 10) if value <= power * step * (1 + 1e-9))


def _group(score: Score) -> str:
    return score.group.removeprefix(MODALITY) or "all"


def _shown(value: float, unit: Unit) -> str:
    if not math.isfinite(value):
        return "no figure"
    return Score("", value, math.nan, math.nan, 0, unit).text().partition(" (")[0]


def _noted(text: str, note: str) -> str:
    return f"{text}, {note}" if note else text


def _fitting(title: str, width: int) -> str:
    """A title that is no wider than its plot: what is before the last colon is shortened."""
    room = (width - 24) // 8  # characters of about 8 pixels
    if len(title) <= room:
        return title
    first, colon, last = title.rpartition(": ")
    return f"{first[: max(1, room - len(colon + last) - 1)]}…{colon}{last}"


def _svg(width: int, height: int, title: str, words: str, inside: str) -> str:
    told = escape(f"{title}: {words}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{told}"><style>{_STYLE}</style><rect class="paper" width="{width}" height="{height}"/>'
        f'<text class="title" x="12" y="20">{escape(_fitting(title, width))}</text>{inside}</svg>\n'
    )
