"""The page of inputs, predictions and truths."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from unimedvl.evaluation.gallery import gallery
from unimedvl.evaluation.results import Results, read_results


class Page(HTMLParser):
    """Tags with their attributes, and the text of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"

    def every(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def shown(folder: Path, **limits: int) -> Page:
    return Page(gallery(read_results(folder), **limits))


def edit(results: Results, benchmark: str, change: Callable[[list[dict]], object]) -> None:
    lines = results.items(benchmark)
    change(lines)
    file = results.folder / "items" / f"{benchmark}.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_every_item_is_told_by_outcome_and_modality_for_the_filters(results_folder: Path) -> None:
    cards = shown(results_folder).every("article")
    outcomes = [c["data-outcome"] for c in cards if c["data-benchmark"] == "vqa-rad"]
    assert (outcomes.count("right"), outcomes.count("wrong"), outcomes.count("failed")) == (15, 8, 1)
    stains = [c for c in cards if c["data-benchmark"] == "staining"]
    assert [c["data-outcome"] for c in stains] == ["not judged"] * 5 + ["failed"]
    assert {c["data-modality"] for c in stains} == {"his"}


def test_outcomes_are_told_in_words_and_signs(results_folder: Path) -> None:
    text = shown(results_folder).text
    assert (text.count("✓ right"), text.count("✗ wrong"), text.count("! failed")) == (16, 9, 3)  # with the filter's own


def test_filters_offer_what_there_is(results_folder: Path) -> None:
    page = shown(results_folder)
    assert [s["name"] for s in page.every("select")] == ["benchmark", "outcome", "modality"]
    assert [o["value"] for o in page.every("option")] == [
        "", "vqa-rad", "staining", "text-to-image", "", "right", "wrong", "failed", "not judged",
        "", "ct", "cxr", "his",
    ]  # fmt: skip


def test_input_prediction_and_truth_are_there_with_words_for_each(results_folder: Path) -> None:
    images = {i["alt"]: i for i in shown(results_folder).every("img")}
    assert {"input of s0", "prediction of s0", "truth of s0"} <= set(images)
    head, data = images["truth of s0"]["src"].split(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.getpixel((0, 0)) == (90, 90, 90)


def test_nothing_comes_from_elsewhere(results_folder: Path) -> None:
    html = gallery(read_results(results_folder))
    sources = [a["src"] for _, a in Page(html).tags if "src" in a]
    assert sources and all(s.startswith("data:image/png;base64,") for s in sources)
    assert not any("href" in a for _, a in Page(html).tags)
    assert not re.search(r"https?:|@import|url\(|fetch\(", re.sub(r"base64,[^\"]*", "", html))


def test_the_top_says_what_the_images_are_and_that_nothing_is_for_clinical_use(
    write_results: Callable[..., Path],
) -> None:
    page = shown(write_results("a"))
    assert "Simulated images. Not for clinical use." in page.text.partition("items of each benchmark")[0]
    silent = shown(write_results("b", change=lambda c: c.pop("notice"))).text.partition("items of each benchmark")[0]
    assert "Simulated images." in silent and "Not for clinical use." in silent


def test_text_is_escaped(results_folder: Path) -> None:
    results = read_results(results_folder)
    bad = "</dd><script>alert(1)</script>\"'"
    edit(results, "vqa-rad", lambda lines: lines[0].update(id=bad, prediction=bad, groups={"modality": bad}))
    page = shown(results_folder)
    assert len(page.every("script")) == 1
    assert page.every("article")[0]["data-modality"] == bad
    assert "Is <b>fluid</b> seen | or air?" in page.text


def test_limits_are_kept_and_declared(results_folder: Path) -> None:
    page = shown(results_folder, most=3, side=8)
    assert len(page.every("article")) == 9
    assert all(int(i["width"]) <= 8 for i in page.every("img"))
    assert "At most 3 items" in page.text and "at most 8 pixels" in page.text and "3 of 24 items" in page.text


def test_items_with_images_come_first_then_those_that_failed(results_folder: Path) -> None:
    def forget(lines: list[dict]) -> None:
        for line in lines[:20]:
            line.update(images=[])
        lines[23].update(images=[])

    edit(read_results(results_folder), "vqa-rad", forget)
    four, five = (re.findall(r"^q\d+$", shown(results_folder, most=most).text, re.M) for most in (4, 5))
    assert four == ["q20", "q21", "q22", "q23"]
    assert five == ["q0", *four]  # shown in order


def test_a_page_that_is_full_leaves_images_out_and_says_so(results_folder: Path) -> None:
    page = shown(results_folder, room=1000)
    assert 0 < len(page.every("img")) < 12
    assert "left out: the page has as many images as it may" in page.text


def test_an_image_that_cannot_be_shown_does_not_end_the_page(results_folder: Path) -> None:
    results = read_results(results_folder)
    (results_folder / "images" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (results_folder.parent / "secret.png").write_bytes((results_folder / "images/staining/s0-0.png").read_bytes())
    names = ["images/bad.png", "images/gone.png", "../secret.png"]
    edit(results, "staining", lambda lines: lines[0].update(images=names))
    text = shown(results_folder).text
    assert "not shown: images/bad.png: " in text
    assert "not shown: images/gone.png: No such file or directory" in text
    assert "not shown: its file is outside the results" in text


def test_a_long_text_is_all_there_and_opens(results_folder: Path) -> None:
    long = "word " * 300 + "end"
    edit(read_results(results_folder), "vqa-rad", lambda lines: lines[0].update(prediction=long))
    page = shown(results_folder)
    assert len(page.every("details")) == 1 and "the rest" in page.text and "word end" in page.text


def test_the_same_results_give_the_same_page(results_folder: Path) -> None:
    assert gallery(read_results(results_folder)) == gallery(read_results(results_folder))
