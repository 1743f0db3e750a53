"""IXI (Imperial College London, brain-development.org): brain MRI of healthy subjects, here to be drawn sharper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from unimedvl.data.archives import tar_members
from unimedvl.data.edits import edit_turns
from unimedvl.data.error import DataError
from unimedvl.data.files import Rows
from unimedvl.data.record import Picture, Record
from unimedvl.data.slices import PERCENTILES, Volume, axial_grey, middle, png, slice_count
from unimedvl.data.source import Fault, Item, Sample, Source, samples

_LICENCE = "CC-BY-SA-3.0"
# The first of these that is there is read. T1 is on another grid, with voxels that are not square in axial slices.
_WEIGHTINGS = ("T2", "T1")
_NAME = re.compile(r"IXI(\d{3,})-(Guys|HH|IOP)-(\d+)-(T1|T2)\.nii(?:\.gz)?")
# How many times coarser the input is: `tasks.UPSCALE_FACTOR`.
_FACTOR = 4


def read(root: Path) -> Iterator[Item]:
    """The middle slices of each volume, from the unpacked folder of a weighting, from its tar, or from files beside."""
    weighting, found = _volumes(root)
    for name, volume in sorted(found):
        parts = _NAME.fullmatch(name)
        if not parts or parts.group(4) != weighting:
            yield Fault(str(volume), f"expected a name like IXI901-Guys-1234-{weighting}.nii.gz")
        else:
            yield from samples(_slices(volume), lambda row, v=volume, p=parts: _record(v, row["slice"], p))


def _volumes(root: Path) -> tuple[str, list[tuple[str, Volume]]]:
    """A weighting, and its volumes by name.

    Raises:
        DataError: there are none.
    """
    for weighting in _WEIGHTINGS:
        folder, archive = root / f"IXI-{weighting}", root / f"IXI-{weighting}.tar"
        if folder.is_dir():
            return weighting, [(f.name, Volume(f)) for f in folder.iterdir() if f.is_file()]
        if archive.is_file():
            with archive.open("rb") as stream:
                return weighting, [(n, Volume(archive, *place, n)) for n, place in tar_members(archive, stream)]
        if files := list(root.glob(f"IXI*-{weighting}.nii*")):
            return weighting, [(f.name, Volume(f)) for f in files]
    kinds = " or ".join(f"IXI-{w}.tar, IXI-{w}/ or IXI*-{w}.nii.gz" for w in _WEIGHTINGS)
    raise DataError(f"{root}: expected {kinds} in it, found none")


def _slices(volume: Volume) -> Rows:
    try:
        yield from ((f"{volume}: slice {i}", {"slice": i}) for i in middle(slice_count(volume)))
    except DataError as error:
        yield str(volume), error


def _record(volume: Volume, index: int, name: re.Match[str]) -> Sample:
    subject, site, scan, weighting = name.groups()
    study = f"IXI{subject}-{site}-{scan}"
    key = f"{study}-{weighting}-{index:03d}"
    record = Record(
        main_task_type="interleaved",
        sub_task_type="super_resolution",
        modality="mri",
        dataset="ixi",
        input_img=(Picture(path=f"{key}-low.png"),),
        output_img=(Picture(path=f"{key}.png"),),
        message=edit_turns("upscale", f"ixi {key}", factor=_FACTOR),
        id=key,
        licence=_LICENCE,
        patient=f"IXI{subject}",
        study=study,
        attributes={
            "weighting": weighting,
            "site": site,
            "slice": str(index),
            "intensities": PERCENTILES,
            "degradation": f"mean over blocks of {_FACTOR} x {_FACTOR} pixels, then bicubic to the size before",
        },
    )
    return Sample(record, (partial(_coarse, volume, index), partial(_sharp, volume, index)))


def _sharp(volume: Volume, index: int) -> bytes:
    return png(_whole_blocks(volume, index))


def _coarse(volume: Volume, index: int) -> bytes:
    return png(degraded(_whole_blocks(volume, index)))


def _whole_blocks(volume: Volume, index: int) -> np.ndarray:
    """The slice without the last rows and columns that fill no block."""
    grey = axial_grey(volume, index)
    height, width = (side - side % _FACTOR for side in grey.shape)
    return grey[:height, :width]


def degraded(grey: np.ndarray, factor: int = _FACTOR) -> np.ndarray:
    """[H, W] uint8 as it looks at a `factor` times lower resolution: the same size, blocks averaged, then bicubic.

    H and W are multiples of the factor.
    """
    height, width = (side // factor for side in grey.shape)
    small = grey.reshape(height, factor, width, factor).mean((1, 3), dtype=np.float32)
    large = Image.fromarray(small).resize(grey.shape[::-1], Image.Resampling.BICUBIC)
    return np.asarray(large).clip(0, 255).round().astype(np.uint8)


SOURCE = Source(
    name="ixi",
    title="IXI",
    home="https://brain-development.org/ixi-dataset",
    licence=_LICENCE,
    access="open",
    modalities=("mri",),
    expected={"train": None},
    read=read,
    notes="The middle slices of the T2 volumes, about 578; of T1 where there is no T2. PD, MRA and DTI are not read. "
    "No official split: split by patient.",
    tasks=("super_resolution",),
)
