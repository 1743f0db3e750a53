"""Tables of figures, beside the published ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.outcomes import entries
from unimedvl.evaluation.published import PUBLISHED
from unimedvl.evaluation.results import read_results
from unimedvl.evaluation.score import Score
from unimedvl.evaluation.tables import (
    as_printed,
    benchmark_table,
    beside,
    labels,
    markdown_table,
    scoreboard_table,
)


def grid(markdown: str) -> list[dict[str, str]]:
    """The lines of a table by their headings."""
    lines = [line.strip("|").split(" | ") for line in markdown.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line] for line in lines]
    assert all(len(row) == len(header) for row in rows)
    return [dict(zip(header, row, strict=True)) for row in rows]


def real(content: dict) -> None:
    content["simulated"] = False
    for entry in content["benchmarks"]:
        entry["simulated"] = False


def test_a_line_tells_figure_interval_counts_and_target(results_folder: Path) -> None:
    first, ct, cxr = grid(benchmark_table([read_results(results_folder)], "vqa-rad"))
    assert (first["metric"], first["of"], first["n"]) == ("accuracy", "all", "24")
    assert first["figure (95 %)"] == "62.5 % (42.7 to 78.8)"
    assert (first["unparsed"], first["failed"]) == ("1", "1")
    assert first["target"] == "at least 60.0 %: met"
    assert (ct["of"], ct["n"], ct["target"]) == ("modality: ct", "12", "")
    assert (cxr["of"], cxr["failed"]) == ("modality: cxr", "1")


def test_published_figures_stand_beside_and_are_said_to_be_of_other_data_where_this_run_is_simulated(
    results_folder: Path,
) -> None:
    text = benchmark_table([read_results(results_folder)], "vqa-rad")
    assert "by others" in text and "arXiv 2510.15710" in text and "the two can't be compared" in text
    first, ct, _ = grid(text)
    assert first["published on real data: UniMedVL (14B)"] == "61.9 %"
    assert first["published on real data: GMAI-VL (7B)"] == "66.3 %"
    assert ct["published on real data: UniMedVL (14B)"] == ""  # none was published by modality


def test_a_run_on_real_data_does_not_say_so_of_the_published(write_results: Callable[..., Path]) -> None:
    text = benchmark_table([read_results(write_results(change=real))], "vqa-rad")
    assert grid(text)[0]["published: UniMedVL (14B)"] == "61.9 %"
    assert "simulated" not in text and "real data" not in text


def test_distances_by_modality_stand_beside_the_published_and_null_is_a_dash(results_folder: Path) -> None:
    all_of_them, ct, cxr = grid(benchmark_table([read_results(results_folder)], "text-to-image"))
    assert all_of_them["target"] == "at most 50.00: met"
    assert all_of_them["published on real data: UniMedVL (14B)"] == "96.29"
    assert ct["published on real data: Bagel (7B)"] == "163.78"
    assert ct["figure (95 %)"] == "38.00 (- to -)"
    assert cxr["figure (95 %)"] == "- (- to -)"
    assert ct["read with"] == "nano features"


def test_columns_without_anything_to_say_are_left_out(results_folder: Path) -> None:
    headings = grid(benchmark_table([read_results(results_folder)], "staining"))[0]
    assert "target" in headings and "read with" not in headings


def test_several_results_stand_side_by_side_also_where_one_lacks_a_benchmark(
    write_results: Callable[..., Path],
) -> None:
    a = read_results(write_results("small"))
    b = read_results(write_results("large", right=20, change=lambda c: c["benchmarks"].pop()))
    first = grid(benchmark_table([a, b], "vqa-rad"))[0]
    assert first["small: figure (95 %)"].startswith("62.5 %")
    assert first["large: figure (95 %)"].startswith("83.3 %")
    alone = grid(benchmark_table([a, b], "text-to-image"))[0]
    assert (alone["small: n"], alone["large: n"]) == ("4", "-")


def test_no_two_results_have_one_label(write_results: Callable[..., Path]) -> None:
    def named(content: dict) -> None:
        content["model"]["name"] = "nano"

    def on_other(content: dict) -> None:
        named(content)
        content["suite"] = "other"

    a, b, c = (write_results(n, change=f) for n, f in (("one", named), ("two", named), ("three", on_other)))
    assert labels([read_results(a)]) == ["nano"]
    assert labels([read_results(a), read_results(c)]) == ["nano on small", "nano on other"]
    assert labels([read_results(a), read_results(b)]) == ["nano on small (one)", "nano on small (two)"]
    assert len(set(labels([read_results(a)] * 2))) == 2


def test_published_figures_keep_their_digits() -> None:
    for figure in PUBLISHED:
        shown = float(as_printed(figure).split()[0])
        exact = figure.value * (100 if figure.unit == "%" else 1)
        assert math.isclose(shown, exact, abs_tol=1e-9) and len(as_printed(figure)) < 10


def test_a_variant_of_a_metric_stands_beside_the_plain_one_and_is_marked() -> None:
    entry = {"name": "phantoms-edit", "published_as": "counterfactual"}
    plain = beside(entry, Score("METEOR", 0.3, 0.2, 0.4, 9))
    variant = beside(entry, Score("METEOR (exact and stem)", 0.3, 0.2, 0.4, 9))
    assert [p for p, _ in plain] == [p for p, _ in variant] and plain
    assert all(same for _, same in plain) and not any(same for _, same in variant)
    assert beside({"name": "phantoms-edit"}, Score("METEOR", 0.3, 0.2, 0.4, 9)) == []


def test_a_marked_figure_has_a_footnote(write_results: Callable[..., Path]) -> None:
    def variant(content: dict) -> None:
        content["benchmarks"][1]["scores"][0]["metric"] = "PSNR (luminance)"

    text = benchmark_table([read_results(write_results(change=variant))], "staining")
    assert "20.27 dB †" in text and "† The metric of the published figure may be another variant." in text


def test_text_breaks_no_table_and_becomes_no_html() -> None:
    text = markdown_table(["a"], [["x | y\n<b>`z`</b> & &lt; so"]])
    assert text.splitlines()[-1] == "| x \\| y &lt;b&gt;'z'&lt;/b&gt; & &amp;lt; so |"


def test_the_scoreboard_has_each_headline_and_what_the_authors_published(results_folder: Path) -> None:
    rows = grid(scoreboard_table([read_results(results_folder)]))
    assert [(r["benchmark"], r["metric"]) for r in rows] == [
        ("VQA-RAD", "accuracy"), ("H&E to HER2", "PSNR"), ("H&E to HER2", "SSIM"),
        ("Text to image", "Fréchet distance"),
    ]  # fmt: skip
    assert rows[1]["nano (95 %)"].startswith("21.00 dB (")
    assert rows[1]["target"] == "at least 22.00 dB: not met"
    assert rows[1]["UniMedVL (14B), published on real data"] == "20.27 dB"


def test_what_is_not_the_results_of_a_suite_is_refused(write_results: Callable[..., Path]) -> None:
    nothing = read_results(write_results("a", change=lambda c: c.pop("benchmarks")))
    with pytest.raises(EvaluationError, match="not the results of a suite; they have suite, model, benchmarks"):
        entries(nothing)
    partial = read_results(write_results("b", change=lambda c: c["benchmarks"][1].pop("scores")))
    with pytest.raises(EvaluationError, match="benchmark 2 lacks scores"):
        entries(partial)
    broken = read_results(write_results("c", change=lambda c: c["benchmarks"][0]["scores"][0].pop("n")))
    with pytest.raises(EvaluationError, match="a score of vqa-rad lacks a field"):
        benchmark_table([broken], "vqa-rad")
