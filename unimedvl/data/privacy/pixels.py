"""Pixels of a DICOM image without burned-in text: decoded, blanked, and stored uncompressed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.pixels import pack_bits, pixel_array
from pydicom.uid import RLELossless

from unimedvl.data.error import DataError
from unimedvl.data.privacy.burned_in import Box, text_boxes

Text = Literal["auto", "always", "never"]

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# Scanners that reconstruct images rather than film them: no text gets into their pixels.
_RECONSTRUCTED = ("CT", "MR", "PT", "NM", "RTDOSE", "SEG")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_GREYS = ("MONOCHROME1", "MONOCHROME2")
# Frames in which text is looked for one by one; the darkest and brightest of all frames are looked at besides.
_FRAMES = 12
# Uncompressed pixels of one file, in bytes.
_MOST = 4 << 30
_UNDECODABLE = (ValueError, TypeError, KeyError, AttributeError, LookupError, OSError, EOFError, RuntimeError,
                NotImplementedError, AssertionError)  # fmt: skip


@dataclass(frozen=True)
class Blanked:
    """What was blanked.

    looked: whether text was looked for.
    regions: boxes of text that were found.
    outside: pixels of a frame that lie outside the ultrasound regions and were blanked.
    share: share of a frame's pixels that were blanked in all, in [0, 1].
    """

    looked: bool
    regions: tuple[Box, ...] = ()
    outside: int = 0
    share: float = 0.0


def clean_pixels(dataset: Dataset, text: Text = "auto") -> Blanked:
    """Decode the pixels of a data set, blank text in all frames, and store them native, little endian, in place.

    Colour becomes RGB, pixel by pixel; palettes and greyscale stay what they are. What old files keep in bits above
    BitsStored (embedded overlays) is cleared. Outside the ultrasound regions (0018,6011), where there are any, all is
    blanked, whatever `text` says. For text "auto" looks where it may be: not in CT, MR, PET, NM, dose and segmentations
    unless they are secondary captures or say that they have some, and not where BurnedInAnnotation is NO, ultrasound
    and secondary captures excepted.

    Raises:
        DataError: there is no image, it can't be decoded, or it says that it has text and none was found. The message
            holds no value of the data set.
    """
    stored = _decoded(dataset)  # [frames, H, W] or [frames, H, W, 3]
    keep = _regions(dataset, stored.shape[1:3])
    looked = text != "never" and stored.shape[0] > 0 and dataset.BitsAllocated > 1
    looked = looked and (text == "always" or _may_hold_text(dataset))
    boxes = _text(dataset, stored) if looked else ()
    blank = np.zeros(stored.shape[1:3], bool) if keep is None else ~keep
    outside = int(blank.sum())
    for box in boxes:
        blank[box.top : box.bottom, box.left : box.right] = True
    if dataset.get("BurnedInAnnotation") == "YES" and not blank.any() and text != "never":
        raise DataError("BurnedInAnnotation is YES but no text was found; look at the image")
    stored[:, blank] = _black(dataset, stored)
    _store(dataset, stored)
    return Blanked(looked, tuple(boxes), outside, float(blank.mean()))


def _decoded(dataset: Dataset) -> np.ndarray:
    """[frames, H, W] or [frames, H, W, 3], writeable and of the machine's byte order; colour as RGB."""
    if "PixelData" not in dataset:
        floats = "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
        kind = "floating-point pixels" if floats else "no image"
        raise DataError(f"{kind} in it; images of whole numbers are de-identified")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        frames = max(int(dataset.get("NumberOfFrames") or 1), 1)
        size = frames * dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * max(dataset.BitsAllocated // 8, 1)
        if not 0 < size <= _MOST:
            raise DataError(f"{size / 2**30:.1f} GiB of pixels; up to {_MOST >> 30} GiB are read")
        stored = pixel_array(dataset, decoding_plugin="pydicom" if syntax == RLELossless else "")
    except DataError:
        raise
    except _UNDECODABLE as error:
        # What is no transfer syntax may be anything, a name too.
        known_syntax = UID_dictionary[syntax][0] if syntax in UID_dictionary else "unknown transfer syntax"
        raise DataError(f"pixels can't be decoded ({known_syntax}, {type(error).__name__})") from error
    colour = int(dataset.SamplesPerPixel) == 3
    stored = stored.reshape(frames, int(dataset.Rows), int(dataset.Columns), *((3,) if colour else ()))
    known = _COLOURS if colour else (*_GREYS, "PALETTE COLOR")
    if dataset.PhotometricInterpretation not in known or stored.dtype.kind not in "ui":
        raise DataError("a photometric interpretation that isn't read; greyscale, palette, RGB and YBR are")
    return _without_high_bits(np.array(stored, stored.dtype.newbyteorder("=")), dataset)


def _without_high_bits(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Clear bits above BitsStored, the sign extended into them."""
    spare = 8 * stored.dtype.itemsize - int(dataset.BitsStored)
    if int(dataset.BitsAllocated) == 1 or spare <= 0 or int(dataset.HighBit) != int(dataset.BitsStored) - 1:
        return stored
    return (stored << spare) >> spare


def _regions(dataset: Dataset, shape: tuple[int, int]) -> np.ndarray | None:
    """bool [H, W]: inside any ultrasound region; None where there are none that can be used."""
    keep = np.zeros(shape, bool)
    for region in dataset.get("SequenceOfUltrasoundRegions") or ():
        try:
            left, top, right, bottom = (
                int(region[k].value)
                for k in ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
            )
        except (KeyError, TypeError, ValueError):
            continue
        keep[max(top, 0) : bottom + 1, max(left, 0) : right + 1] = True
    return keep if keep.any() else None


def _may_hold_text(dataset: Dataset) -> bool:
    flag = str(dataset.get("BurnedInAnnotation") or "").strip()
    captured = str(dataset.get("SOPClassUID") or "").startswith(_SECONDARY_CAPTURE)
    modality = str(dataset.get("Modality") or "")
    if flag == "YES" or captured or modality == "US":
        return True
    return flag != "NO" and modality not in _RECONSTRUCTED


def _text(dataset: Dataset, stored: np.ndarray) -> list[Box]:
    """Boxes of text in any of the frames, for all frames: text stays where it is while the image moves."""
    palette = dataset.PhotometricInterpretation == "PALETTE COLOR"
    count = stored.shape[0]
    chosen = sorted({round(i) for i in np.linspace(0, count - 1, min(count, _FRAMES))})
    images = [_colours(stored[i], dataset) if palette else stored[i] for i in chosen]
    if count > 1 and not palette:
        images += [stored.min(axis=0), stored.max(axis=0)]
    return sorted({box for image in images for box in text_boxes(image)}, key=lambda b: (b.top, b.left))


def _black(dataset: Dataset, stored: np.ndarray) -> int:
    """The stored value that is shown darkest."""
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        return int(stored.max())
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _darkest_entry(dataset, stored)
    return 0 if stored.ndim == 4 else int(stored.min())


def _darkest_entry(dataset: Dataset, stored: np.ndarray) -> int:
    """Of the values that the image has, the one that its palette shows darkest."""
    values = np.unique(stored)
    return int(values[_colours(values[None], dataset)[0].sum(axis=1).argmin()])


def _colours(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """[H, W, 3]: what a palette shows for stored values."""
    from pydicom.pixels import apply_color_lut

    return apply_color_lut(stored, dataset)[..., :3]


def _store(dataset: Dataset, stored: np.ndarray) -> None:
    """Put the pixels back native; the caller writes Explicit VR Little Endian."""
    if int(dataset.BitsAllocated) == 1:
        data = pack_bits(stored.reshape(-1), pad=True)
    else:
        data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
        data += b"\x00" * (len(data) % 2)
    dataset.PixelData = data
    dataset["PixelData"].VR = "OB" if int(dataset.BitsAllocated) <= 8 else "OW"
    dataset["PixelData"].is_undefined_length = False
    if stored.ndim == 4:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            del dataset[keyword]
