"""Axial slices of NIfTI volumes as 8-bit pictures, for data sets of volumes.

A slice is shown as radiologists look at it, whatever way the voxels are stored: the patient's right at the image's
left, the front at the top. Slices are counted from the feet, and their pixels are made square. Walking a data set
reads headers only; a volume is read when a slice of it is asked for, and the last few volumes are kept, as the slices
of one follow each other.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import io_orientation
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.imaging.resize import resize, square_size
from unimedvl.imaging.windowing import apply_range, robust_range

# Slices that are taken of each volume, where a data set doesn't say which matter.
SLICES = 8
# What greys are made of where no window is given; `robust_range` has these percentiles of the whole volume.
PERCENTILES = "0.5 to 99.5 percentile of the volume"
_ENDINGS = (".nii.gz", ".nii")
_MOST_VOXELS = 2**30
# Two volumes of a translation and a third beside them; each takes 4 bytes a voxel.
_HELD = 3
# What nibabel and gzip raise on damaged files.
_DAMAGED = (OSError, EOFError, ValueError, TypeError, zlib.error, ImageFileError, HeaderDataError, WrapStructError)


@dataclass(frozen=True)
class Volume:
    """Where a NIfTI volume lies, plain or gzipped: a file, or a part of one, as the member of a tar is.

    start, length: of that part, in bytes; a length of None is up to the end. member: its name, for errors.
    """

    file: Path
    start: int = 0
    length: int | None = None
    member: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.member}" if self.member else str(self.file)


def find_volume(folder: Path, name: str) -> Volume:
    """The volume `name` of a folder, gzipped or not.

    Raises:
        DataError: it is not there.
    """
    for ending in _ENDINGS:
        if (folder / (name + ending)).is_file():
            return Volume(folder / (name + ending))
    raise DataError(f"{folder}: expected {' or '.join(name + ending for ending in _ENDINGS)} in it, found neither")


def slice_count(volume: Volume) -> int:
    """Axial slices of a volume, from its header alone.

    Raises:
        DataError: it can't be read, or is no volume of three dimensions with a usable orientation.
    """
    return _guarded(volume, lambda: _header_count(volume))


def middle(count: int, wanted: int = SLICES) -> list[int]:
    """Slices of the middle half of `count`, evenly spread: `wanted` of them, or all where there are fewer."""
    first, last = count // 4, count - count // 4 - 1
    return [int(i) for i in np.unique(np.linspace(first, last, min(wanted, last - first + 1)).round())]


def axial_values(volume: Volume, index: int) -> np.ndarray:
    """One axial slice [H, W] float32 in the file's own units, its pixels as they are stored, square or not.

    Raises:
        DataError: the volume can't be read, or has no such slice.
    """
    values = _voxels(volume)[0]
    if not 0 <= index < values.shape[2]:
        raise DataError(f"{volume}: slice {index}: expected 0 to {values.shape[2] - 1}")
    # Right to left along the columns, front to back along the rows.
    return values[::-1, ::-1, index].T


def label_count(volume: Volume, label: int) -> np.ndarray:
    """Voxels of a label in each axial slice, [slices]. Raises DataError as `axial_values`."""
    return (_voxels(volume)[0] == label).sum((0, 1))


def labels(volume: Volume) -> list[int]:
    """The labels of a segmentation in ascending order, without the background.

    Raises:
        DataError: as `axial_values`, or a value is no whole number.
    """
    found = np.unique(_voxels(volume)[0])
    if not np.array_equal(found, found.round()):
        raise DataError(f"{volume}: expected whole numbers as labels, found {found[found != found.round()][0]:g}")
    return [int(label) for label in found if label]


def axial_grey(
    volume: Volume, index: int, window: tuple[float, float] | None = None, mask: Volume | None = None
) -> np.ndarray:
    """One axial slice as [H, W] uint8 with square pixels.

    window: the values shown as 0 and 255; by default the 0.5th and 99.5th percentile of the whole volume, so that its
    slices look alike. mask: a volume on the same grid; where it is 0, the slice is black.

    Raises:
        DataError: as `axial_values`, or the mask's grid is another.
    """
    low, high = window or _range(volume)
    grey = apply_range(axial_values(volume, index), low, high)
    if mask is not None:
        inside = axial_values(mask, index)
        if inside.shape != grey.shape:
            raise DataError(f"{mask}: expected slices of {grey.shape}, as {volume} has, found {inside.shape}")
        grey = np.where(inside != 0, grey, 0.0)
    return (resize(grey, _square(volume, grey)) * 255).round().astype(np.uint8)


def axial_mask(volume: Volume, index: int, label: int) -> np.ndarray:
    """One label of an axial slice of a segmentation, as [H, W] uint8: 255 where it is, with square pixels."""
    picture = Image.fromarray((axial_values(volume, index) == label).astype(np.uint8) * 255)
    return np.asarray(picture.resize(_square(volume, np.asarray(picture)), Image.Resampling.NEAREST))


def png(array: np.ndarray) -> bytes:
    """A PNG of [H, W] or [H, W, 3] uint8."""
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def grey_png(
    volume: Volume, index: int, window: tuple[float, float] | None = None, mask: Volume | None = None
) -> bytes:
    """`axial_grey` as PNG."""
    return png(axial_grey(volume, index, window, mask))


def mask_png(volume: Volume, index: int, label: int) -> bytes:
    """`axial_mask` as PNG."""
    return png(axial_mask(volume, index, label))


def _square(volume: Volume, pixels: np.ndarray) -> tuple[int, int]:
    """The (width, height) at which the pixels of a slice are square."""
    across, along = _voxels(volume)[1]
    height, width = pixels.shape
    return square_size(width, height, along, across)


def _range(volume: Volume) -> tuple[float, float]:
    return _guarded(volume, lambda: _kept_range(volume, _stamp(volume)))


def _voxels(volume: Volume) -> tuple[np.ndarray, tuple[float, float]]:
    return _guarded(volume, lambda: _kept_voxels(volume, _stamp(volume)))


def _stamp(volume: Volume) -> tuple[int, int]:
    """Tells a file from one that has taken its place."""
    found = volume.file.stat()
    return found.st_mtime_ns, found.st_size


def _guarded(volume: Volume, step: Callable):
    """The step's result; what a damaged or missing file raises becomes a DataError that names the volume."""
    try:
        return step()
    except DataError:
        raise
    except _DAMAGED as error:
        reason = getattr(error, "strerror", None) or f"damaged, truncated or no NIfTI: {error}"
        raise DataError(f"{volume}: {reason}") from error


