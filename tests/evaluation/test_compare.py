"""Two models on the same items."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from unimedvl.evaluation.compare import Comparison, Counts, Difference, compare, holm
from unimedvl.evaluation.results import Results, read_results


def difference(comparison: Comparison, benchmark: str, metric: str) -> Difference:
    (found,) = (d for d in comparison.differences if (d.benchmark, d.metric) == (benchmark, metric))
    return found


def edit(results: Results, benchmark: str, change: Callable[[list[dict]], object]) -> None:
    file = results.folder / "items" / f"{benchmark}.jsonl"
    lines = results.items(benchmark)
    change(lines)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def pair(write_results: Callable[..., Path]) -> tuple[Results, Results]:
    """A has 4 of 24 questions right, B these and 16 more; B's stains are 2 dB better."""
    return read_results(write_results("a", right=4)), read_results(write_results("b", right=20, psnr=22.0))


def test_accuracies_are_compared_item_by_item_with_mcnemars_counts(pair: tuple[Results, Results]) -> None:
    found = difference(compare(*pair), "vqa-rad", "accuracy")
    assert (found.a, found.b, found.value) == pytest.approx((4 / 24, 20 / 24, 16 / 24))
    assert found.counts == Counts(both=4, only_a=0, only_b=16, neither=4)
    assert found.p == pytest.approx(2 * 0.5**16)  # all 16 that differ go one way
    assert 0.45 < found.low < 16 / 24 < found.high < 0.85
    assert found.n == 24 and not found.left_out
    assert found.verdict == "holds: B is better"


def test_the_other_way_round_gives_the_opposite(pair: tuple[Results, Results]) -> None:
    forth, back = (difference(compare(*p), "vqa-rad", "accuracy") for p in (pair, pair[::-1]))
    assert (back.value, back.p) == (-forth.value, forth.p)
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=0.05)
    assert back.verdict == "holds: A is better"


def test_the_interval_is_of_pairs(pair: tuple[Results, Results]) -> None:
    """Every stain is better by exactly 2 dB, though the stains differ among themselves by as much."""
    found = difference(compare(*pair), "staining", "PSNR")
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))
    assert found.counts is None and found.test == "paired permutation"
    assert found.p == pytest.approx(2 * 0.5**5)  # exact: of 32 sign flips, two are as extreme
    assert found.left_out == {"without a value": 1}  # the one that failed


def test_values_of_0_and_1_of_what_is_no_share_are_not_counted_as_right(pair: tuple[Results, Results]) -> None:
    for results in pair:
        edit(results, "staining", lambda lines: [line["values"].update(SSIM=0.0) for line in lines])
    found = difference(compare(*pair), "staining", "SSIM")
    assert found.counts is None and found.test == "paired permutation"


def test_less_is_better_where_the_metric_says_so(pair: tuple[Results, Results]) -> None:
    for results in pair:
        results.content["benchmarks"][0]["scores"][0]["higher"] = False
    assert difference(compare(*pair), "vqa-rad", "accuracy").verdict == "holds: A is better"


def test_a_model_does_not_differ_from_itself(pair: tuple[Results, Results]) -> None:
    found = compare(pair[0], pair[0]).differences
    assert found and all((d.value, d.p, d.verdict) == (0, 1, "does not hold") for d in found)


def test_p_values_are_corrected_for_all_comparisons(pair: tuple[Results, Results]) -> None:
    comparison = compare(*pair)
    assert [d.metric for d in comparison.differences] == ["accuracy", "PSNR", "SSIM"]
    accuracy, psnr, ssim = comparison.differences
    assert accuracy.p_holm == pytest.approx(3 * accuracy.p)
    assert psnr.p_holm == pytest.approx(2 * psnr.p) and not psnr.holds
    assert ssim.p_holm == 1


