"""Four times the resolution: a sharp image, and the same made coarse by a declared degradation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from unimedvl.data.error import DataError
from unimedvl.data.interleaved.degradation import Degradation, declared, whole_blocks
from unimedvl.data.interleaved.task import InterleavedTask, opened
from unimedvl.data.interleaved.wording import Wording
from unimedvl.data.record import Message, Picture, Record
from unimedvl.data.slices import png
from unimedvl.data.source import Load, Sample
from unimedvl.tasks import UPSCALE_FACTOR

# Where nothing else is asked for: as `sources.ixi` has it.
USUAL = Degradation()


def paired(sample: Sample, degradation: Degradation = USUAL) -> Sample:
    """A pair for super-resolution of a record's one image: its last output, or else its only input.

    So a slice of any source may serve, and a pair that is there already gets another degradation. The words are
    those of the record until `records.constructed` writes others.

    Raises:
        DataError: the record has no image, or several of which none is to be drawn.
    """
    record = sample.record
    if not record.output_img and len(record.input_img) != 1:
        raise DataError(f"{record.dataset} {record.id}: expected one image to be drawn, found {len(record.input_img)}")
    picture, load = record.pictures[-1], sample.images[-1]
    again = record.sub_task_type == SUPER_RESOLUTION.sub_task_type
    update = {
        "main_task_type": "interleaved",
        "sub_task_type": SUPER_RESOLUTION.sub_task_type,
        "input_img": (Picture(path=f"{picture.path}-low.png"),),
        "output_img": (Picture(path=picture.path if again else f"{picture.path}-sharp.png"),),
        "message": (Message(speaker="human", value="<image>"), Message(speaker="gpt", value="")),
        "id": record.id if again else f"{record.id}/super_resolution",
        "attributes": record.attributes | degradation.attributes() | ({} if again else {"original": record.id}),
    }
    made = record.model_copy(update=update)
    sharp = partial(_whole, load, picture.path, degradation.factor)
    return Sample(made, (lambda: png(degradation.applied(sharp(), made.id)), lambda: png(sharp())))


def _whole(load: Load, name: str, factor: int) -> np.ndarray:
    return whole_blocks(opened(load(), name), factor)


def _told(record: Record) -> Mapping[str, str]:
    """The attributes, with the factor of what is declared; the usual one where a source has words of its own for it."""
    found = declared(record.attributes)
    usual = {"factor": str(UPSCALE_FACTOR)} if record.attributes.get("degradation") else {}
    return usual | record.attributes | (found.attributes() if found else {})


SUPER_RESOLUTION = InterleavedTask(
    name="super_resolution",
    sub_task_type="super_resolution",
    wishes=("factor",),
    wording=Wording(
        requests=(
            "(Please |)(increase|raise) the resolution of this (image|picture) {factor}x.",
            "Make this (image|picture) {factor}x sharper.",
            "(Please |)show this (image|picture) at {factor}x its resolution.",
            "(Restore|Bring back) the (fine|lost) detail of this (image|picture): {factor}x the resolution.",
        ),
        replies=(
            "Here is the (image|picture) at {factor}x resolution.",
            "This is the (image|picture) with {factor}x the resolution.",
            "The same (image|picture), {factor}x as sharp.",
        ),
    ),
    aligned=True,
    complete=_told,
)
