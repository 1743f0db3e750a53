"""Plots: whole SVG files whose shapes stand where the numbers are."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from unimedvl.evaluation.calibration import reliability, risk_coverage
from unimedvl.evaluation.plots import bars, beside_published, reliability_plot, risk_coverage_plot
from unimedvl.evaluation.published import published
from unimedvl.evaluation.score import Score

SVG = "{http://www.w3.org/2000/svg}"
NAN = math.nan


def drawn(text: str, shape: str, kind: str) -> list[ElementTree.Element]:
    return [e for e in ElementTree.fromstring(text).iter(f"{SVG}{shape}") if e.get("class") == kind]


def words(text: str) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(text).iter(f"{SVG}text")]


def percent(value: float, group: str = "", n: int = 10) -> Score:
    return Score("accuracy", value, value - 0.1, min(1.0, value + 0.1), n, "%", group=group)


def test_bars_are_as_long_as_their_figures_and_tell_them() -> None:
    text = bars([percent(0.8, "modality: ct", 44), percent(0.4, "modality: us")], "Accuracy by modality")
    long, short = (float(b.get("width", 0)) for b in drawn(text, "rect", "own"))
    assert long == pytest.approx(2 * short, abs=0.2)
    assert {"ct", "80.0 %, n = 44", "us", "40.0 %, n = 10", "Accuracy by modality"} <= set(words(text))
    assert len(drawn(text, "path", "whisker")) == 2


def test_a_figure_that_is_none_has_no_bar_and_says_so() -> None:
    text = bars([Score("accuracy", NAN, NAN, NAN, 0, "%"), percent(0.5)], "t")
    assert len(drawn(text, "rect", "own")) == 1
    assert "no figure, n = 0" in words(text)
    assert "nan" not in text


def test_published_figures_are_outlined_and_said_to_be_of_real_images() -> None:
    found = published("vqa-rad", "accuracy")
    text = beside_published(percent(0.7), "nano", found, "VQA-RAD", simulated=True)
    assert len(drawn(text, "rect", "own")) == 1 and len(drawn(text, "rect", "other")) == len(found)
    assert "70.0 %, simulated images" in words(text) and "61.9 %, real images" in words(text)
    assert "simulated" not in beside_published(percent(0.7), "nano", found, "VQA-RAD", simulated=False)


def test_a_scale_without_a_limit_holds_all_figures_and_intervals() -> None:
    own = Score("Fréchet distance", 340.2, 300.0, 401.3, 60, higher=False)
    text = beside_published(own, "nano", published("text-to-image", "Fréchet distance"), "t", simulated=False)
    mine, *others = [float(b.get("width", 0)) for kind in ("own", "other") for b in drawn(text, "rect", kind)]
    assert mine / others[0] == pytest.approx(340.2 / 215.49, rel=0.01)


def test_points_of_a_calibrated_model_lie_on_the_diagonal() -> None:
    right = [True] * 2 + [False] * 6 + [True] * 6 + [False] * 2
    text = reliability_plot(reliability([0.25] * 8 + [0.75] * 8, right), "t")
    points = drawn(text, "circle", "own")
    assert len(points) == 2
    (x0, y0), (x1, y1) = ((float(p.get("cx", 0)), float(p.get("cy", 0))) for p in points)
    assert x1 - x0 == pytest.approx(y0 - y1)
    assert "confidence 0.25: accuracy 0.25, n = 8" in text


def test_the_curve_of_risk_goes_through_its_numbers() -> None:
    coverage, risk = risk_coverage([0.9, 0.8, 0.7, 0.6], [True, True, False, False])
    text = risk_coverage_plot(coverage, risk, "t")
    (curve,) = drawn(text, "polyline", "curve")
    heights = [float(point.split(",")[1]) for point in (curve.get("points") or "").split()]
    assert heights[0] == heights[1] > heights[2] > heights[3]
    assert "0.0 % wrong of 50 %, 33.3 % wrong of 75 %, 50.0 % wrong of 100 %" in text


def test_a_long_curve_is_drawn_with_few_points() -> None:
    chance = np.random.default_rng(0)
    coverage, risk = risk_coverage(chance.random(5000), chance.random(5000) < 0.5)
    (curve,) = drawn(risk_coverage_plot(coverage, risk, "t"), "polyline", "curve")
    assert len((curve.get("points") or "").split()) == 200


def test_nothing_to_draw_is_still_a_plot() -> None:
    for text in (bars([], "t"), reliability_plot([], "t"), risk_coverage_plot(*risk_coverage([], []), "t")):
        assert ElementTree.fromstring(text).get("aria-label", "").endswith(": nothing")


def test_names_are_escaped_and_shortened() -> None:
    text = bars([percent(0.5, "modality: <b> & a name that is far too long")], '"<i>"')
    assert "<b>" not in text and "<i>" not in text
    assert "<b> & a name that is …" in words(text)


def test_a_long_title_is_shortened_before_its_last_part() -> None:
    text = reliability_plot([], "Questions of very many kinds on very many images of patients: reliability")
    assert any(re.fullmatch(r"Questions of [^…]*…: reliability", line) and len(line) < 50 for line in words(text))
    assert "images of patients: reliability" in ElementTree.fromstring(text).get("aria-label", "")


def test_no_errors_at_all_are_a_flat_line() -> None:
    text = risk_coverage_plot(*risk_coverage([0.9, 0.5], [True, True]), "t")
    (curve,) = drawn(text, "polyline", "curve")
    assert len({point.split(",")[1] for point in (curve.get("points") or "").split()}) == 1
