"""What the audit found, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from unimedvl.data.quality.agreement import OVERALL
from unimedvl.data.quality.audit import DIMENSIONS, Mean, Outcome

_VERDICT = {
    "accepted": "**Accepted**",
    "rejected": "**Rejected**",
    "incomplete": "**Incomplete**: {unrated} of {sampled} sampled records have no rating yet",
}


def report(outcome: Outcome, agreement: Mapping[str, float | None] | None = None) -> str:
    """The report as Markdown; the same findings give the same text.

    agreement: Krippendorff's alpha by dimension, as `agreement.agreement` gives it; left out where None.
    """
    alpha = agreement or {}
    dimensions = [
        (
            d.title,
            f"0 to {d.most:g}",
            m.count,
            _number(m.mean, d.most),
            _number(m.mean),
            _number(alpha.get(d.name)),
        )
        for d in DIMENSIONS
        for m in [outcome.by_dimension[d.name]]
    ]
    return "\n\n".join(
        [
            "# Expert audit",
            _summary(outcome, agreement),
            "## Dimensions",
            _table(("dimension", "range", "ratings", "mean", "scaled", "alpha"), dimensions),
            "## Raters",
            _table(("rater", "records", "mean"), _means(outcome.by_rater)),
            "## Modalities",
            _table(("modality", "sampled", "rated", "mean", ""), _modalities(outcome)),
            "Means are of ratings scaled to 0..1 where no other range is given. A record's score is the mean of "
            "its raters' scores, and the set's mean is that of the records. Alpha is Krippendorff's, with the "
            "interval metric: 1 is agreement, 0 is what chance would give; a dash is where it is not known.\n",
        ]
    )


def _summary(outcome: Outcome, agreement: Mapping[str, float | None] | None) -> str:
    unrated = outcome.sampled - outcome.rated
    verdict = _VERDICT[outcome.verdict].format(unrated=unrated, sampled=outcome.sampled)
    lines = [
        f"{verdict}.",
        f"Mean {outcome.mean:.3f}; accepted at {outcome.accepted_at:g} or more.",
        f"{outcome.ratings} ratings by {len(outcome.by_rater)} raters on {outcome.rated} of "
        f"{outcome.sampled} sampled records.",
    ]
    if agreement is not None:
        lines.append(f"Agreement on whole ratings: alpha {_number(agreement.get(OVERALL))}.")
    return "\n".join(lines)


def _means(means: Mapping[str, Mean]) -> list[tuple]:
    return [(name, m.count, _number(m.mean)) for name, m in means.items()]


def _modalities(outcome: Outcome) -> list[tuple]:
    rows = []
    for name, m in outcome.by_modality.items():
        low = m.mean is not None and round(m.mean, 9) < outcome.accepted_at
        rows.append((name, outcome.sampled_by_modality[name], m.count, _number(m.mean), "low" if low else ""))
    return rows


def _number(value: float | None, scale: float = 1.0) -> str:
    return "-" if value is None else f"{value * scale:.3f}"


def _table(header: tuple[str, ...], rows: Iterable[tuple]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(c) for c in line) + " |" for line in lines)


def _cell(value: object) -> str:
    """A value on one line in which nothing is taken for a column's end or for markup."""
    text = " ".join(str(value).split())
    for character in "\\|<`*":
        text = text.replace(character, "\\" + character)
    return text
