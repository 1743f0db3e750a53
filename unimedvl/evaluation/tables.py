"""Figures as Markdown tables: one's own with interval and count, beside what others published."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from unimedvl.evaluation.outcomes import entries, headline, scores
from unimedvl.evaluation.published import SOURCE, Published, published
from unimedvl.evaluation.results import Results
from unimedvl.evaluation.score import Score

OTHER = "†"
AUTHORS = "UniMedVL"
# An ampersand that Markdown would read as the start of another sign.
_ENTITY = re.compile(r"&(?=#?\w+;)")
# Of a line: metric, group, and how often the two came before.
Key = tuple[str, str, int]


def markdown_table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown. What cells hold is text: it can't break the table or become HTML."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def cell(value: object) -> str:
    """Text for one cell: on one line, with bars, angle brackets, entities and backquotes made harmless."""
    text = _ENTITY.sub("&amp;", " ".join(str(value).split()))
    for sign, harmless in (("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("`", "'")):
        text = text.replace(sign, harmless)
    return text


def labels(results: Sequence[Results]) -> list[str]:
    """A name for each of several results, no two alike: the model's, with its suite or folder where that is needed."""
    names = [str(r.content["model"]["name"]) for r in results]
    for longer in ([r.name for r in results], [f"{r.name} ({r.folder.name})" for r in results]):
        if len(set(names)) == len(names):
            return names
        often = Counter(names)
        names = [new if often[name] > 1 else name for name, new in zip(names, longer, strict=True)]
    return [name if names.count(name) == 1 else f"{name} {place}" for place, name in enumerate(names, 1)]


def beside(entry: Mapping, score: Score) -> list[tuple[Published, bool]]:
    """The published figures of a benchmark's metric, and whether each is of the same name of the metric.

    They are those of the table that the benchmark says it is `published_as`, else of its own name.

    A metric that is named with its variant, such as "METEOR (exact and stem)", also stands beside the plain one.
    """
    name = entry.get("published_as") or entry["name"]
    found = published(name, score.metric, score.group)
    if found:
        return [(p, True) for p in found]
    return [(p, False) for p in published(name, score.metric.partition(" (")[0], score.group)]


def as_printed(figure: Published) -> str:
    """A published figure with the digits that it was printed with."""
    value = figure.value * (100 if figure.unit == "%" else 1)
    return f"{value:.5g} {figure.unit}".strip()


def benchmark_table(results: Sequence[Results], name: str) -> str:
    """A benchmark's figures: a line for each metric and group, columns for each result, then the published.

    What the published figures are of is said above the table, and where a run is simulated in their headings too.
    """
    found = [_lines(r, name) for r in results]
    keys = list(dict.fromkeys(key for lines in found for key in lines))
    columns: list[tuple[str, list]] = [("metric", [key[0] for key in keys]), ("of", [key[1] or "all" for key in keys])]
    for label, lines in zip(labels(results), found, strict=True):
        before = f"{label}: " if len(results) > 1 else ""
        columns += [(before + heading, cells) for heading, cells in _own(lines, keys)]
    by_others, note, footnote = _by_others(_entry(results, name), found, keys, simulated(results, name))
    columns += by_others
    rows = list(zip(*(cells for _, cells in columns), strict=True))
    return "\n\n".join(filter(None, [note, markdown_table([heading for heading, _ in columns], rows), footnote]))


def scoreboard_table(results: Sequence[Results]) -> str:
    """Lines for each benchmark: its headline for each of the results, then what the authors published figures of."""
    own = [part for label in labels(results) for part in (f"{label} (95 %)", "n")]
    real = "published on real data" if any(simulated([r], n) for r in results for n in entries(r)) else "published"
    rows = []
    for name in dict.fromkeys(name for r in results for name in entries(r)):
        first = [headline(entries(r)[name]) if name in entries(r) else None for r in results]
        rows += _board_row(results, name, first)
        lines = [_lines(r, name) for r in results]
        for key in dict.fromkeys(key for found in lines for key in found if not key[1]):
            same = [found.get(key) for found in lines]
            if same != first and _authors(results, name, same):
                rows += _board_row(results, name, same)
    return markdown_table(["benchmark", "metric", *own, "target", f"{AUTHORS} (14B), {real}"], rows)