@lru_cache(maxsize=4 * _HELD)
def _kept_range(volume: Volume, stamp: tuple[int, int]) -> tuple[float, float]:
    return robust_range(_voxels(volume)[0])


@lru_cache(maxsize=_HELD)
def _kept_voxels(volume: Volume, stamp: tuple[int, int]) -> tuple[np.ndarray, tuple[float, float]]:
    """[R, A, S] float32 in canonical order, and the distances of voxels along the first two axes, in millimetres."""
    _header_count(volume)
    with volume.file.open("rb") as file:
        file.seek(volume.start)
        data = file.read() if volume.length is None else file.read(volume.length)
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    kind = nib.Nifti2Image if _is_second(data) else nib.Nifti1Image
    image = nib.as_closest_canonical(kind.from_bytes(data))
    values = np.asarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3])
    across, along = voxel_sizes(image.affine)[:2]
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), (float(across), float(along))


def _header_count(volume: Volume) -> int:
    with volume.file.open("rb") as file:
        file.seek(volume.start)
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(volume.start)
        head = (gzip.GzipFile(fileobj=file) if packed else file).read(540)
    kind = nib.Nifti2Header if _is_second(head) else nib.Nifti1Header
    header = kind(head[: kind.sizeof_hdr])
    shape = header.get_data_shape()
    if len(shape) < 3 or any(n > 1 for n in shape[3:]) or any(n < 1 for n in shape):
        raise DataError(f"{volume}: expected three dimensions, found {shape}")
    if math.prod(map(int, shape)) > _MOST_VOXELS:
        raise DataError(f"{volume}: {shape} are over {_MOST_VOXELS:,} voxels, which is the most that is read")
    axes = io_orientation(header.get_best_affine())[:, 0]
    if not np.isfinite(axes).all():
        raise DataError(f"{volume}: no usable orientation, as its affine is singular")
    return int(shape[list(axes).index(2)])


def _is_second(head: bytes) -> bool:
    """Whether it is NIfTI-2, by the magic after the size of its header."""
    return head[4:8] == b"n+2\x00"
