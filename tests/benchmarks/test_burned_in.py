"""The measure of burned-in text: what is drawn is known, and what is blanked is held against it."""

from __future__ import annotations

import numpy as np

from benchmarks import burned_in
from benchmarks.burned_in import Drawing, drawn, main, measured


def test_the_pixels_of_the_words_are_known() -> None:
    image = np.zeros((64, 256), np.uint8)
    out, strokes = drawn(image, "NAME", "pillow", 20, (255, None), (0.5, 0.5))
    assert 50 < strokes.sum() < 1500 and (out[strokes] >= 127).all() and not out[:10].any()
    boxed, _ = drawn(image, "NAME", "pillow", 20, (0, 200), (0.5, 0.5))
    assert (boxed == 200).sum() > 500


def test_a_detector_that_blanks_all_or_nothing_is_seen_through(monkeypatch) -> None:
    image, how = np.zeros((96, 256), np.uint8), Drawing("black", "pillow", 12, (255, None))
    assert measured(image, how, "NAME", (0.5, 0.5)) == (1.0, 0.0)
    for mask, recall, wrong in ((np.ones, 1.0, 0.7), (np.zeros, 0.0, 0.0)):
        monkeypatch.setattr(burned_in, "text_mask", lambda i, mask=mask: mask(i.shape[:2], bool))
        figures = measured(image, how, "NAME", (0.5, 0.5))
        assert figures[0] == recall and wrong <= figures[1] < 1


def test_the_table_has_a_row_for_each_kind_of_image(capsys) -> None:
    main(["--drawings", "1", "--side", "128"])
    told = capsys.readouterr().out
    assert "| all | " in told and "| CT_small | 1 | " in told and "| simulated cxr | 1 | " in told
