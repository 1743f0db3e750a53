"""One frame of a DICOM file, from its header to RGB.

The header is read first and judged; then only the wanted frame is read and decoded. Compressed
frames go through pydicom's decoders: its own for RLE, and whichever of its plugins is installed for
the others (pylibjpeg-openjpeg or Pillow for JPEG 2000, pylibjpeg-libjpeg for JPEG baseline,
extended and lossless, Pillow for baseline, pyjpegls or pylibjpeg-libjpeg for JPEG-LS).
"""

from __future__ import annotations

import io
import math

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from unimedvl.imaging.codestream import check_scans, codestream_size
from unimedvl.imaging.dicom_grey import functional_group, grey_levels
from unimedvl.imaging.errors import ImagingError
from unimedvl.imaging.image import ReadOptions
from unimedvl.imaging.lut import look_up, read_palette
from unimedvl.imaging.resize import resize, square_size
from unimedvl.imaging.source import Source, inflated_size

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_DEFER = 1 << 20       # longer values, which only pixels have, stay in the file until wanted
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def read_dicom(source: Source, options: ReadOptions) -> tuple[np.ndarray, dict]:
    """Decode one frame of a DICOM file.

    Greyscale: modality LUT or rescale, then VOI (see `dicom_grey`), MONOCHROME1 inverted. Colour:
    palette applied, YBR converted to RGB. Pixels that are not square are made so.

    Returns:
        float32 [H, W, 3] in [0, 1], and the details. Multi-frame files give their middle frame
        unless one is asked for.

    Raises:
        ImagingError: what is refused by a rule. Damaged files raise whatever pydicom raises.
    """
    header = _read_header(source)
    element = _pixel_element(header, source)
    rows, columns, frames = _shape(header, source)
    frame = frames // 2 if options.frame is None else options.frame
    if not 0 <= frame < frames:
        valid = "leave it out or give 0" if frames == 1 else f"give 0 to {frames - 1}"
        raise ImagingError(source.name, f"has {frames} frame{'s' * (frames > 1)}; "
                                        f"frame {frame} is out of range, {valid}")
    photometric = str(header.get("PhotometricInterpretation") or "MONOCHROME2").strip()
    header.PhotometricInterpretation = photometric
    if element.length != 0xFFFFFFFF:
        _check_native_length(header, element, frames, source)
    else:
        _check_codestream(header, element, frame, frames, source)
    stored = _decode(header, element, frame, source)
    if stored.shape[:2] != (rows, columns):
        raise ImagingError(source.name, f"decodes to {stored.shape[1]} x {stored.shape[0]} pixels, "
                                        f"but its header says {columns} x {rows}; it is damaged")
    details: dict = {"modality": str(header.get("Modality") or ""), "photometric": photometric,
                     "bits": int(header.get("BitsStored") or header.BitsAllocated)}
    if frames > 1:
        details.update(frame=frame, frames=frames)
    pixels, more = _to_rgb(stored, header, frame, photometric, options, source)
    details.update(more)
    pixels = _square(pixels, header, frame, details, source)
    return pixels, details


def _read_header(source: Source) -> Dataset:
    """All elements but the pixels. A file without its meta header gets the syntax it was read by."""
    deflated = _check_deflated(source)
    source.stream.seek(0)
    header = pydicom.dcmread(source.stream, force=True, defer_size=None if deflated else _DEFER)
    if not hasattr(header, "file_meta"):
        header.file_meta = pydicom.dataset.FileMetaDataset()
    if not header.file_meta.get("TransferSyntaxUID"):
        implicit, little = header.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return header


