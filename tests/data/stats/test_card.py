"""A stage's numbers add up, and the page shows them without anything from elsewhere."""

from __future__ import annotations

import re
import tracemalloc
import xml.etree.ElementTree as ET

from unimedvl.data.record import Decision, Message, Picture, Record
from unimedvl.data.stats.card import card
from unimedvl.data.stats.count import count_stage
from unimedvl.data.stats.plots import bars, histogram
from unimedvl.data.stats.stages import Dropped, Stage
from unimedvl.data.stats.tally import Histogram


def record(number: int, **values) -> Record:
    text = "x" * (10 + number % 50)
    return Record.model_validate({
        "main_task_type": "understanding", "sub_task_type": "vqa", "modality": ("ct", "cxr")[number % 2],
        "dataset": "invented", "id": str(number), "input_img": (Picture(path="a.png", width=128 + number, height=200),),
        "message": (Message(speaker="gpt", value=text),), **values,
    })  # fmt: skip


def scored(number: int, kept: bool) -> Record:
    return record(number).decided(
        Decision(rule="match", kept=kept, by="a test", score=number / 10, reason="" if kept else "<too low>")
    )


def items():
    yield from (scored(number, number >= 4) for number in range(10))
    yield Dropped("text-length", "3 characters", "invented 77")
    yield Dropped("quarantined", "no image")


def test_the_numbers_add_up():
    told = count_stage(Stage("read", items())).numbers()
    assert told["items"] == 12 and told["records"] == 6
    assert sum(d["count"] for d in told["dropped"].values()) == 6 and told["dropped"]["match"]["count"] == 4
    for group in ("modality", "task", "split", "source", "licence", "images"):
        assert sum(told[group].values()) == 6
    assert told["modality"] == {"ct": 3, "cxr": 3} and told["licence"] == {"not stated": 6}
    assert told["characters"]["min"] == 14 and told["shortest_side"]["max"] == 137
    bins = told["scores"]["match"]["bins"]
    assert sum(b["kept"] for b in bins) == 6 and sum(b["dropped"] for b in bins) == 4
    assert told["dropped"]["match"]["examples"][0] == {"where": "invented 0", "reason": "<too low>"}


def test_every_item_is_told_as_done():
    done = []
    count_stage(Stage("s", (record(n) for n in range(250))), done.append)
    assert sum(done) == 250 and len(done) > 2


def test_the_page_shows_stages_side_by_side_and_reasons():
    first = count_stage(Stage("read", items()))
    second = count_stage(Stage("alignment", [record(5), record(7)]))
    text = card([first, second], "Invented")
    assert text == card([first, second], "Invented")
    assert "Before and after each stage" in text and "&lt;too low&gt;" in text and "<too low>" not in text
    assert re.search(r'<td>alignment</td><td class="number">2</td><td class="number">2</td>', text)
    assert "<script" not in text and not re.search(r"(src|href|url)\s*[=(]", text)
    assert "Before and after" not in card([first], "Invented")
    assert "no patient behind them: &lt;a&gt;, b." in card([first], "Invented", ["<a>", "b"])


def test_images_of_what_a_build_calls_simulated_count_as_simulated():
    found = [record(1), record(2, dataset="other"), record(3, input_img=())]
    assert count_stage(Stage("s", found), simulated=["invented"]).numbers()["images"] == {
        "as the source has them": 1, "none": 1, "simulated": 1,
    }  # fmt: skip


def test_plots_are_svg_and_say_in_words_what_they_show():
    values = Histogram()
    for number in range(10):
        values.add(number / 10, kept=number > 3)
    for plot in (bars({"<ct>": 5, "cxr": 1}, "Modality"), histogram(values, "Score"), bars({}, "None")):
        drawn = ET.fromstring(plot)
        assert drawn.get("role") == "img" and drawn.get("aria-label")
    assert "10 values from 0 to 0.9" in histogram(values, "Score")
    same = Histogram()
    same.add(128.0)
    assert histogram(same, "Side").count("<text") == 1  # one value has no two ends
    many = bars({f"name {n}": 30 - n for n in range(30)}, "Many", most=12)
    assert "18 more 171" in ET.fromstring(many).get("aria-label")


def test_memory_does_not_grow_with_the_records():
    def peak(count: int) -> int:
        stream = (record(n, modality=f"m{n}", licence=f"l{n}") for n in range(count))
        tracemalloc.start()
        count_stage(Stage("s", stream))
        (_, most), _ = tracemalloc.get_traced_memory(), tracemalloc.stop()
        return most

    assert peak(6000) < 1.3 * peak(3000)
