"""Bars and histograms as inline SVG: no scripts, colours from the page, numbers in words for those who can't see."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from unimedvl.data.page import number
from unimedvl.data.stats.tally import Bin, Histogram

_WIDTH = 360
_BAR = 18
_TALL = 110
_LONGEST_NAME = 26


def bars(counts: Mapping[str, int], title: str, most: int = 12) -> str:
    """Horizontal bars, in the order given. Those after the first `most` are put into one.

    title: what is counted, in words.
    """
    shown = dict(list(counts.items())[:most])
    rest = list(counts.values())[most:]
    if rest:
        shown[f"{len(rest)} more"] = sum(rest)
    largest = max(shown.values(), default=1) or 1
    parts = [_bar(row, name, count, largest) for row, (name, count) in enumerate(shown.items())]
    words = ", ".join(f"{name} {number(count)}" for name, count in shown.items()) or "nothing"
    return _svg(_WIDTH, max(1, len(shown)) * _BAR, f"{title}: {words}", "".join(parts))


def _bar(row: int, name: str, count: int, largest: int) -> str:
    top, left, room = row * _BAR, 150, _WIDTH - 150 - 52
    width = max(1.0, room * count / largest) if count else 0
    short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    return (
        f"<g><title>{escape(name)}: {number(count)}</title>"
        f'<text x="{left - 6}" y="{top + 13}" text-anchor="end">{escape(short)}</text>'
        f'<rect class="kept" x="{left}" y="{top + 3}" width="{width:.1f}" height="{_BAR - 6}"/>'
        f'<text x="{left + width + 5:.1f}" y="{top + 13}">{number(count)}</text></g>'
    )


def histogram(values: Histogram, title: str) -> str:
    """A histogram; of each bin, what was kept stands below what was dropped."""
    bins = list(values.bins())
    if not bins:
        return '<p class="soft">none</p>'
    tallest = max(b.kept + b.dropped for b in bins)
    # A few bins are drawn no wider than an eighth of the plot, so that one value isn't a wall.
    step = _WIDTH / max(len(bins), 8)
    parts = []
    for place, b in enumerate(bins):
        x, gap = place * step, min(1.0, step / 6)
        kept, dropped = (_TALL * n / tallest for n in (b.kept, b.dropped))
        more = f", {number(b.dropped)} dropped" if b.dropped else ""
        parts.append(
            f"<g><title>{_range(b, values.whole)}: {number(b.kept)}{more}</title>"
            + _column(x, _TALL - kept, step - gap, kept, "kept")
            + _column(x, _TALL - kept - dropped, step - gap, dropped, "dropped")
            + "</g>"
        )
    end, last = step * len(bins), bins[-1].high - values.whole
    parts.append(f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{_TALL}" y2="{_TALL}"/>')
    parts.append(f'<text x="0" y="{_TALL + 14}">{number(bins[0].low)}</text>')
    if number(last) != number(bins[0].low):
        anchor = ' text-anchor="end"' if len(bins) > 2 else ""
        parts.append(f'<text x="{end:.1f}" y="{_TALL + 14}"{anchor}>{number(last)}</text>')
    return _svg(_WIDTH, _TALL + 18, f"{title}: {summary(values)}", "".join(parts))


def _range(b: Bin, whole: bool) -> str:
    low, high = number(b.low), number(b.high - whole)
    return low if low == high else f"{low} to {high}"


def _column(x: float, y: float, width: float, height: float, kind: str) -> str:
    if not height:
        return ""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{height:.1f}"/>'


def summary(values: Histogram) -> str:
    """Count, range, median and mean in words."""
    if not values.count:
        return "none"
    return (
        f"{number(values.count)} values from {number(values.low)} to {number(values.high)}, "
        f"median about {number(values.quantile(0.5))}, mean {number(round(values.mean, 3))}"
    )


def _svg(width: int, height: int, words: str, inside: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(words)}">{inside}</svg>'
