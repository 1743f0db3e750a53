"""Stage 2: what is measured of a record, and which half of a set is kept."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimedvl.data.error import DataError
from unimedvl.data.quality.alignment import (
    AlignmentSettings,
    Cut,
    Instruments,
    Measurement,
    measure,
    measurement,
)
from unimedvl.data.record import Message, Record, parse_record
from unimedvl.data.source import pictures

ALL = AlignmentSettings(over="all")


class Says:
    """A captioner whose captions are the image's bytes, split at commas."""

    name = "captioner 1"

    def captions(self, image, record, n):
        return image.decode().split(",")


class Angles:
    """An encoder that reads a text as an angle in degrees; other words are at 0."""

    name = "encoder 1"
    length = 1.0

    def encode(self, texts):
        angles = np.radians([float(t) for t in texts])
        return self.length * np.stack([np.cos(angles), np.sin(angles)], axis=1)


class Lengths:
    """A matcher that likes long images."""

    name = "matcher 1"

    def match(self, images, texts):
        assert len(images) == len(texts)
        return np.array([len(i) for i in images])


INSTRUMENTS = Instruments(Says(), Angles(), Lengths())


def record(group="understanding", inputs=1, outputs=0, text="0", **more):
    return Record(
        main_task_type=group, sub_task_type="caption", modality="cxr", dataset="invented", id="1",
        input_img=pictures(f"in-{k}" for k in range(inputs)),
        output_img=pictures(f"out-{k}" for k in range(outputs)),
        message=(Message(speaker="human", value="<image>" * inputs + text),), **more,
    )  # fmt: skip


def scores(*args, captions=2):
    return [d.score for d in measure(*args, INSTRUMENTS, AlignmentSettings(captions=captions))]


def test_s_is_the_largest_cosine_of_text_and_captions():
    s, m = measure(record(), [b"90,60"], INSTRUMENTS, AlignmentSettings(captions=2))
    assert s.score == pytest.approx(0.5) and m.score == 5
    assert (s.rule, m.rule) == ("alignment-similarity", "alignment-match")
    assert s.kept and m.kept
    assert s.by == "unimedvl.data.quality.alignment 1: captioner 1, encoder 1" and m.by.endswith(
        "1: matcher 1"
    )


def test_the_described_images_are_the_inputs_or_the_outputs_and_the_best_counts():
    two = [b"60,90", b"180,120.0"]
    assert scores(record(inputs=2), two) == [pytest.approx(0.5), 9]
    assert scores(record("generation", 1, 1), two) == [pytest.approx(-0.5), 9]
    assert scores(record("understanding", 1, 1), two) == [pytest.approx(0.5), 5]


def test_text_alone_is_not_measured():
    assert measure(record(inputs=0), [], INSTRUMENTS) == ()
    assert measurement(record(inputs=0)) is None


def test_blank_captions_are_left_out_and_nothing_but_blanks_is_an_error():
    assert scores(record(), [b" ,60"])[0] == pytest.approx(0.5)
    with pytest.raises(DataError, match="captioner 1: all 2 captions are empty"):
        scores(record(), [b" ,"])


def test_an_instrument_that_breaks_its_promise_is_named():
    with pytest.raises(DataError, match="captioner 1: expected 3 captions, found 2"):
        scores(record(), [b"1,2"], captions=3)
    encoder, matcher = Angles(), Lengths()
    encoder.length = 2.0
    with pytest.raises(DataError, match="encoder 1: expected vectors of length 1, found 2 to 2"):
        measure(record(), [b"1"], Instruments(Says(), encoder, matcher), AlignmentSettings(captions=1))
    encoder.length, matcher.match = 1.0, lambda images, texts: np.array([np.nan])
    with pytest.raises(DataError, match="matcher 1: expected .1. finite scores"):
        measure(record(), [b"1"], Instruments(Says(), encoder, matcher), AlignmentSettings(captions=1))
    with pytest.raises(DataError, match="no text"):
        scores(record(text=" "), [b"1,2"])
    with pytest.raises(DataError, match="1 images for 2 pictures"):
        scores(record(inputs=2), [b"1,2"])


