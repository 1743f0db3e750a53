"""Splits by patient: none is in two, whatever the order, and evaluation splits of sources stay."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from unimedvl.data.duplicates.splits import SplitSettings, split_records, splits_report
from unimedvl.data.miniatures.paint import encoded, picture

IMAGES = [encoded(picture("his", n, 64), "PNG") for n in range(4)]
HALVES = SplitSettings(validation=0.25, test=0.25)
RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["", "p", "q", "r", "s", "t"]),  # patient
        st.sampled_from([None, 0, 1, 2, 3]),  # image
        st.sampled_from([None, None, "train", "validation", "test"]),
    ),
    min_size=1,
    max_size=14,
)


def made(sample, records):
    return [
        sample(str(n), *([] if image is None else [IMAGES[image]]), patient=patient, split=split)
        for n, (patient, image, split) in enumerate(records)
    ]


def names(search, samples, chosen=HALVES):
    s = search(samples)
    splits = split_records(s.prints, s.images, chosen)
    return [splits.name(n) for n in range(len(samples))]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=RECORDS, order=st.randoms(use_true_random=False))
def test_no_patient_or_image_reaches_two_splits_in_any_order(sample, search, records, order):
    samples = made(sample, records)
    found = names(search, samples)
    # What sources put into evaluation stays, and apart from that nothing is shared.
    assert all(
        f == split for f, (*_, split) in zip(found, records, strict=True) if split in ("validation", "test")
    )
    for one, (patient, image, split) in enumerate(records):
        for other, (whose, shown, theirs) in enumerate(records):
            shared = (patient and patient == whose) or (image is not None and image == shown)
            held = {split, theirs} == {"validation", "test"}
            if shared and found[one] and found[other] and not held:
                assert found[one] == found[other]
    shuffled = list(range(len(samples)))
    order.shuffle(shuffled)
    assert names(search, [samples[n] for n in shuffled]) == [found[n] for n in shuffled]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=RECORDS)
def test_counts_add_up(sample, search, records):
    s = search(made(sample, records))
    splits = split_records(s.prints, s.images, HALVES)
    report = splits_report(s.prints, splits)
    placed = sum(report.tables["Records by split"]["demo"].values())
    assert report.read == len(records) and report.kept == placed
    assert report.dropped.get("shared-with-evaluation", 0) == len(records) - placed


def test_a_training_record_that_shares_with_a_test_record_is_left_out_and_says_so(sample, search):
    samples = made(sample, [("p", 0, "test"), ("p", None, "train"), ("", 0, "train"), ("q", 1, "train")])
    s = search(samples)
    splits = split_records(s.prints, s.images)
    assert [splits.name(n) for n in range(4)] == ["test", None, None, "train"]
    decision = splits.decision(1, s.prints)
    assert not decision.kept and decision.reason.startswith("shares a patient, study or image with demo 0,")
    assert splits.decision(3, s.prints).kept


def test_links_hold_over_any_steps(sample, search):
    # p and q have an image in common, q and r another: all three go together.
    samples = made(
        sample, [("p", 0, None), ("q", 0, None), ("q", 1, None), ("r", 1, None), ("r", None, None)]
    )
    for seed in range(8):
        assert len(set(names(search, samples, SplitSettings(validation=0.3, test=0.3, seed=seed)))) == 1


def test_a_study_links_records_without_a_patient_and_its_number_links_no_two_patients(sample, search):
    without = [sample(str(n), study="case 7") for n in range(6)]
    assert len(set(names(search, without))) == 1
    # Some sources number the studies of each patient from 1.
    numbered = [sample(str(n), study="1", patient=f"p{n}") for n in range(60)]
    assert len(set(names(search, numbered))) == 3


def test_fractions_are_kept_and_another_seed_draws_others(sample, search):
    samples = [sample(str(n), patient=f"p{n}") for n in range(2000)]
    drawn = names(search, samples, SplitSettings(validation=0.1, test=0.2))
    assert 0.08 < drawn.count("validation") / 2000 < 0.12 and 0.17 < drawn.count("test") / 2000 < 0.23
    assert names(search, samples, SplitSettings(validation=0.1, test=0.2, seed=1)) != drawn
    # More patients change nothing for those that were there.
    more = [sample(f"x{n}", patient=f"x{n}") for n in range(50)]
    assert names(search, more + samples, SplitSettings(validation=0.1, test=0.2))[50:] == drawn


def test_training_of_a_source_stays_training_unless_it_may_be_drawn_from(sample, search):
    samples = [sample(str(n), patient=f"p{n}", split="train") for n in range(40)]
    assert set(names(search, samples)) == {"train"}
    drawn = SplitSettings(validation=0.25, test=0.25, keep_train=False)
    assert set(names(search, samples, drawn)) == {"train", "validation", "test"}


def test_patients_of_one_name_in_two_sources_are_two_unless_of_one_cohort(sample, search):
    both = [sample(d, dataset=d, patient="10000001") for d in ("mimic-cxr", "medical-diff-vqa")]
    for cohorts, groups in ((None, 2), ({"medical-diff-vqa": "mimic-cxr"}, 1)):
        s = search(both, cohorts=cohorts)
        assert len(set(split_records(s.prints, s.images).group.tolist())) == groups


def test_fractions_over_one_are_an_error():
    with pytest.raises(ValidationError, match=r"validation and test are 0.6 and 0.5; together at most 1"):
        SplitSettings(validation=0.6, test=0.5)
