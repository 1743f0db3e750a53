"""Reports of suites, the files beside them, and the scoreboard of a README."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.report import END, START, put_scoreboard, report, scoreboard, write_report
from unimedvl.evaluation.results import read_results
from unimedvl.evaluation.score import Score


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_top_says_what_the_images_are_and_that_nothing_is_for_clinical_use(
    write_results: Callable[..., Path],
) -> None:
    text = report([read_results(write_results("a"))])
    assert text.startswith("# a on small\n\n> **Simulated images. Not for clinical use.**\n\n## VQA-RAD\n")
    silent = report([read_results(write_results("b", change=lambda c: c.pop("notice")))])
    assert "Simulated images." in silent[:200] and "Not for clinical use." in silent[:200]


def test_below_each_table_stand_protocol_and_what_is_broken_in_the_data(results_folder: Path) -> None:
    text = section(report([read_results(results_folder)]), "VQA-RAD")
    table, protocol = text.index("| accuracy |"), text.index("Protocol:")
    assert table < protocol
    for line in ("split: test, 24 of 451", "extraction: first yes or no", "judge: none", "source: LLaVA-Med"):
        assert f"- {line}" in text
    assert "25 items of simulated images, from `data/vqa-rad`; broken and left out: 1." in text
    assert "- test.json:7: no image \\| of that name" in text
    assert "nothing in them is broken" in section(report([read_results(results_folder)]), "H&E to HER2")


def test_many_broken_items_are_counted(write_results: Callable[..., Path]) -> None:
    def break_more(content: dict) -> None:
        content["benchmarks"][0]["data"]["broken"] *= 33

    text = report([read_results(write_results(change=break_more))])
    assert "broken and left out: 33." in text and "- and 13 more" in text
    assert text.count("- test.json:7") == 20


def test_calibration_is_told_where_enough_items_have_a_confidence(results_folder: Path) -> None:
    text = report([read_results(results_folder)])
    assert "of the 23 items with a confidence:" in section(text, "VQA-RAD")
    assert "| ECE |" in section(text, "VQA-RAD") and "10 bins of equal width" in text
    assert text.count("| ECE |") == 1


def test_variants_of_a_question_are_not_pooled_and_own_figures_of_calibration_not_told_twice(
    results_folder: Path,
) -> None:
    results = read_results(results_folder)
    lines = results.items("vqa-rad")
    lines += [x | {"id": f"{x['id']} blind", "groups": x["groups"] | {"variant": "without the image"}} for x in lines]
    file = results_folder / "items" / "vqa-rad.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "of the 23 items with a confidence:" in report([results])
    entry = results.content["benchmarks"][0]
    entry["scores"].append(Score("ECE", 0.1, 0.0, 0.2, 24, higher=False).to_dict())
    assert "items with a confidence:" not in report([results])


def test_the_end_tells_what_is_needed_to_repeat_it(results_folder: Path) -> None:
    end = section(report([read_results(results_folder)]), "How it was run")
    for line in (
        "| suite | small |", "| model: name | nano |", f"| model: weights_sha256 | {'ab' * 32} |",
        "| setting: max_tokens | 64 |", "| version: torch | 2.13 |",
        "| command | unimedvl eval run small --model nano |",
    ):  # fmt: skip
        assert line in end


def test_several_results_stand_side_by_side_and_other_protocols_are_told(write_results: Callable[..., Path]) -> None:
    def otherwise(content: dict) -> None:
        content["benchmarks"][0]["protocol"] = content["benchmarks"][0]["protocol"] | {"split": "validation"}

    text = report([read_results(write_results("a")), read_results(write_results("b", right=20, change=otherwise))])
    first = section(text, "VQA-RAD")
    assert "a: figure (95 %)" in first and "b: figure (95 %)" in first
    assert "The protocols differ" in first and "Protocol of b:" in first
    assert "The protocols differ" not in section(text, "Text to image")
    assert "### a" in text and "### b" in text


def test_no_results_are_refused() -> None:
    for write in (report, scoreboard):
        with pytest.raises(EvaluationError, match="at least one folder"):
            write([])


def test_written_reports_link_plots_that_are_there(results_folder: Path) -> None:
    file = write_report(results_folder)
    linked = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", file.read_text())
    assert linked == [
        *(f"plots/vqa-rad-{kind}.svg" for kind in ("published-accuracy", "modality", "reliability", "risk-coverage")),
        "plots/staining-published-psnr.svg", "plots/staining-published-ssim.svg",
        "plots/text-to-image-published-frechet-distance.svg", "plots/text-to-image-modality.svg",
    ]  # fmt: skip
    for name in linked:
        ElementTree.parse(results_folder / name)
    assert "<article" in (results_folder / "gallery.html").read_text()
    assert not list(results_folder.rglob("*.part"))


def test_writing_again_gives_the_same_files(results_folder: Path) -> None:
    def files() -> dict[str, bytes]:
        return {str(f): f.read_bytes() for f in results_folder.rglob("*") if f.is_file()}

    write_report(results_folder)
    first = files()
    write_report(results_folder)
    assert files() == first


def test_where_one_file_cannot_be_written_none_is(results_folder: Path) -> None:
    (results_folder / "plots" / "vqa-rad-published-accuracy.svg.part").mkdir(parents=True)
    with pytest.raises(EvaluationError, match="vqa-rad-published-accuracy.svg: "):
        write_report(results_folder)
    assert not (results_folder / "report.md").exists() and not (results_folder / "gallery.html").exists()
    assert not [f for f in results_folder.rglob("*.part") if f.is_file()]


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no such file; `unimedvl eval run` writes it"):
        write_report(tmp_path)


def test_the_scoreboard_goes_between_the_markers_of_a_file_and_again_changes_nothing(
    results_folder: Path, tmp_path: Path
) -> None:
    board = scoreboard([read_results(results_folder)])
    assert board.startswith(START) and board.endswith(END)
    assert "*Simulated images. Not for clinical use.*" in board
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n\nbefore\n\n{START}\nold\n{END}\n\nafter\n")
    put_scoreboard([read_results(results_folder)], readme)
    once = readme.read_text()
    assert once == f"# Title\n\nbefore\n\n{board}\n\nafter\n" and "old" not in once
    put_scoreboard([read_results(results_folder)], readme)
    assert readme.read_text() == once


@pytest.mark.parametrize("text", ["nothing", START, END + START, (START + END) * 2, START + START + END])
def test_a_file_without_the_markers_once_each_is_refused_and_stays(
    results_folder: Path, tmp_path: Path, text: str
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(EvaluationError, match="needs the lines <!-- scoreboard --> and <!-- /scoreboard -->"):
        put_scoreboard([read_results(results_folder)], readme)
    assert readme.read_text() == text


def test_a_file_that_is_not_there_is_refused(results_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="README.md: No such file"):
        put_scoreboard([read_results(results_folder)], tmp_path / "README.md")
