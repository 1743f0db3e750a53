"""A suite's results as a report that people read, and as the short table of a README."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.whole import reason, written_whole
from unimedvl.evaluation.calibration import calibration, reliability, risk_coverage
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.gallery import gallery
from unimedvl.evaluation.outcomes import as_asked, entries, headline, modalities, right_metric, scores, sure
from unimedvl.evaluation.plots import bars, beside_published, reliability_plot, risk_coverage_plot
from unimedvl.evaluation.results import Results, read_results
from unimedvl.evaluation.tables import (
    benchmark_table,
    beside,
    cell,
    labels,
    markdown_table,
    scoreboard_table,
    title,
)  # fmt: skip
from unimedvl.inference.results import NOT_CLINICAL

REPORT, GALLERY, PLOTS = "report.md", "gallery.html", "plots"
START, END = "<!-- scoreboard -->", "<!-- /scoreboard -->"
# Broken items that are named one by one; of the rest their number is told.
BROKEN = 20
# What each kind of plot is of.
_PUBLISHED = "published-"
_KINDS = {
    "modality": "by modality", "reliability": "accuracy by confidence",
    "risk-coverage": "errors by how many are answered",
}  # fmt: skip
# Items with a confidence that calibration needs, so that its bins hold something.
FEWEST = 20


def report(results: Sequence[Results], plots: Mapping[str, Sequence[str]] | None = None) -> str:
    """The results of one suite, or of several side by side, as Markdown.

    plots: files of plots by benchmark, to be shown with its table; paths as the report's reader finds them.

    Raises:
        EvaluationError: no results, or not those of a suite.
    """
    if not results:
        raise EvaluationError("no results to report; give at least one folder")
    names = list(dict.fromkeys(name for r in results for name in entries(r)))
    parts = [f"# {cell(' and '.join(r.name for r in results))}", *_notices(results)]
    for name in names:
        parts += _benchmark(results, name, (plots or {}).get(name, ()))
    parts.append("## How it was run")
    for label, one in zip(labels(results), results, strict=True):
        parts += _run(one, label if len(results) > 1 else "")
    return "\n\n".join(filter(None, parts)) + "\n"


def write_report(folder: Path) -> Path:
    """Write report.md, its plots and gallery.html into a results' folder: all of them or none.

    Returns:
        The file report.md.

    Raises:
        EvaluationError: no results there, or files that can't be written.
    """
    results = read_results(folder)
    plots = {name: _plots(results, name) for name in entries(results)}
    linked = {name: [f"{PLOTS}/{file}" for file in drawn] for name, drawn in plots.items()}
    files = {REPORT: report([results], linked), GALLERY: gallery(results)}
    files |= {f"{PLOTS}/{file}": svg for drawn in plots.values() for file, svg in drawn.items()}
    _write_all(results.folder, files)
    return results.folder / REPORT


def scoreboard(results: Sequence[Results]) -> str:
    """The short table, between its markers: a line for each benchmark.

    Raises:
        EvaluationError: as `report`.
    """
    if not results:
        raise EvaluationError("no results for a scoreboard; give at least one folder")
    return "\n\n".join([START, *(f"*{cell(notice)}*" for notice in _told(results)), scoreboard_table(results), END])


def put_scoreboard(results: Sequence[Results], file: Path) -> None:
    """Put the scoreboard between the markers of a file, in place of what is there. Doing so again changes nothing.

    Raises:
        EvaluationError: as `report`; the markers are not there once each, in order; the file can't be read or written.
    """
    board = scoreboard(results)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise EvaluationError(f"{file}: {reason(error)}") from error
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end or START in rest or END in before + after:
        raise EvaluationError(f"{file}: needs the lines {START} and {END}, once each and in this order")
    _write_all(file.parent, {file.name: before + board + after})


def _notices(results: Sequence[Results]) -> list[str]:
    return [f"> **{cell(notice)}**" for notice in _told(results)]


def _told(results: Sequence[Results]) -> list[str]:
    """What the images are; that nothing is for clinical use is said whatever the results say."""
    notices = list(dict.fromkeys(filter(None, (str(r.content.get("notice", "")) for r in results))))
    if any(r.content.get("simulated") for r in results) and not any("simulated" in n.lower() for n in notices):
        notices.insert(0, "Simulated images.")
    return notices if any("clinical use" in n for n in notices) else [*notices, NOT_CLINICAL]


# ---------------------------------------------------------------------------------- one benchmark


def _benchmark(results: Sequence[Results], name: str, plots: Sequence[str]) -> list[str]:
    having = [(label, r) for label, r in zip(labels(results), results, strict=True) if name in entries(r)]
    several = len(results) > 1
    parts = [f"## {cell(title(results, name))}", benchmark_table(results, name)]
    parts += [f"![{cell(title(results, name))}: {_plot_words(file, name)}]({file})" for file in plots]
    parts += [_calibrated(r, name, label if several else "") for label, r in having]
    protocols = [entries(r)[name]["protocol"] for _, r in having]
    if any(protocol != protocols[0] for protocol in protocols):
        parts.append("**The protocols differ, so these figures can't be compared.**")
        parts += [_protocol(entries(r)[name], label) for label, r in having]
    else:
        parts.append(_protocol(entries(having[0][1])[name], ""))
    parts += [_data(entries(r)[name], label if several else "") for label, r in having]
    return parts


def _plot_words(file: str, benchmark: str) -> str:
    """What a plot is of, from the name of its file."""
    kind = file.rpartition("/")[2].removesuffix(".svg").removeprefix(f"{benchmark}-")
    if kind.startswith(_PUBLISHED):
        return f"{kind.removeprefix(_PUBLISHED)} beside the published"
    return _KINDS.get(kind, kind)


def _calibrated(results: Results, name: str, label: str) -> str:
    confidences, rights = _sure(results, name)
    told = any(s.metric == "ECE" for s in scores(entries(results)[name]))  # among the benchmark's own figures
    if told or len(confidences) < FEWEST:
        return ""
    rows = [(s.metric, s.text(), s.n, s.beside) for s in calibration(confidences, rights)]
    heading = f"Calibration{f' of {cell(label)}' if label else ''}, of the {len(rights)} items with a confidence:"
    return f"{heading}\n\n{markdown_table(('metric', 'figure (95 %)', 'n', 'read with'), rows)}"


def _sure(results: Results, name: str) -> tuple[list[float], list[bool]]:
    items = as_asked(results.items(name))
    metric = right_metric(entries(results)[name], items)
    return sure(items, metric) if metric else ([], [])


def _protocol(entry: Mapping, label: str) -> str:
    heading = f"Protocol{f' of {cell(label)}' if label else ''}:"
    lines = [f"- {cell(key)}: {cell(value)}" for key, value in entry["protocol"].items() if value]
    notes = [f"- notes: {cell(entry['notes'])}"] if entry.get("notes") else []
    return "\n".join([heading, "", *lines, *notes])


def _data(entry: Mapping, label: str) -> str:
    """How many items there were of how many, and what of the data is broken."""
    data = entry.get("data", {})
    broken = data.get("broken", [])
    whole = f" of the published {data['expected']}" if data.get("expected") else ""
    told = f"Data{f' of {cell(label)}' if label else ''}: {data.get('items', 'unknown')} items{whole}"
    told += " of simulated images" if entry.get("simulated") else ""
    told += f", from `{cell(data['folder'])}`" if data.get("folder") else ""
    if not broken:
        return f"{told}; nothing in them is broken."
    lines = [f"- {cell(b.get('where', ''))}: {cell(b.get('reason', ''))}" for b in broken[:BROKEN]]
    more = [f"- and {len(broken) - BROKEN} more"] if len(broken) > BROKEN else []
    return "\n".join([f"{told}; broken and left out: {len(broken)}.", "", *lines, *more])


def _run(results: Results, label: str) -> list[str]:
    """Model, settings and versions, so that it can be run again."""
    content = results.content
    rows = [("suite", content["suite"]), *(_flat("model", content["model"])), ("command", content.get("command", ""))]
    rows += [("seconds", content.get("seconds", "")), *_flat("setting", content.get("settings"))]
    rows += _flat("version", content.get("versions"))
    return [f"### {cell(label)}" if label else "", markdown_table(("", ""), [(k, v) for k, v in rows if v != ""])]


def _flat(before: str, told: object) -> list[tuple[str, object]]:
    if isinstance(told, Mapping):
        return [line for key, value in told.items() for line in _flat(f"{before}: {key}", value)]
    if isinstance(told, list):
        return [(before, json.dumps(told, ensure_ascii=False))]
    return [(before, "none" if told is None else told)]


# ------------------------------------------------------------------------------------------ files


def _plots(results: Results, name: str) -> dict[str, str]:
    """A benchmark's plots by the name of the file."""
    entry, first, drawn = entries(results)[name], headline(entries(results)[name]), {}
    called = entry["title"]
    if first is None:
        return {}
    model, simulated = labels([results])[0], bool(entry.get("simulated"))
    for score in scores(entry):
        published = [] if score.group else [figure for figure, same in beside(entry, score) if same]
        kind = f"{_PUBLISHED}{_plain(score.metric)}"
        if published and kind not in drawn:
            drawn[kind] = beside_published(score, model, published, f"{called}: {score.metric}", simulated)
    groups = modalities(entry, first.metric)
    if len(groups) > 1:
        drawn["modality"] = bars(groups, f"{called}: {first.metric} by modality")
    confidences, rights = _sure(results, name)
    if len(confidences) >= FEWEST:
        drawn["reliability"] = reliability_plot(reliability(confidences, rights), f"{called}: reliability")
        curve = risk_coverage(confidences, rights)
        drawn["risk-coverage"] = risk_coverage_plot(*curve, f"{called}: risk and coverage")
    return {f"{name}-{kind}.svg": svg for kind, svg in drawn.items()}


def _plain(name: str) -> str:
    """A name in letters and digits that every file system has."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", letters.lower()).strip("-")


def _write_all(folder: Path, files: Mapping[str, str]) -> None:
    """Write texts into a folder. They take their names when all of them are written, the first one last."""
    try:
        with ExitStack() as stack:
            for name, text in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(written_whole(folder / name)).write_text(text, encoding="utf-8")
    except DataError as error:
        raise EvaluationError(str(error)) from error
    except OSError as error:
        raise EvaluationError(f"{folder}: {reason(error)}") from error
