"""All stages as one HTML page, in the manner of a data card (Pushkarna et al., Data Cards, FAccT 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from unimedvl.data.page import document, number, simulated_note, table
from unimedvl.data.stats.count import GROUPS, Counts
from unimedvl.data.stats.plots import bars, histogram, summary
from unimedvl.data.stats.tally import Histogram

_TITLES = {
    "modality": "Modality", "task": "Task", "split": "Split", "source": "Source", "licence": "Licence",
    "images": "How images were made",
}  # fmt: skip


def card(stages: Sequence[Counts], title: str, simulated: Sequence[str] = ()) -> str:
    """The page. The same numbers give the same text. simulated: inputs of which a build says that they are."""
    parts = [
        f"<header><h1>{escape(title)}</h1>",
        "<p>What is in the records, counted in one pass. Images count as simulated or synthetic where a record "
        "or the build says so; of others nothing is known but what their source says. "
        "Not for clinical use.</p></header>",
    ]
    parts.append(simulated_note(simulated))
    if len(stages) > 1:
        parts.append(_overview(stages))
    parts += [_stage(counts) for counts in stages]
    return document(title, "\n".join(parts))


def _overview(stages: Sequence[Counts]) -> str:
    rules = list(dict.fromkeys(rule for counts in stages for rule in counts.dropped.ordered()))
    flow = [(c.name, c.items, c.records, *(c.dropped.counts[r] for r in rules)) for c in stages]
    parts = ["<section><h2>Before and after each stage</h2>", table(("stage", "items", "passed", *rules), flow)]
    for group in ("modality", "source", "split"):
        names = list(dict.fromkeys(n for c in stages for n in c.groups[group].ordered()))[:40]
        rows = [(name, *(c.groups[group].counts[name] for c in stages)) for name in names]
        parts.append(f"<h3>{_TITLES[group]}: records that passed</h3>")
        parts.append(table((group, *(c.name for c in stages)), rows))
    return "\n".join(parts) + "</section>"


def _stage(counts: Counts) -> str:
    told = f"{number(counts.records)} records passed of {number(counts.items)} items"
    figures = [_figure(_TITLES[g], bars(counts.groups[g].ordered(), _TITLES[g])) for g in GROUPS]
    figures += [
        _measured("Length of the text in characters", counts.characters),
        _measured("Turns of the conversation", counts.turns),
        _measured("Shorter side of images in pixels", counts.shortest_side),
        _figure("Sizes of images", bars(counts.sizes.ordered(), "Sizes of images", 8), _unsized(counts)),
    ]
    return (
        f"<section><h2>Stage: {escape(counts.name)}</h2><p>{told}.</p>"
        f'<div class="grid">{"".join(figures)}</div>{_scores(counts)}{_dropped(counts)}</section>'
    )


def _unsized(counts: Counts) -> str:
    return f"{number(counts.unsized)} images could not be measured" if counts.unsized else ""


def _scores(counts: Counts) -> str:
    if not counts.scores:
        return ""
    figures = "".join(_measured(f"Score of {rule}", scores) for rule, scores in sorted(counts.scores.items()))
    note = (
        "Of each record that a rule measured. What the rule dropped stands above what it kept, in the other colour."
    )
    return f'<h3>Scores of the rules</h3><p class="soft">{note}</p><div class="grid">{figures}</div>'


def _dropped(counts: Counts) -> str:
    if not counts.dropped.counts:
        return '<h3>What was dropped</h3><p class="soft">nothing</p>'
    rows = [
        (rule, n if not place else "", where, reason or "no reason given")
        for rule, n in counts.dropped.ordered().items()
        for place, (where, reason) in enumerate(counts.examples.get(rule) or [("", "")])
    ]
    header = ("rule", "dropped", "for example", "reason")
    return f"<h3>What was dropped, and why</h3>{table(header, rows)}"


def _measured(title: str, values: Histogram) -> str:
    return _figure(title, histogram(values, title), summary(values))


def _figure(title: str, plot: str, note: str = "") -> str:
    caption = f"<figcaption>{escape(note)}</figcaption>" if note else ""
    return f"<figure><h3>{escape(title)}</h3>{plot}{caption}</figure>"
