"""Texts that say the same are found, and those that differ in what matters are not."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unimedvl.data.duplicates.prints import loaders, take_prints
from unimedvl.data.duplicates.texts import TextSettings, group_texts, jaccard
from unimedvl.data.error import DataError

REPORT = (
    "The heart is of usual size and the mediastinum is in its place. There is a round shadow of 12 mm in the left "
    "upper lobe, with a sharp border, that was not seen before. The pleural space is free and the ribs are whole. "
    "The tip of the tube lies well above the carina, and the line ends in the vena cava."
)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda t: t.upper(), True),
        (lambda t: t.replace(". ", ".\n\n"), True),
        (lambda t: t.replace("usual size", "usual width"), True),
        (lambda t: t + " End of report.", True),
        (lambda t: t.replace("left", "right"), False),
        (lambda t: t.replace("12 mm", "21 mm"), False),
        (lambda t: t.replace("was not seen", "was seen"), False),
        (lambda t: " ".join(reversed(t.split())), False),
        (lambda t: t[: len(t) // 2], False),
    ],
)
def test_a_report_and_its_changed_copy(sample, search, change, same):
    others = [
        sample(str(n), said=f"Another report, number {n}, of a knee without any finding.") for n in range(9)
    ]
    first, last = (
        sample(name, asked="Write it.", said=said) for name, said in (("a", REPORT), ("b", change(REPORT)))
    )
    found = search([first, *others, last]).texts
    assert found.group[-1] == (0 if same else 10)
    assert len(set(found.group[:-1])) == 10


def test_short_texts_are_the_same_only_word_by_word(sample, search):
    asked = ["Is there a nodule?", "is there a NODULE", "Is there a nodule here?", "Is there any nodule?"]
    found = search(sample(str(n), asked=a) for n, a in enumerate(asked)).texts
    assert list(found.group) == [0, 0, 2, 3] and list(found.same) == [0, 0, 2, 3]


def test_chinese_text_is_found_by_its_characters(sample, search):
    said = "胸部正位片显示心影大小正常纵隔居中双肺纹理清晰未见明显实质性病变肋膈角锐利骨质结构完整"
    found = search(
        [sample("a", asked="?", said=said), sample("b", asked="?", said=said.replace("显示", "提示"))]
    ).texts
    assert list(found.group) == [0, 0]


def test_every_pair_of_at_least_the_threshold_is_confirmed_by_both_texts(sample, search):
    words = [f"word{n}".translate(str.maketrans("0123456789", "abcdefghij")) for n in range(60)]
    samples = [sample(str(k), asked="?", said=" ".join(words[k:] + ["other"] * k)) for k in range(6)]
    prints, _ = take_prints(samples)
    text = loaders(samples.__getitem__, prints)[1]
    strict = group_texts(prints, text, TextSettings(jaccard=1.0))
    assert len(set(strict.group)) == 6
    assert len(set(group_texts(prints, text, TextSettings(jaccard=0.9)).group)) < 6


def test_the_same_text_of_hundreds_is_compared_once_at_most(sample, search):
    found = search(sample(str(n), asked="Write the report.", said=REPORT) for n in range(300)).texts
    assert set(found.group) == {0} and found.compared == 0


def test_a_text_that_is_gone_is_a_fault_and_joins_nothing(sample):
    samples = [sample("a", asked="?", said=REPORT), sample("b", asked="?", said=REPORT + " End.")]
    prints, _ = take_prints(samples)

    def load(record: int) -> str:
        raise DataError("shard is gone")

    found = group_texts(prints, load)
    assert list(found.group) == [0, 1] and {f.reason for f in found.faults} == {"shard is gone"}


@given(st.frozensets(st.text("abc", max_size=2)), st.frozensets(st.text("abc", max_size=2)))
def test_jaccard_is_a_part_of_one_and_the_same_both_ways(one, other):
    assert 0 <= jaccard(one, other) == jaccard(other, one) <= 1
    assert (jaccard(one, other) == 1) == (one == other)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(8)))
def test_the_order_of_records_changes_nothing(sample, search, order):
    endings = [
        "",
        " End.",
        " End of it.",
        " The end.",
        " So far.",
        " So far, and no more of it.",
        " End",
        " Thus.",
    ]
    samples = [sample(str(n), asked="?", said=REPORT + end) for n, end in enumerate(endings)]
    straight = search(samples).texts.group
    mixed = search(samples[n] for n in order).texts.group
    for i, one in enumerate(order):
        for j, other in enumerate(order):
            assert (straight[one] == straight[other]) == (mixed[i] == mixed[j])