def _board_row(results: Sequence[Results], name: str, figures: Sequence[Score | None]) -> list[list]:
    """The line of one figure of each of the results; none where none has it."""
    if not any(figures):
        return []
    cells = [part for s in figures for part in ((s.text(), s.n) if s else ("-", "-"))]
    targets = dict.fromkeys(_target(s) for s in figures if s and s.target is not None)
    one, others = next(s for s in figures if s), _authors(results, name, figures)
    return [[title(results, name), _metric(one), *cells, "; ".join(targets), ", ".join(others)]]


def _authors(results: Sequence[Results], name: str, figures: Sequence[Score | None]) -> list[str]:
    """What the authors published of a figure."""
    one = next((s for s in figures if s), None)
    found = beside(_entry(results, name), one) if one else []
    return [_printed(p, same) for p, same in found if p.model.startswith(AUTHORS)]


def title(results: Sequence[Results], name: str) -> str:
    """What a benchmark is called."""
    return _entry(results, name)["title"]


def _entry(results: Sequence[Results], name: str) -> dict:
    """What the first of the results that has a benchmark says of it."""
    return next(entries(r)[name] for r in results if name in entries(r))


def simulated(results: Sequence[Results], name: str) -> bool:
    """Whether any of the runs of a benchmark was of simulated images."""
    return any(entries(r).get(name, {}).get("simulated", False) for r in results)


def _lines(results: Results, name: str) -> dict[Key, Score]:
    """Figures by metric, group and how often the two came before: one may be told for several encoders."""
    lines: dict[Key, Score] = {}
    often: Counter[tuple[str, str]] = Counter()
    for score in scores(entries(results)[name]) if name in entries(results) else ():
        lines[(score.metric, score.group, often[score.metric, score.group])] = score
        often[score.metric, score.group] += 1
    return lines


def _own(lines: Mapping[Key, Score], keys: Sequence[Key]) -> list[tuple[str, list]]:
    """Heading and cells of each column; target and what to read with only where there is something to say."""
    asked = {
        "figure (95 %)": Score.text, "n": lambda s: s.n, "unparsed": lambda s: s.unparsed, "failed": lambda s: s.failed,
        "target": _target, "read with": lambda s: s.beside,
    }  # fmt: skip
    columns = [(name, [of(lines[key]) if key in lines else "-" for key in keys]) for name, of in asked.items()]
    spare = {"target", "read with"}
    return [(name, cells) for name, cells in columns if name not in spare or any(c not in ("", "-") for c in cells)]


def _by_others(
    entry: Mapping, found: Sequence[Mapping[Key, Score]], keys: Sequence[Key], on_simulated: bool
) -> tuple[list[tuple[str, list]], str, str]:
    """Columns of the published figures, what is said above the table, and below it."""
    one = {key: next(lines[key] for lines in found if key in lines) for key in keys}
    by_key = {key: beside(entry, score) for key, score in one.items()}
    models = dict.fromkeys(p.model for figures in by_key.values() for p, _ in figures)
    if not models:
        return [], "", ""
    real = "published on real data" if on_simulated else "published"
    columns = [
        (f"{real}: {model}", [", ".join(_printed(p, s) for p, s in by_key[key] if p.model == model) for key in keys])
        for model in models
    ]
    note = f"Figures under *{real}* are by others, as they printed them ({SOURCE})"
    if on_simulated:
        note += ", on other data: this run is of simulated images, so the two can't be compared."
    else:
        note += ". Their splits, counts and scripts are not published, so the protocol below may not be theirs."
    other = any(not same for figures in by_key.values() for _, same in figures)
    return columns, note, f"{OTHER} The metric of the published figure may be another variant." if other else ""


def _printed(figure: Published, same: bool) -> str:
    return as_printed(figure) + ("" if same else f" {OTHER}")


def _metric(score: Score) -> str:
    return f"{score.metric}, {score.group}" if score.group else score.metric


def _target(score: Score) -> str:
    if score.target is None:
        return ""
    wanted = Score("", score.target, math.nan, math.nan, 0, score.unit).text().partition(" (")[0]
    return f"at {'least' if score.higher else 'most'} {wanted}: {'met' if score.met else 'not met'}"