def _check_deflated(source: Source) -> bool:
    """Whether the data set is deflated; refuse one that would unpack to more than the bounds."""
    head = source.head(1 << 16)
    syntax = b"\x02\x00\x10\x00UI\x16\x00" + DeflatedExplicitVRLittleEndian.encode()
    if syntax not in head:
        return False
    # The meta group is walked, not skipped by the length that it claims: pydicom walks it too.
    at = 132
    while head[at : at + 2] == b"\x02\x00":
        if head[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
            at += 12 + int.from_bytes(head[at + 8 : at + 12], "little")
        else:
            at += 8 + int.from_bytes(head[at + 6 : at + 8], "little")
    source.check_unpacked(inflated_size(source.stream, at, source.bounds.bytes))
    return True


def _pixel_element(header: Dataset, source: Source):
    """The raw pixel data element, its value perhaps still in the file."""
    for keyword in _PIXELS:
        if keyword in header:
            return header.get_item(keyword, keep_deferred=True)
    if not header.get("Rows"):
        # Where compressed pixels stop short, pydicom gives up on all that came before them, too.
        source.stream.seek(0)
        header = pydicom.dcmread(source.stream, force=True, stop_before_pixels=True)
    if header.get("Rows"):
        raise ImagingError(source.name, "is a DICOM file with an image header but without its pixel data; "
                                        "it is truncated, or its pixels are kept elsewhere")
    what = str(header.get("Modality") or header.get("SOPClassUID", "")) or "no modality"
    raise ImagingError(source.name, f"is a DICOM file without pixels ({what}); give one that holds an image")


def _shape(header: Dataset, source: Source) -> tuple[int, int, int]:
    """Rows, columns and frames, checked."""
    rows, columns = header.get("Rows"), header.get("Columns")
    if rows is None or columns is None:
        raise ImagingError(source.name, "has pixel data but no Rows and Columns; it is damaged")
    source.check_pixels(int(columns), int(rows))
    frames = header.get("NumberOfFrames")
    try:
        frames = 1 if frames is None or frames == "" else int(frames)
    except (TypeError, ValueError) as error:
        raise ImagingError(source.name, f"has a NumberOfFrames of {frames!r}, which is no number") from error
    source.check_frames(frames, "frames")
    return int(rows), int(columns), max(frames, 1)


def _check_native_length(header: Dataset, element, frames: int, source: Source) -> None:
    """Refuse uncompressed pixels that are shorter than the header says, or than the file is."""
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        raise ImagingError(source.name, f"says it is {syntax.name} but its pixels are not encapsulated")
    samples = int(header.get("SamplesPerPixel") or 1)
    bits = int(header.BitsAllocated)
    if header.PhotometricInterpretation == "YBR_FULL_422":
        samples = 2
    expected = math.ceil(header.Rows * header.Columns * samples * bits * frames / 8)
    present = element.length
    if element.value is None:
        present = min(present, source.size - element.value_tell)
    elif isinstance(element.value, bytes):
        present = len(element.value)
    if present < expected:
        raise ImagingError(source.name, f"is truncated: {present} of {expected} bytes of pixels are there")


def _check_codestream(header: Dataset, element, frame: int, frames: int, source: Source) -> None:
    """Refuse a compressed frame whose own header disagrees with the file's, before it is decoded."""
    if element.value is None:
        source.stream.seek(element.value_tell)
        buffer = source.stream
    else:
        buffer = io.BytesIO(element.value)
    codestream = get_frame(buffer, frame, number_of_frames=frames)
    check_scans(codestream, source.name)
    size = codestream_size(codestream)
    if size is not None and size != (header.Columns, header.Rows):
        raise ImagingError(source.name, f"holds a compressed frame of {size[0]} x {size[1]} pixels, but its "
                                        f"header says {header.Columns} x {header.Rows}; it is damaged")


def _decode(header: Dataset, element, frame: int, source: Source) -> np.ndarray:
    """[H, W] or [H, W, 3] stored values; YBR_FULL becomes RGB."""
    syntax = header.file_meta.TransferSyntaxUID
    # pylibjpeg-rle panics on damaged runs, which no handler of Exception stops.
    plugin = "pydicom" if syntax == RLELossless else ""
    try:
        if element.value is None:
            source.stream.seek(0)
            stored = pixel_array(source.stream, index=frame, decoding_plugin=plugin)
        else:
            stored = pixel_array(header, index=frame, decoding_plugin=plugin)
    except NotImplementedError as error:
        raise ImagingError(source.name, f"is compressed as {syntax.name}, which is not read; "
                                        "convert it to Explicit VR Little Endian") from error
    except RuntimeError as error:
        if "missing dependencies" in str(error) or "no available" in str(error).lower():
            raise ImagingError(source.name, f"is compressed as {syntax.name}, whose decoder is not "
                                            "installed; see docs/imaging.md") from error
        problem = f"holds a damaged or unusual {syntax.name} frame that no decoder reads"
        raise ImagingError(source.name, problem) from error
    if not syntax.is_compressed:
        stored = _without_high_bits(stored, header)
    return stored


def _without_high_bits(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Drop what old files keep above BitsStored (overlays), extending the sign of signed values."""
    bits = int(header.get("BitsStored") or 0)
    spare = 8 * stored.dtype.itemsize - bits
    at_the_bottom = int(header.get("HighBit", bits - 1)) == bits - 1
    if stored.dtype.kind not in "ui" or bits < 1 or spare <= 0 or not at_the_bottom:
        return stored
    stored = stored.astype(stored.dtype.newbyteorder("="))
    return (stored << spare) >> spare


def _to_rgb(
    stored: np.ndarray, header: Dataset, frame: int, photometric: str, options: ReadOptions, source: Source
) -> tuple[np.ndarray, dict]:
    """Stored values of any photometric interpretation to [H, W, 3] in [0, 1]."""
    little_endian = header.file_meta.TransferSyntaxUID.is_little_endian
    if stored.ndim == 2 and photometric in ("MONOCHROME1", "MONOCHROME2"):
        grey, details = grey_levels(stored, header, frame, options.window, source.name, little_endian)
        return np.repeat(grey[..., None], 3, axis=2), details
    if options.window is not None:
        raise ImagingError(source.name, f"is a colour image ({photometric}), which has no window; "
                                        "leave out the window")
    if stored.ndim == 2 and photometric == "PALETTE COLOR":
        table, first = read_palette(header, little_endian)
        return look_up(stored, table, first), {}
    if stored.ndim == 3 and stored.shape[2] == 3 and photometric in _COLOURS:
        allocated = 8 * stored.dtype.itemsize
        bits = min(int(header.get("BitsStored") or allocated), allocated)
        return np.clip(stored.astype(np.float32) / np.float32(2**bits - 1), 0.0, 1.0), {}
    raise ImagingError(source.name, f"has pixels of kind {photometric or '(not said)'}, which are not read; "
                                    "MONOCHROME1, MONOCHROME2, RGB, YBR and PALETTE COLOR are")


def _square(pixels: np.ndarray, header: Dataset, frame: int, details: dict, source: Source) -> np.ndarray:
    """Resample to square pixels, if the file says that they are not."""
    spacing, physical = _spacing(header, frame)
    if spacing is None:
        return pixels
    if physical:
        details["spacing_mm"] = [float(f"{v:.6g}") for v in spacing]
    height, width = pixels.shape[:2]
    size = square_size(width, height, *spacing)
    if size == (width, height):
        return pixels
    source.check_pixels(*size)
    details["resampled"] = f"{width} x {height} to {size[0]} x {size[1]} for square pixels"
    return resize(pixels, size)


def _spacing(header: Dataset, frame: int) -> tuple[tuple[float, float] | None, bool]:
    """Row and column spacing and whether it is in millimetres; None where not said, or nonsense."""
    measures = functional_group(header, frame, "PixelMeasuresSequence")
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        value = measures.get(keyword) or header.get(keyword)
        try:
            spacing = tuple(float(v) for v in value)
        except (TypeError, ValueError):
            continue
        if len(spacing) == 2 and all(math.isfinite(v) and v > 0 for v in spacing):
            return spacing, keyword != "PixelAspectRatio"
    return None, False
