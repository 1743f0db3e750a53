"""One slice of a NIfTI volume, in a fixed orientation.

Whatever way the voxels are stored, they are addressed in the canonical order RAS+ (the first axis
runs to the patient's right, the second to the front, the third to the head), and a slice is shown
as radiologists look at it: the patient's right at the image's left in axial and coronal slices,
the front at the top of axial and at the left of sagittal slices, the head at the top elsewhere.
Only the wanted slice and a sample of the others, for the window, are read.
"""

from __future__ import annotations

import gzip
import math

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import aff2axcodes, io_orientation

from unimedvl.imaging.errors import ImagingError
from unimedvl.imaging.image import PLANES, ReadOptions
from unimedvl.imaging.resize import resize, square_size
from unimedvl.imaging.source import Source
from unimedvl.imaging.windowing import (
    AUTO,
    FULL,
    PRESETS,
    apply_range,
    apply_window,
    full_range,
    preset_name,
    robust_range,
    window_names,
)

_ACROSS = {"sagittal": 0, "coronal": 1, "axial": 2}      # the canonical axis that a plane cuts
_FARTHEST = 2**28                                        # byte of a file at which its voxels may begin
_SAMPLED_SLABS = 16
_SAMPLED_VALUES = 500_000                                # of each slab


def read_nifti(source: Source, options: ReadOptions) -> tuple[np.ndarray, dict]:
    """Read one slice of a NIfTI-1 or NIfTI-2 file, plain or gzipped.

    Intensities are windowed as asked, else from the 0.5th to the 99.5th percentile of the volume,
    so that the slices of one volume look alike. Values that are not finite are black.

    Returns:
        float32 [H, W, 3] in [0, 1], square pixels, and the details.

    Raises:
        ImagingError: what is refused by a rule. Damaged files raise whatever nibabel raises.
    """
    image = _open(source)
    shape, volume = _volume(image, options.volume, source)
    axes, flips = _orientation(image, source)
    plane = options.plane or _default_plane(shape, axes)
    stored_axis = axes.index(_ACROSS[plane])
    count = shape[stored_axis]
    index = count // 2 if options.slice is None else options.slice
    if not 0 <= index < count:
        valid = "leave it out or give 0" if count == 1 else f"give 0 to {count - 1}"
        raise ImagingError(source.name, f"has {count} {plane} slice{'s' * (count != 1)}; "
                                        f"slice {index} is out of range, {valid}")
    rest = [axis for axis in range(3) if axis != stored_axis]
    source.check_pixels(shape[rest[0]], shape[rest[1]])
    _check_packed(image, source)
    stored_index = count - 1 - index if flips[stored_axis] else index
    values = _slab(image, stored_axis, stored_index, volume)
    values = _as_seen(values, [axes[a] for a in rest], [flips[a] for a in rest])
    pixels, details = _intensities(values, image, volume, options, source)
    spacing = voxel_sizes(image.affine)
    details.update(plane=plane, slice=index, slices=count, orientation="".join(aff2axcodes(image.affine)),
                   spacing_mm=[float(f"{spacing[axes.index(a)]:.6g}") for a in range(3)])
    if len(image.shape) > 3 and image.shape[3] > 1:
        details.update(volume=volume, volumes=int(image.shape[3]))
    return _square(pixels, plane, [spacing[axes.index(a)] for a in range(3)], details, source), details


