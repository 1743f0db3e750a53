"""Stage 3: the sample, the ratings' CSV, the verdict, agreement and the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimedvl.data.error import DataError
from unimedvl.data.quality.agreement import agreement, alpha
from unimedvl.data.quality.audit import DIMENSIONS, Rating, allocate, evaluate, stratified_sample
from unimedvl.data.quality.audit_report import report
from unimedvl.data.quality.ratings import COLUMNS, make_rating, read_ratings, write_ratings
from unimedvl.data.record import Message, Record

BEST = {d.name: d.most for d in DIMENSIONS}


def record(name, modality="cxr"):
    return Record(
        main_task_type="understanding", sub_task_type="vqa", modality=modality, dataset="invented", id=str(name),
        message=(Message(speaker="gpt", value="An invented text."),),
    )  # fmt: skip


def rating(name, rater="ann", share=1.0, **more):
    return Rating(rater, "invented", str(name), {n: s * share for n, s in BEST.items()}, **more)


# Sample ------------------------------------------------------------------------------------------


def test_the_published_dimensions():
    assert [(d.name, d.most) for d in DIMENSIONS] == [
        ("modality_match", 1), ("factual_accuracy", 5), ("completeness", 5), ("position_and_quantity", 5),
        ("professionalism", 5), ("planning_coherence", 5), ("clinical_reasoning", 5),
    ]  # fmt: skip


def test_the_sample_has_each_modalitys_share_whatever_the_order():
    records = [record(k, "cxr" if k % 10 < 7 else "ct") for k in range(1000)] + [
        record(k, "oct") for k in "ab"
    ]
    sample = stratified_sample(records, seed=1)
    # exact shares are 139.7, 59.9 and 0.4
    assert Counter(r.modality for r in sample) == {"cxr": 139, "ct": 60, "oct": 1}
    assert len({(r.dataset, r.id) for r in sample}) == 200
    assert stratified_sample(records[::-1], seed=1) == sample
    assert stratified_sample(iter(records), seed=2) != sample
    assert len(stratified_sample(records[:50])) == 50


def test_every_record_is_as_likely_as_another():
    records = [record(k) for k in range(20)]
    drawn = Counter(r.id for seed in range(400) for r in stratified_sample(records, 5, seed))
    assert len(drawn) == 20 and all(60 <= n <= 140 for n in drawn.values())  # 100 expected, deviation 8.7


def test_a_sample_smaller_than_the_modalities_is_refused():
    with pytest.raises(DataError, match="sample size is 1; it must be at least 2"):
        stratified_sample([record(1), record(2, "ct")], 1)


@given(
    st.dictionaries(st.text("abcdef", min_size=1), st.integers(1, 5000), min_size=1, max_size=12),
    st.integers(12, 300),
)
def test_shares_add_up_with_at_least_one_and_at_most_all(counts, size):
    shares = allocate(counts, size)
    assert sum(shares.values()) == min(size, sum(counts.values()))
    assert all(1 <= shares[n] <= counts[n] for n in counts)
    for name in counts:  # never two above its exact share, but for the one that each gets
        assert shares[name] <= 1 + size * counts[name] / sum(counts.values())


# Ratings -----------------------------------------------------------------------------------------


def test_ratings_survive_the_csv(tmp_path):
    file = tmp_path / "ratings.csv"
    partly = Rating(
        "bob", "invented", "2", {"modality_match": 0.5, "completeness": 1 / 3}, 'two\nlines, "quoted"'
    )
    assert write_ratings(file, [rating(1), partly]) == 2
    assert file.read_text().splitlines()[1] == "ann,invented,1,1,5,5,5,5,5,5,"
    assert read_ratings(file) == [rating(1), replace(partly, comment='two lines, "quoted"')]
    assert list(tmp_path.iterdir()) == [file]


def test_a_spreadsheets_file_is_read(tmp_path):
    file = tmp_path / "ratings.csv"
    header = "\ufeffcompleteness, rater,dataset,record,modality_match,factual_accuracy,position_and_quantity,"
    header += "professionalism,planning_coherence,clinical_reasoning"
    file.write_text(header + "\r\n4.5,ann,invented,1,1,5,5,5,,5\r\n", encoding="utf-8", newline="")
    (read,) = read_ratings(file)
    assert read.scores == {n: s for n, s in BEST.items() if n != "planning_coherence"} | {"completeness": 4.5}


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("factual_accuracy", "6", "factual_accuracy: expected 0 to 5, found '6'"),
        ("modality_match", "2", "modality_match: expected 0 to 1, found '2'"),
        ("completeness", "-0.5", "completeness: expected 0 to 5, found '-0.5'"),
        ("completeness", "good", "completeness: expected 0 to 5, found 'good'"),
        ("completeness", "nan", "completeness: expected 0 to 5, found 'nan'"),
        ("rater", " ", "rater: empty"),
        ("record", "", "record: empty"),
        ("record", "1", "ann rates invented/1 again, after row 2"),
    ],
)
def test_a_wrong_value_names_row_column_and_range(tmp_path, column, value, problem):
    file = tmp_path / "ratings.csv"
    write_ratings(file, [rating(1), rating(2)])
    lines = [line.split(",") for line in file.read_text().splitlines()]
    lines[2][COLUMNS.index(column)] = value
    file.write_text("\n".join(map(",".join, lines)))
    with pytest.raises(DataError) as raised:
        read_ratings(file)
    assert str(raised.value) == f"{file}: row 3: {problem}"


def test_a_row_or_a_column_that_is_not_right_is_an_error(tmp_path):
    file = tmp_path / "ratings.csv"
    file.write_text("rater,record\nann,1\n")
    with pytest.raises(
        DataError, match="row 2: no column dataset; the columns are rater, dataset, record, modality_match"
    ):
        read_ratings(file)
    file.write_text(",".join(COLUMNS) + "\nann,invented,1\n")
    with pytest.raises(DataError, match=f"row 2: expected {len(COLUMNS)} cells, found 3"):
        read_ratings(file)
    values = dict.fromkeys(COLUMNS, "") | {"rater": "ann", "dataset": "invented", "record": "1"}
    with pytest.raises(DataError, match="form: no dimension is rated"):
        make_rating(values, "form")
    with pytest.raises(DataError, match="form: unknown column 'mood'"):
        make_rating(values | {"mood": 1}, "form")
    with pytest.raises(DataError, match="modality_match: expected 0 to 1, found True"):
        make_rating(values | {"modality_match": True}, "form")
    with pytest.raises(DataError, match="No such file"):
        read_ratings(tmp_path / "none.csv")


# Verdict -----------------------------------------------------------------------------------------


def test_means_by_rater_modality_and_dimension():
    sample = [record(1), record(2), record(3, "ct")]
    ratings = [
        rating(1), rating(1, "bob", 0.5), rating(2, share=0.9), rating(3, "bob", 0.6),
    ]  # fmt: skip
    got = evaluate(sample, ratings)
    assert got.mean == pytest.approx((0.75 + 0.9 + 0.6) / 3) and got.verdict == "rejected"
    assert {n: (m.count, pytest.approx(m.mean)) for n, m in got.by_rater.items()} == {
        "ann": (2, 0.95),
        "bob": (2, 0.55),
    }
    assert {n: (m.count, pytest.approx(m.mean)) for n, m in got.by_modality.items()} == {
        "cxr": (2, 0.825),
        "ct": (1, 0.6),
    }
    assert got.by_dimension["completeness"].mean == pytest.approx(0.75)
    assert (got.sampled, got.rated, got.ratings) == (3, 3, 4)


@pytest.mark.parametrize(("share", "verdict"), [(0.85, "accepted"), (0.8499, "rejected")])
def test_it_is_accepted_from_085_on(share, verdict):
    sample = [record(k) for k in range(7)]
    assert evaluate(sample, [rating(k, share=share) for k in range(7)]).verdict == verdict


def test_a_dimension_that_does_not_apply_counts_for_nothing():
    partly = Rating("ann", "invented", "1", {"modality_match": 1.0, "completeness": 4.0})
    got = evaluate([record(1)], [partly])
    assert got.mean == pytest.approx(0.9)
    assert (got.by_dimension["planning_coherence"].count, got.by_dimension["planning_coherence"].mean) == (
        0,
        None,
    )


def test_unrated_records_leave_the_verdict_open_and_strange_ratings_are_errors():
    sample = [record(1), record(2)]
    assert evaluate(sample, [rating(1)]).verdict == "incomplete"
    with pytest.raises(DataError, match="ann on invented/3: this record is not in the sample"):
        evaluate(sample, [rating(3)])
    with pytest.raises(DataError, match="ann on invented/1: rated twice"):
        evaluate(sample, [rating(1), rating(1)])
    with pytest.raises(DataError, match="no ratings"):
        evaluate(sample, [])


# Agreement ---------------------------------------------------------------------------------------


def units(*raters):
    return [
        {str(r): v for r, v in enumerate(column) if v is not None} for column in zip(*raters, strict=True)
    ]


# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section E: four observers, twelve units.
_ = None
PUBLISHED = units(
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
)


def test_alpha_of_the_published_example():
    assert alpha(PUBLISHED) == pytest.approx(0.849, abs=5e-4)


def test_alpha_is_one_where_all_agree_and_undefined_where_nothing_can_be_told():
    assert alpha(units([1, 2, 3], [1, 2, 3])) == pytest.approx(1)
    assert alpha(units([0, 5], [5, 0])) < 0
    assert alpha([]) is None
    assert alpha(units([1, 2, _], [_, _, 3])) is None  # no unit has two raters
    assert alpha(units([4, 4, 1], [4, 4, _])) is None  # where they can be compared, all values are the same


def by_pairs(rated) -> float:
    """Alpha by the definition that compares every value with every other, within units and over all."""
    values = [list(u.values()) for u in rated if len(u) > 1]
    pool = [v for unit in values for v in unit]
    observed = sum(apart(u) / (len(u) - 1) for u in values) / len(pool)
    return 1 - observed / (apart(pool) / (len(pool) * (len(pool) - 1)))


def apart(values) -> float:
    return sum((a - b) ** 2 for a in values for b in values)


marks = st.dictionaries(st.sampled_from("abcde"), st.sampled_from([0, 1, 2.5, 4, 5]), min_size=0, max_size=5)


@given(st.lists(marks, max_size=20))
def test_alpha_is_that_of_its_definition(rated):
    found = alpha(rated)
    if found is not None:
        assert found == pytest.approx(by_pairs(rated), abs=1e-9)
    else:
        assert len({v for u in rated if len(u) > 1 for v in u.values()}) < 2


def test_agreement_is_told_by_dimension_and_of_whole_ratings():
    ratings = [rating(k, rater, share) for k, share in enumerate((1.0, 0.6, 0.2)) for rater in ("ann", "bob")]
    ratings[0] = replace(ratings[0], scores=ratings[0].scores | {"completeness": 0.0})
    found = agreement(ratings)
    assert list(found) == [d.name for d in DIMENSIONS] + ["overall"]
    assert found["professionalism"] == pytest.approx(1) and found["completeness"] < 0.5 < found["overall"] < 1


# Report ------------------------------------------------------------------------------------------


def test_the_report_tells_verdict_means_and_agreement():
    sample = [record(1), record(2, "ct"), record(3, "us")]
    ratings = [rating(1, "ann | lee"), rating(2, "ann | lee", 0.5), rating(1, "bob", 0.9)]
    text = report(evaluate(sample, ratings), {"completeness": 0.75, "overall": None})
    assert "**Incomplete**: 1 of 3 sampled records have no rating yet." in text
    assert "3 ratings by 2 raters on 2 of 3 sampled records." in text
    assert "| Completeness | 0 to 5 | 3 | 4.000 | 0.800 | 0.750 |" in text
    assert "| Modality match | 0 to 1 | 3 | 0.800 | 0.800 | - |" in text
    assert "| ann \\| lee | 2 | 0.750 |" in text and "| bob | 1 | 0.900 |" in text
    assert "| ct | 1 | 1 | 0.500 | low |" in text and "| us | 1 | 0 | - |  |" in text
    assert "alpha -" in text
    accepted = report(evaluate(sample[:1], ratings[:1]))
    assert "**Accepted**.\nMean 1.000; accepted at 0.85 or more." in accepted and "Agreement" not in accepted