def test_holms_correction_of_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_many_items_that_differ_are_drawn_and_never_give_no_p(pair: tuple[Results, Results]) -> None:
    def many(shift: float) -> Callable[[list[dict]], None]:
        def change(lines: list[dict]) -> None:
            lines[:] = [lines[0] | {"id": str(k), "values": {"PSNR": 20 + k / 50 + shift}} for k in range(60)]

        return change

    edit(pair[0], "staining", many(0))
    edit(pair[1], "staining", many(1))
    found = difference(compare(*pair), "staining", "PSNR")
    assert 0 < found.p < 0.001 and found.holds


def test_items_that_only_one_has_or_that_were_asked_otherwise_are_left_out_and_told(
    pair: tuple[Results, Results],
) -> None:
    edit(pair[0], "vqa-rad", lambda lines: lines.pop(0))
    edit(pair[1], "vqa-rad", lambda lines: [lines.pop() for _ in range(2)])
    edit(pair[1], "vqa-rad", lambda lines: lines[5].update(answers=["no"]))
    found = difference(compare(*pair), "vqa-rad", "accuracy")
    assert found.left_out == {"only in A": 2, "only in B": 1, "asked otherwise": 1}
    assert found.n == 20
    assert "2 only in A, 1 only in B, 1 asked otherwise" in compare(*pair).markdown()


def test_variants_of_a_question_are_not_pooled_with_it(pair: tuple[Results, Results]) -> None:
    for results in pair:
        edit(results, "vqa-rad", lambda lines: lines[0]["groups"].update(variant="without the image"))
    assert difference(compare(*pair), "vqa-rad", "accuracy").n == 23


def test_what_cannot_be_compared_is_told_with_the_reason(pair: tuple[Results, Results]) -> None:
    a, b = pair
    b.content["benchmarks"][0]["protocol"] = b.content["benchmarks"][0]["protocol"] | {"split": "validation"}
    b.content["benchmarks"][1]["simulated"] = False
    b.content["benchmarks"][2]["name"] = "drawings"
    skipped = dict(compare(a, b).skipped)
    assert skipped["vqa-rad"] == "protocols differ: split is 'test, 24 of 451' in A and 'validation' in B"
    assert skipped["staining"] == "only A is of simulated images"
    assert skipped["text-to-image"] == "only A has it" and skipped["drawings"] == "only B has it"


def test_other_settings_are_not_compared_but_another_speed_is(pair: tuple[Results, Results]) -> None:
    a, b = pair
    b.content["settings"] |= {"name": "large", "batch": 64, "device": "cuda"}
    assert len(compare(a, b).differences) == 3
    b.content["settings"] |= {"max_tokens": 8}
    comparison = compare(a, b)
    assert not comparison.differences
    assert dict(comparison.skipped)["vqa-rad"] == "settings differ: max_tokens is 64 in A and 8 in B"


def test_a_figure_that_no_single_item_has_is_told(pair: tuple[Results, Results]) -> None:
    skipped = dict(compare(*pair).skipped)
    assert skipped == {"text-to-image: Fréchet distance": "of all items together, not of each"}
    edit(pair[1], "staining", lambda lines: lines.clear())
    assert dict(compare(*pair).skipped)["staining: PSNR, SSIM"] == "no item that both have has a value"


def test_it_can_be_read_as_markdown_json_and_a_table(pair: tuple[Results, Results]) -> None:
    comparison = compare(*pair)
    text = comparison.markdown()
    assert text.startswith("# a on small (A) and b on small (B)\n\nSimulated images. Not for clinical use.\n")
    assert "| vqa-rad | accuracy | 16.7 % | 83.3 % | +66.7 points (" in text
    assert "| vqa-rad | accuracy | 4 | 0 | 16 | 4 |" in text
    assert "Holm's correction is over all 3 comparisons" in text
    told = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert told["differences"][0]["holds"] is True and told["differences"][0]["counts"]["only_b"] == 16
    assert told["skipped"][0]["what"] == "text-to-image: Fréchet distance"
    out = io.StringIO()
    Console(file=out, width=200).print(comparison.table())
    assert "holds: B is better" in out.getvalue() and "Simulated images" in out.getvalue()


def test_the_same_results_give_the_same_comparison(pair: tuple[Results, Results]) -> None:
    assert compare(*pair).to_dict() == compare(*pair).to_dict()
