"""Records that repeat another are dropped; the report says which, and its counts add up."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unimedvl.data.duplicates.records import find_repeats, repeats_report
from unimedvl.data.miniatures.paint import encoded, picture

ONE, COPY = encoded(picture("his", 1), "PNG"), encoded(picture("his", 1), "JPEG")
OTHER = encoded(picture("his", 2), "PNG")


@pytest.fixture
def repeats(search):
    def find(samples):
        s = search(samples)
        return s, find_repeats(s.prints, s.images, s.texts)

    return find


def test_a_record_of_the_same_images_and_text_is_dropped_and_says_of_which(sample, repeats):
    s, found = repeats(
        [
            sample("0", ONE, asked="What is it?"),
            sample("1", ONE, asked="what is it"),
            sample("2", COPY, asked="What is it?", dataset="other"),
            sample("3", ONE, asked="What else is it?"),
            sample("4", OTHER, asked="What is it?"),
            sample("5", ONE, OTHER, asked="What is it?"),
            sample("6", asked="What is it?"),
            sample("7", asked="What is it?"),
        ]
    )
    assert list(found.of) == [-1, 0, 0, -1, -1, -1, -1, 6]
    decisions = [found.decision(n, s.prints) for n in range(8)]
    assert [d.rule for d in decisions if not d.kept] == [
        "exact-duplicate",
        "near-duplicate",
        "exact-duplicate",
    ]
    assert decisions[2].reason == "the same picture and text as demo 0" and decisions[0].kept
    report = repeats_report(s.prints, s.images, s.texts, found)
    assert (report.read, report.kept) == (8, 5)
    assert report.dropped == {"exact-duplicate": 2, "near-duplicate": 1}
    assert [(c.source, c.read, c.kept) for c in report.sources] == [("demo", 7, 5), ("other", 1, 0)]
    assert report.notes["images of unequal pixels joined as one picture"] == 1


def test_reading_an_image_and_drawing_it_are_not_the_same_record(sample, repeats):
    caption = dict(asked="Tissue.", said="Tissue.")
    _, found = repeats([sample("0", ONE, **caption), sample("1", ONE, outputs=1, **caption)])
    assert list(found.of) == [-1, -1]


def test_records_of_evaluation_splits_stay_and_what_repeats_them_goes(sample, repeats):
    s, found = repeats(
        [
            sample("0", ONE, asked="What is it?", split="train"),
            sample("1", ONE, asked="What is it?", split="test"),
            sample("2", ONE, asked="What is it?", split="validation"),
        ]
    )
    assert list(found.of) == [1, -1, -1] and found.protected == 1
    assert found.decision(0, s.prints).reason == "the same pixels and words as demo 1"


def test_the_same_words_of_two_patients_are_two_records(sample, repeats):
    _, found = repeats(
        [
            sample("0", asked="Report?", said="Normal.", patient="a"),
            sample("1", asked="Report?", said="Normal.", patient="b"),
            sample("2", asked="Report?", said="Normal.", patient="b"),
            sample("3", asked="Report?", said="Normal.", patient="b", dataset="other"),
        ]
    )
    assert list(found.of) == [-1, -1, 1, 0] and found.spared == 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "p", "q"]),
                                st.sampled_from(["train", "test"])), max_size=12))  # fmt: skip
def test_counts_add_up_and_what_is_dropped_has_one_like_it_that_stays(sample, repeats, kinds):
    samples = [
        sample(str(n), asked=word, patient=who, split=split) for n, (word, who, split) in enumerate(kinds)
    ]
    s, found = repeats(samples)
    report = repeats_report(s.prints, s.images, s.texts, found)
    assert report.read == len(samples) == report.kept + sum(report.dropped.values())
    for record, other in enumerate(found.of.tolist()):
        if other >= 0:
            (word, who, split), (theirs, whose, _) = kinds[record], kinds[other]
            assert found.of[other] < 0 and word == theirs and split == "train"
            assert not who or not whose or who == whose