def _open(source: Source):
    """The image with its header checked; its voxels stay in the file."""
    head = source.head(4)
    source.stream.seek(0)
    stream = gzip.GzipFile(fileobj=source.stream) if head[:2] == b"\x1f\x8b" else source.stream
    start = stream.read(8)
    kind = nib.Nifti2Image if start[4:8] in (b"n+2\x00", b"ni2\x00") else nib.Nifti1Image
    stream.seek(0)
    header = kind.header_class.from_fileobj(stream, check=False)
    if bytes(header["magic"])[:2] == b"ni":
        raise ImagingError(source.name, "is half of a NIfTI pair (.hdr and .img); save it as one .nii file")
    offset = float(header["vox_offset"])
    if not offset <= _FARTHEST:                          # nibabel reads all that lies before the voxels; NaN is none
        raise ImagingError(source.name, f"has its voxels at byte {offset:g}, which is no place; it is damaged")
    stream.seek(0)
    image = kind.from_stream(stream)
    _check_size(image, source, packed=stream is not source.stream)
    return image


def _check_packed(image, source: Source) -> None:
    """Unpack a gzipped file to its end once: only there it says by checksum and length whether all is as packed."""
    stream = image.dataobj.file_like
    if not isinstance(stream, gzip.GzipFile):
        return
    stream.seek(0)
    size = 0
    while block := stream.read(2**20):
        size += len(block)
        source.check_unpacked(size)
    expected = int(image.dataobj.offset) + math.prod(int(n) for n in image.shape) * image.get_data_dtype().itemsize
    if size < expected:
        raise ImagingError(source.name, f"is truncated: {size} of {expected} bytes are there")


def _check_size(image, source: Source, packed: bool) -> None:
    """Refuse volumes without voxels, with more than the bounds allow, or with fewer bytes than their header says."""
    if any(side < 1 for side in image.shape) or not image.shape:
        raise ImagingError(source.name, f"has dimensions {list(image.shape)}; all must be at least 1")
    size = math.prod(int(n) for n in image.shape) * image.get_data_dtype().itemsize
    source.check_unpacked(size)
    source.check_frames(math.prod(int(n) for n in image.shape[2:]), "slices")
    offset = float(image.dataobj.offset)
    if not packed and offset + size > source.size:
        present = max(0, int(source.size - offset))
        raise ImagingError(source.name, f"is truncated: {present} of {size} bytes of voxels are there")


def _volume(image, volume: int | None, source: Source) -> tuple[tuple[int, int, int], int]:
    """The three sides of a volume, and which volume of a series is meant."""
    shape = tuple(int(n) for n in image.shape)
    if any(n > 1 for n in shape[4:]):
        raise ImagingError(source.name, f"has dimensions {list(shape)}; at most 4 dimensions are read")
    count = shape[3] if len(shape) > 3 else 1
    chosen = volume or 0
    if not 0 <= chosen < count:
        valid = "leave it out or give 0" if count == 1 else f"give 0 to {count - 1}"
        raise ImagingError(source.name, f"has {count} volume{'s' * (count != 1)}; "
                                        f"volume {chosen} is out of range, {valid}")
    return (shape + (1, 1, 1))[:3], chosen


def _orientation(image, source: Source) -> tuple[list[int], list[bool]]:
    """For each stored axis, the canonical axis that it is closest to, and whether it runs the other way."""
    affine = np.asarray(image.affine, dtype=float)
    orientation = io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if not np.isfinite(orientation).all():
        raise ImagingError(source.name, "has no usable orientation (its affine is singular); "
                                        "set its qform or sform")
    return [int(a) for a in orientation[:, 0]], [bool(f < 0) for f in orientation[:, 1]]


def _default_plane(shape: tuple[int, int, int], axes: list[int]) -> str:
    """Axial, but the acquired plane where the volume is a single slice of another."""
    canonical = {canonical: shape[stored] for stored, canonical in enumerate(axes)}
    thin = [plane for plane in PLANES if canonical[_ACROSS[plane]] == 1]
    return thin[0] if len(thin) == 1 else "axial"


def _slab(image, axis: int, index: int, volume: int) -> np.ndarray:
    """One slice across a stored axis, the other two in stored order; only its bytes are read."""
    where: list = [slice(None)] * min(3, len(image.shape)) + [volume, 0, 0, 0][: max(0, len(image.shape) - 3)]
    if axis >= len(image.shape):                         # a two-dimensional file
        return np.asanyarray(image.dataobj)
    where[axis] = index
    slab = np.asanyarray(image.dataobj[tuple(where)])
    rest = [n for a, n in enumerate((*image.shape[:3], 1, 1)[:3]) if a != axis]
    return slab.reshape(rest)


