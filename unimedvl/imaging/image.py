"""An image as the models take it, and the one function that reads it from anything."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image as PillowImage

from unimedvl.imaging.errors import ImagingError, TooLarge
from unimedvl.imaging.kind import detect
from unimedvl.imaging.source import Bounds, Source, open_source
from unimedvl.imaging.windowing import check_window

Plane = Literal["axial", "coronal", "sagittal"]
PLANES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class Original:
    """The file that a picture was read from.

    kind, sha256: as of `Image`. held: its bytes, where it came as bytes, else its full name.
    """

    kind: str
    sha256: str
    held: bytes | str = field(repr=False)

    def read(self) -> bytes | None:
        """The bytes of the file; None where it is gone, was changed since, or is over 64 MiB."""
        data = self.held
        if isinstance(data, str):
            try:
                with open(data, "rb") as stream:
                    data = stream.read(_LONGEST_ORIGINAL + 1)
            except OSError:
                return None
        whole = len(data) <= _LONGEST_ORIGINAL and hashlib.sha256(data).hexdigest() == self.sha256
        return bytes(data) if whole else None


_LONGEST_ORIGINAL = 64 * 2**20


@dataclass(frozen=True)
class Image:
    """One picture ready to be resized.

    pixels: float32 [H, W, 3] in [0, 1], after windowing, at the full precision of the source.
    source: the file's name as given, or ``<bytes>``, ``<array>``, ``<PIL image>``.
    sha256: of the bytes of the file; of type, shape and values for an array.
    kind: "png", "jpeg", "tiff", "bmp", "webp", "dicom", "nifti" or "array".
    details: how it was read (window, frame, slice, plane, photometric, spacing). Numbers and
        words about pixels only: nothing here can name a patient.
    original: the file, None for what was in memory already.
    """

    pixels: np.ndarray
    source: str
    sha256: str
    kind: str
    details: dict = field(default_factory=dict)
    original: Original | None = field(default=None, repr=False, compare=False)

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        return self.pixels.shape[0]


@dataclass(frozen=True)
class ReadOptions:
    """Which part of a file is read, and how bright.

    frame: of a multi-frame DICOM (default the middle one) or a multi-page TIFF (default the first).
    slice: of a NIfTI volume, counted from the patient's left, back or feet; default the middle one.
    plane: of the slice; default axial, or the acquired plane of a volume that is one slice thick.
    volume: of a NIfTI series (fourth axis); default the first.
    window: (center, width) in the file's units; or a name: "auto" (0.5th to 99.5th percentile),
        "full" (smallest to largest value), a CT preset such as "lung", or, for DICOM, the name of
        one of the file's own windows. Default: what the file says, see each kind.

    All counts start at 0.
    """

    frame: int | None = None
    slice: int | None = None
    plane: Plane | None = None
    volume: int | None = None
    window: tuple[float, float] | str | None = None

    def __post_init__(self) -> None:
        if self.plane is not None and self.plane not in PLANES:
            raise ImagingError("plane", f"{self.plane!r} is not known; choose one of {', '.join(PLANES)}")
        if self.window is not None and not isinstance(self.window, str):
            try:
                center, width = self.window
                check_window(float(center), float(width))
            except (TypeError, ValueError) as error:
                raise ImagingError(
                    "window", f"{self.window!r} is no (center, width) with a width above 0"
                ) from error


Readable = str | os.PathLike | bytes | PillowImage.Image | np.ndarray | Image


def read_image(source: Readable, options: ReadOptions | None = None, bounds: Bounds | None = None) -> Image:
    """Read one picture from a file, from bytes, or from what is already in memory.

    What a file is, is told from its content. Everything that can be refused is refused before
    pixels are decoded.

    Args:
        source: a file name; a file's bytes; a Pillow image; an array [H, W], [H, W, 1], [H, W, 3]
            or [H, W, 4] of bool, uint8, uint16, or floats in [0, 1]; an `Image`, handed back.
        options: which frame, slice and window; an option that the kind of file has no use for,
            and that is not the default, is refused.
        bounds: how large a file may be; of what is in memory already only the pixels are counted.

    Raises:
        ImagingError: one line that names the file, what was wrong and what would be right.
        TypeError: `source` is none of the above.
    """
    options = options or ReadOptions()
    if isinstance(source, Image):
        return source
    if isinstance(source, (np.ndarray, PillowImage.Image)):
        return _from_memory(source, options)
    if not isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)):
        raise TypeError(f"an image is a file name, bytes, a picture or an array, not {type(source).__name__}")
    with open_source(source, bounds or Bounds()) as opened:
        kind = detect(opened)
        try:
            pixels, details = _read(kind, opened, options)
            sha256 = opened.sha256()
            held = os.path.abspath(opened.name) if isinstance(source, (str, os.PathLike)) else source
            return Image(pixels, opened.name, sha256, kind, details, Original(kind, sha256, held))
        except ImagingError:
            raise
        except MemoryError as error:
            raise TooLarge(opened.name, "needs more memory than this machine has free") from error
        except Exception as error:                    # decoders raise every type there is on damaged files
            problem = f"is a damaged, truncated or unsupported {_NAMES[kind]} ({_reason(error)})"
            raise ImagingError(opened.name, problem) from error


_NAMES = {"png": "PNG", "jpeg": "JPEG", "tiff": "TIFF", "bmp": "BMP", "webp": "WebP",
          "dicom": "DICOM file", "nifti": "NIfTI file"}


def _read(kind: str, source: Source, options: ReadOptions) -> tuple[np.ndarray, dict]:
    """Hand the file to the reader of its kind; the readers' libraries load only when needed."""
    if kind == "dicom":
        _refuse_unused(source.name, "DICOM", options, "slice", "plane", "volume")
        from unimedvl.imaging.dicom import read_dicom

        return read_dicom(source, options)
    if kind == "nifti":
        _refuse_unused(source.name, "NIfTI", options, "frame")
        from unimedvl.imaging.nifti import read_nifti

        return read_nifti(source, options)
    _refuse_unused(source.name, _NAMES[kind], options, "slice", "plane", "volume")
    from unimedvl.imaging.raster import read_raster

    return read_raster(source, kind, options)


def _refuse_unused(name: str, kind: str, options: ReadOptions, *unused: str) -> None:
    for option in unused:
        value = getattr(options, option)
        if value is not None:
            raise ImagingError(name, f"is {kind}, which has no {option}; leave out {option}={value}")


def _from_memory(source: np.ndarray | PillowImage.Image, options: ReadOptions) -> Image:
    from unimedvl.imaging.raster import from_array, from_pillow

    if isinstance(source, np.ndarray):
        name = "<array>"
        identity = f"{source.dtype.str} {source.shape} ".encode() + np.ascontiguousarray(source).tobytes()
    else:
        name = "<PIL image>"
    _refuse_unused(name, "an image in memory", options, "frame", "slice", "plane", "volume")
    if isinstance(source, np.ndarray):
        pixels, details = from_array(source, name, options)
    else:
        try:
            pixels, details = from_pillow(source, name, options)
            identity = f"{source.mode} {source.size} ".encode() + source.tobytes()
        except ImagingError:
            raise
        except Exception as error:                    # a lazily loaded picture fails like a file
            raise ImagingError(name, f"cannot be decoded ({_reason(error)})") from error
    return Image(pixels, name, hashlib.sha256(identity).hexdigest(), "array", details)


def _reason(error: Exception) -> str:
    """The first line of a decoder's message, or its type where it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200].rstrip(":") if lines else type(error).__name__
