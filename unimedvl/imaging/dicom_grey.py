"""From the stored values of a greyscale DICOM frame to grey levels (PS3.4 N.2: modality, VOI, shape)."""

from __future__ import annotations

import math

import numpy as np
from pydicom.dataset import Dataset

from unimedvl.imaging.errors import ImagingError
from unimedvl.imaging.lut import look_up, read_table
from unimedvl.imaging.windowing import (
    AUTO,
    FULL,
    FUNCTIONS,
    PRESETS,
    apply_range,
    apply_window,
    full_range,
    preset_name,
    robust_range,
    window_names,
)

Window = tuple[float, float] | str | None


def grey_levels(
    stored: np.ndarray, header: Dataset, frame: int, window: Window, name: str, little_endian: bool = True
) -> tuple[np.ndarray, dict]:
    """Modality transform, then VOI, then inversion of MONOCHROME1; padding is black.

    The window is the one asked for; else the file's VOI LUT, else the first of its windows, else
    the whole range for data of up to 8 bits and the 0.5th to 99.5th percentile for deeper data.

    Args:
        stored: [H, W] stored values of the frame.
        frame: counted from 0, for what may differ by frame.

    Returns:
        float32 [H, W] in [0, 1], and the details.

    Raises:
        ImagingError: a window that is not known or has no meaning here.
        ValueError: damaged tables.
    """
    padding = _padding(stored, header)
    values, details = _modality(stored, header, frame, little_endian)
    grey, voi = _voi(values, padding, header, frame, window, name, little_endian)
    details.update(voi)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        grey = 1.0 - grey
    if padding is not None:
        grey[padding] = 0.0
    return grey, details


def functional_group(header: Dataset, frame: int, macro: str) -> Dataset:
    """The data set that holds `macro` for a frame: its own group, the shared one, or the header itself."""
    places = (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0))
    for sequence, index in places:
        groups = header.get(sequence) or []
        if index < len(groups) and groups[index].get(macro):
            return groups[index][macro].value[0]
    return header


def _padding(stored: np.ndarray, header: Dataset) -> np.ndarray | None:
    """Where the stored value says "no image here" (PS3.3 C.7.5.1.1.2), or None if nowhere."""
    value = header.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = header.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    padded = (stored >= low) & (stored <= high)
    return padded if padded.any() and not padded.all() else None


def _modality(
    stored: np.ndarray, header: Dataset, frame: int, little_endian: bool
) -> tuple[np.ndarray, dict]:
    """Stored values to the modality's units: Hounsfield for CT, often arbitrary for others."""
    if header.get("ModalityLUTSequence"):
        table, first, _ = read_table(header.ModalityLUTSequence[0], little_endian)
        return look_up(stored, table, first), {"modality_transform": "lookup table"}
    group = functional_group(header, frame, "PixelValueTransformationSequence")
    slope, intercept = _number(group.get("RescaleSlope"), 1.0), _number(group.get("RescaleIntercept"), 0.0)
    if (slope, intercept) == (1.0, 0.0):
        return stored, {}
    exact = np.float32 if stored.dtype.itemsize <= 2 else np.float64
    values = stored.astype(exact) * exact(slope) + exact(intercept)
    return values, {"rescale": [slope, intercept]}


def _voi(
    values: np.ndarray,
    padding: np.ndarray | None,
    header: Dataset,
    frame: int,
    window: Window,
    name: str,
    little_endian: bool,
) -> tuple[np.ndarray, dict]:
    """Values of interest to [0, 1], and which they were."""
    group = functional_group(header, frame, "FrameVOILUTSequence")
    windows = _file_windows(group)
    function = str(group.get("VOILUTFunction") or "LINEAR").upper()
    function = function if function in FUNCTIONS else "LINEAR"
    if isinstance(window, tuple):
        return _windowed(values, window, "given", function)
    if window is not None:
        word = preset_name(window)
        by_name = {preset_name(label): w for label, w in windows if label}
        if word in by_name:
            return _windowed(values, by_name[word], "the file's", function)
        if word in PRESETS:
            _refuse_preset_without_hounsfield(header, window, name)
            return _windowed(values, PRESETS[word], word, "LINEAR")
        if word not in (AUTO, FULL):
            own = f", or the file's own {', '.join(by_name)}" if by_name else ""
            raise ImagingError(name, f"window {window!r} is not known; give center,width or one of "
                                     f"{window_names()}{own}")
        return _ranged(values, padding, word, header)
    if group.get("VOILUTSequence"):
        table, first, white = read_table(group.VOILUTSequence[0], little_endian)
        return look_up(values, table, first) / np.float32(white), {"window": "the file's lookup table"}
    if windows:
        return _windowed(values, windows[0][1], "the file's", function)
    return _ranged(values, padding, AUTO, header)


def _file_windows(group: Dataset) -> list[tuple[str, tuple[float, float]]]:
    """The usable windows of the file, in its order, with the names that it gives them."""
    centers, widths = _numbers(group.get("WindowCenter")), _numbers(group.get("WindowWidth"))
    labels = group.get("WindowCenterWidthExplanation") or []
    labels = [labels] if isinstance(labels, str) else [str(label) for label in labels]
    labels += [""] * len(centers)
    pairs = zip(labels, zip(centers, widths, strict=False), strict=False)
    return [(label, (c, w)) for label, (c, w) in pairs if math.isfinite(c) and math.isfinite(w) and w > 0]


def _windowed(
    values: np.ndarray, window: tuple[float, float], origin: str, function: str
) -> tuple[np.ndarray, dict]:
    center, width = float(window[0]), float(window[1])
    if function == "LINEAR" and width <= 1:
        function = "LINEAR_EXACT"      # narrow windows on real-valued data, which LINEAR forbids
    details = {"window": [center, width], "window_from": origin, "window_function": function}
    return apply_window(values, center, width, function), details


def _ranged(
    values: np.ndarray, padding: np.ndarray | None, word: str, header: Dataset
) -> tuple[np.ndarray, dict]:
    """No window to go by: the range of the type for up to 8 bits, of the values otherwise."""
    bits = int(header.get("BitsStored") or 16)
    if word == AUTO and bits <= 8 and values.dtype == np.uint8:
        low, high = 0.0, float(2**bits - 1)
        word = "range of the stored bits"
    else:
        use = None if padding is None else ~padding
        low, high = (full_range if word == FULL else robust_range)(values, use)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=low)
    return apply_range(values, low, high), {"window": word, "range": [low, high]}


def _refuse_preset_without_hounsfield(header: Dataset, window: str, name: str) -> None:
    modality = str(header.get("Modality") or "CT")
    if modality != "CT" and str(header.get("RescaleType") or "") != "HU":
        raise ImagingError(
            name,
            f"window {window!r} is in Hounsfield units but this is not CT ({modality}); "
            "give center,width, auto or full",
        )


def _number(value: object, default: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return default
    return number if math.isfinite(number) else default


def _numbers(value: object) -> list[float]:
    """One number, several, or none, as a list; what is not a number is NaN."""
    if value is None:
        return []
    values = [value] if isinstance(value, (str, int, float)) else list(value)
    return [_number(v, math.nan) for v in values]