def _as_seen(values: np.ndarray, axes: list[int], flips: list[bool]) -> np.ndarray:
    """Two stored axes to rows and columns: canonical order, then the radiologist's view.

    In that view the higher canonical axis runs up the image, the lower one to the left: to the
    patient's right in axial and coronal slices, to the front in sagittal ones.
    """
    values = np.flip(values, axis=[i for i in range(2) if flips[i]])
    if axes[0] > axes[1]:
        values = values.swapaxes(0, 1)
    return values[::-1, ::-1].swapaxes(0, 1)


def _intensities(
    values: np.ndarray, image, volume: int, options: ReadOptions, source: Source
) -> tuple[np.ndarray, dict]:
    """[H, W] voxels to float RGB."""
    if values.dtype.names:                               # RGB24 and RGBA32 hold a byte per colour
        if options.window is not None:
            raise ImagingError(source.name, "is a colour volume, which has no window; leave out the window")
        colours = np.stack([values[name] for name in ("R", "G", "B")], axis=-1)
        return colours.astype(np.float32) / np.float32(255), {"photometric": "RGB"}
    if values.dtype.kind not in "uif":
        raise ImagingError(source.name, f"holds {values.dtype} voxels; real numbers and RGB are read")
    details: dict = {"photometric": "grey", "bits": 8 * image.get_data_dtype().itemsize}
    window = options.window
    word = preset_name(window) if isinstance(window, str) else AUTO
    if isinstance(window, tuple) or word in PRESETS:
        center, width = window if isinstance(window, tuple) else PRESETS[word]
        function = "LINEAR" if word in PRESETS else "LINEAR_EXACT"
        origin = word if word in PRESETS else "given"
        details.update(window=[float(center), float(width)], window_from=origin)
        grey = apply_window(_finite(values), float(center), float(width), function)
    elif word in (AUTO, FULL):
        try:
            low, high = (full_range if word == FULL else robust_range)(_sample(image, volume))
        except ValueError as error:
            raise ImagingError(source.name, "has only voxels that are NaN or infinite") from error
        details.update(window=word, range=[low, high])
        grey = apply_range(_finite(values), low, high)
    else:
        raise ImagingError(source.name, f"window {window!r} is not known; give center,width "
                                        f"or one of {window_names()}")
    if values.dtype.kind == "f":
        grey[~np.isfinite(values)] = 0.0
    return np.repeat(grey[..., None], 3, axis=2), details


def _finite(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0) if values.dtype.kind == "f" else values


def _sample(image, volume: int) -> np.ndarray:
    """Values spread over a volume: up to 16 slabs across the last stored axis, thinned."""
    last = min(3, len(image.shape)) - 1
    count = image.shape[last]
    chosen = np.unique(np.linspace(0, count - 1, min(count, _SAMPLED_SLABS)).round().astype(int))
    slabs = (_slab(image, last, int(i), volume).ravel() for i in chosen)
    return np.concatenate([slab[:: max(1, slab.size // _SAMPLED_VALUES)] for slab in slabs])


def _square(
    pixels: np.ndarray, plane: str, spacing: list[float], details: dict, source: Source
) -> np.ndarray:
    column_axis, row_axis = [axis for axis in range(3) if axis != _ACROSS[plane]]
    height, width = pixels.shape[:2]
    size = square_size(width, height, spacing[row_axis], spacing[column_axis])
    if size == (width, height):
        return pixels
    source.check_pixels(*size)
    details["resampled"] = f"{width} x {height} to {size[0]} x {size[1]} for square pixels"
    return resize(pixels, size)