def test_a_measurement_survives_being_written():
    measured = record()
    for decision in measure(measured, [b"61.7"], INSTRUMENTS, AlignmentSettings(captions=1)):
        measured = measured.decided(decision)
    read = measurement(parse_record(measured.to_json(), "line 1"))
    assert read == measurement(measured)
    assert read.similarity == pytest.approx(math.cos(math.radians(61.7))) and read.match == 4


# The cut -----------------------------------------------------------------------------------------


def m(name, similarity, match=0.0, modality="cxr", dataset="a"):
    return Measurement(dataset, str(name), modality, similarity, match)


def kept(measured, settings=ALL):
    cut = Cut.over(measured, settings)
    return {x.id for x in measured if cut.decide(x).kept}


def test_the_score_is_half_of_s_and_m_after_scaling():
    # S' is 0, 0.5, 1, 0.25; M' is 1, 0, 0.5, 0.5
    measured = [m("a", 0.2, 30), m("b", 0.4, 10), m("c", 0.6, 20), m("d", 0.3, 20)]
    cut = Cut.over(measured, ALL)
    got = [cut.decide(x) for x in measured]
    assert [d.score for d in got] == pytest.approx([1.0, 0.25, 1.0, 0.625])
    assert [d.kept for d in got] == [True, False, True, False]
    assert got[1].rule == "alignment" and got[1].by == "unimedvl.data.quality.alignment 1"
    assert got[1].reason == "score 0.2500; of 4 records the upper 50% go down to 1.0000"


def test_modalities_are_scaled_and_cut_apart_unless_told_otherwise():
    measured = [m(0, 0.1), m(1, 0.2), m(2, 0.8, modality="ct"), m(3, 0.9, modality="ct")]
    assert kept(measured, AlignmentSettings()) == {"1", "3"}
    assert kept(measured) == {"2", "3"}
    with pytest.raises(DataError, match="a/9: no 'mri' records were compared"):
        Cut.over(measured).decide(m(9, 0.5, modality="mri"))


def test_ties_go_to_the_first_ids_whatever_the_order():
    measured = [m(name, 0.5) for name in "dbac"]
    assert kept(measured) == kept(measured[::-1]) == {"a", "b"}
    dropped = Cut.over(measured, ALL).decide(measured[0])
    assert dropped.score == 0.75 and ", which others by id come before" in dropped.reason
    same_id = [m("x", 0.5, dataset=name) for name in "dbac"]
    cut = Cut.over(same_id, ALL)
    assert {x.dataset for x in same_id if cut.decide(x).kept} == {"a", "b"}


def test_the_share_can_be_another_and_is_rounded_up():
    measured = [m(k, k) for k in range(10)]
    assert kept(measured, AlignmentSettings(over="all", share=0.7)) == set("3456789")
    assert kept(measured[:3]) == {"1", "2"} and kept(measured[:1]) == {"0"}


def test_what_can_be_read_once_is_refused():
    with pytest.raises(TypeError, match="read twice"):
        Cut.over(x for x in [m(0, 1.0)])


# Few values, so that there are many ties.
values = st.sampled_from([0.1, 0.2, 0.3, 0.7])
sets = st.lists(st.tuples(values, values, st.sampled_from(["cxr", "ct", "mri"])), min_size=1, max_size=40)


@given(sets, st.randoms(use_true_random=False))
def test_half_of_each_modality_is_kept_and_none_below_a_dropped_one(rows, random):
    measured = [m(k, *row) for k, row in enumerate(rows)]
    cut = Cut.over(measured)
    decided = {x: cut.decide(x) for x in measured}
    counts = Counter(x.modality for x in measured)
    for modality, count in counts.items():
        mine = [d for x, d in decided.items() if x.modality == modality]
        assert sum(d.kept for d in mine) == math.ceil(count / 2)
        low = min(d.score for d in mine if d.kept)
        assert all(d.score <= low for d in mine if not d.kept)
    shuffled = random.sample(measured, len(measured))
    again = Cut.over(shuffled)
    assert all(again.decide(x) == d for x, d in decided.items())
