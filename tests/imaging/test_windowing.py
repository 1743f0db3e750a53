import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing

from unimedvl.imaging import PRESETS, parse_window
from unimedvl.imaging.windowing import apply_window, preset_name, robust_range

VALUES = np.arange(-2000, 3000, dtype=np.int16).reshape(50, 100)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("center,width", [(40, 400), (-600, 1500), (40.5, 81), (10, 2)])
def test_window_agrees_with_pydicom(function, center, width):
    header = Dataset()
    header.PhotometricInterpretation, header.BitsStored, header.PixelRepresentation = "MONOCHROME2", 16, 0
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = center, width, function
    theirs = apply_windowing(VALUES, header) / 65535
    assert np.abs(apply_window(VALUES, center, width, function) - theirs).max() < 1e-5


@settings(deadline=None)
@given(st.floats(-3000, 3000), st.floats(1, 4000))
def test_window_is_monotone_and_in_range(center, width):
    grey = apply_window(VALUES.ravel(), center, width)
    assert grey.dtype == np.float32 and grey.min() >= 0 and grey.max() <= 1
    assert (np.diff(grey) >= 0).all()


def test_linear_window_of_width_one_is_a_threshold():
    assert apply_window(np.array([39, 40, 41]), 40, 1).tolist() == [0, 1, 1]


def test_12_bit_data_keeps_all_its_levels():
    assert len(np.unique(apply_window(np.arange(4096, dtype=np.uint16), 2048, 4096))) == 4096


def test_32_bit_integers_keep_small_differences():
    values = np.array([2**30, 2**30 + 1, 2**30 + 2])
    assert apply_window(values, 2**30 + 1, 2, "LINEAR_EXACT").tolist() == [0, 0.5, 1]


def test_robust_range_ignores_outliers_padding_and_nan():
    values = np.concatenate([np.linspace(0, 1, 1000), [1e9, np.nan, np.inf]])
    low, high = robust_range(values)
    assert 0 <= low < 0.01 and 0.98 < high <= 1
    used = np.array([False, True, True])
    assert robust_range(np.array([-2000, 1, 2]), used) == pytest.approx((1, 2), abs=0.01)
    assert robust_range(np.array([0.0] * 999 + [7.0])) == (0, 7)      # a tiny mask is not lost


def test_names_and_numbers_are_parsed():
    assert parse_window("40,400") == (40, 400)
    assert preset_name(parse_window("Soft-Tissue")) in PRESETS
    with pytest.raises(ValueError, match="width above 0"):
        parse_window("40,-1")
    assert all(width > 0 for _, width in PRESETS.values())


def test_unknown_function_is_refused():
    with pytest.raises(ValueError, match="LINEAR_EXACT"):
        apply_window(VALUES, 0, 1, "CUBIC")
