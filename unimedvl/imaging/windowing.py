"""From stored intensities to grey levels: the window of DICOM PS3.3 C.11.2, and named CT windows."""

from __future__ import annotations

import math

import numpy as np

# Name -> (center, width) in Hounsfield units, as commonly set on CT workstations.
PRESETS: dict[str, tuple[float, float]] = {
    "abdomen": (50.0, 400.0),
    "angiography": (300.0, 600.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
    "liver": (60.0, 160.0),
    "lung": (-600.0, 1500.0),
    "mediastinum": (50.0, 350.0),
    "soft tissue": (40.0, 400.0),
    "spine": (50.0, 250.0),
    "stroke": (40.0, 40.0),
    "subdural": (75.0, 215.0),
    "temporal bone": (600.0, 2800.0),
}

# Words that are not in Hounsfield units, so that they hold for every greyscale image.
AUTO = "auto"      # the 0.5th to 99.5th percentile
FULL = "full"      # the smallest to the largest value

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")

_LOW, _HIGH = 0.5, 99.5
_SAMPLE = 4_000_000    # values enough for a percentile


def parse_window(text: str) -> tuple[float, float] | str:
    """A window as typed: ``"40,400"`` (center, width), or a name, with any case, ``-`` or ``_``.

    Raises:
        ValueError: two numbers that are no window.
    """
    parts = text.split(",")
    if len(parts) == 2:
        try:
            center, width = float(parts[0]), float(parts[1])
        except ValueError:
            return text
        check_window(center, width)
        return center, width
    return text


def preset_name(text: str) -> str:
    """A name of a window in the spelling of `PRESETS`: ``"Soft_Tissue"`` is ``"soft tissue"``."""
    return " ".join(text.lower().replace("-", " ").replace("_", " ").split())


def window_names() -> str:
    """All names that a window may have, for messages."""
    return ", ".join([AUTO, FULL, *PRESETS])


def check_window(center: float, width: float) -> None:
    """Refuse a window that no image can be shown in.

    Raises:
        ValueError: a number that is not finite, or a width that is not positive.
    """
    if not (math.isfinite(center) and math.isfinite(width) and width > 0):
        raise ValueError(f"window {center:g},{width:g}: center and width must be finite, the width above 0")


def apply_window(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Map intensities to grey levels by DICOM PS3.3 C.11.2.1.2.1 and C.11.2.1.3.

    LINEAR: ``(x - (c - 0.5)) / (w - 1) + 0.5``, the default of DICOM; a width of 1 is a threshold.
    LINEAR_EXACT: ``(x - c) / w + 0.5``.  SIGMOID: ``1 / (1 + exp(-4 (x - c) / w))``.

    Args:
        values: any shape, any real type, in the units of the window.
        width: at least 1 for LINEAR, above 0 for the others.

    Returns:
        float32 of the same shape, in [0, 1].

    Raises:
        ValueError: an unknown function, or a width that the function does not allow.
    """
    check_window(center, width)
    # 16-bit integers are exact in float32; wider integers need float64 for the subtraction.
    wide = values.dtype.itemsize > 2 and values.dtype != np.float32
    levels = values.astype(np.float64 if wide else np.float32)
    if function == "LINEAR":
        if width < 1:
            raise ValueError(f"window width {width:g}: at least 1 for the LINEAR function")
        if width == 1:
            return (levels > center - 0.5).astype(np.float32)
        levels -= center - 0.5
        levels /= width - 1
        levels += 0.5
    elif function == "LINEAR_EXACT":
        levels -= center
        levels /= width
        levels += 0.5
    elif function == "SIGMOID":
        levels -= center
        levels *= -4.0 / width
        levels = 1.0 / (1.0 + np.exp(np.clip(levels, -80, 80)))
    else:
        raise ValueError(f"VOI LUT function {function!r}: must be one of {', '.join(FUNCTIONS)}")
    return np.clip(levels, 0.0, 1.0).astype(np.float32, copy=False)


def apply_range(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map ``low`` to 0 and ``high`` to 1, float32; all is 0 where they are equal."""
    if high <= low:
        return np.zeros(values.shape, np.float32)
    return apply_window(values, (low + high) / 2, high - low, "LINEAR_EXACT")


def robust_range(values: np.ndarray, use: np.ndarray | None = None) -> tuple[float, float]:
    """The 0.5th and 99.5th percentile of the finite values, or their extremes where those coincide.

    Args:
        use: of the shape of `values`, False where a value is padding and does not count.

    Raises:
        ValueError: no value is finite.
    """
    return _range(values, use, _LOW, _HIGH)


def full_range(values: np.ndarray, use: np.ndarray | None = None) -> tuple[float, float]:
    """The smallest and the largest finite value. Arguments and errors as for `robust_range`."""
    return _range(values, use, 0.0, 100.0)


def _range(values: np.ndarray, use: np.ndarray | None, low: float, high: float) -> tuple[float, float]:
    chosen = values.ravel() if use is None or not use.any() else values[use]
    if np.issubdtype(chosen.dtype, np.floating):
        chosen = chosen[np.isfinite(chosen)]
    if chosen.size == 0:
        raise ValueError("holds no finite value")
    extremes = float(chosen.min()), float(chosen.max())
    if (low, high) == (0.0, 100.0):
        return extremes
    sample = chosen[:: max(1, chosen.size // _SAMPLE)]
    bounds = tuple(float(v) for v in np.percentile(sample, (low, high)))
    return extremes if bounds[0] >= bounds[1] else bounds
