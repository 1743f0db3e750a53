"""Records as examples of the tasks that the model is trained on."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unimedvl.data.error import DataError
from unimedvl.data.record import IMAGE_MARK, Record
from unimedvl.data.source import Sample
from unimedvl.tasks import Example

# The attribute of a record that says where its drawn image shows what is asked for.
REGION = "region"
_GRID = 64
# The model's task for what a record's is called.
TASK_OF = {
    "vqa": "ask",
    "text_qa": "ask",
    "difference_vqa": "ask",
    "classification": "ask",
    "caption": "report",
    "report": "report",
    "text_to_image": "generate",
    "super_resolution": "upscale",
    "translation": "translate",
    "staining": "stain",
    "segmentation": "segment",
    "counterfactual": "counterfactual",
    "reconstruction": "reconstruct",
}


def example_of(sample: Sample) -> Example:
    """The example of a record; its images are loaded and decoded, to [3, H, W] uint8.

    Raises:
        DataError: no task of the model's, turns that are not request and answer by turns, an unreadable image.
    """
    record = sample.record
    shown = [_decoded(load(), p.path) for load, p in zip(sample.images, record.pictures, strict=True)]
    return laid_out(record, shown)


def outlined(record: Record) -> Example:
    """The same without pixels: images are of their size on torch's meta device, to know how long a sequence gets.

    Raises:
        DataError: as `example_of`, or the size of an image is not noted in the record, as a data build notes it.
    """
    unknown = next((p.path for p in record.pictures if None in (p.height, p.width)), None)
    if unknown:
        raise DataError(f"{record.id}: {unknown}: height and width are not in the record, as a data build leaves them")
    return laid_out(record, [torch.empty(3, p.height, p.width, device="meta") for p in record.pictures])


def laid_out(record: Record, shown: Sequence[Tensor]) -> Example:
    """The example of a record and its images. Raises DataError as `example_of`."""
    if record.sub_task_type not in TASK_OF:
        known = ", ".join(TASK_OF)
        raise DataError(f"{record.id}: sub_task_type: no task for {record.sub_task_type!r}; there are {known}")
    if [m.speaker for m in record.message] != ["human", "gpt"] * (len(record.message) // 2):
        raise DataError(f"{record.id}: message: expected human and gpt by turns, an answer last")
    words = [m.value.replace(IMAGE_MARK, "").strip() for m in record.message]
    inputs = len(record.input_img)
    turns = tuple(zip(words[::2], words[1::2], strict=True))
    task = TASK_OF[record.sub_task_type]
    return Example(task, tuple(shown[:inputs]), turns, tuple(shown[inputs:]), focus_of(record))


def focus_of(record: Record) -> Tensor | None:
    """Where the drawn image shows what is asked for, [64, 64] bool, by the record's `region`; None where it has none.

    A region is boxes as fractions of the image, "left top right bottom", one after another. Some data sets have a part
    of the body under this name: what has no digit is none.

    Raises:
        DataError: no such boxes.
    """
    if not any(letter.isdigit() for letter in record.attributes.get(REGION, "")):
        return None
    try:
        boxes = np.array(record.attributes[REGION].split(), dtype=np.float64).reshape(-1, 4)
    except ValueError as error:
        raise DataError(f"{record.id}: {REGION}: expected left, top, right and bottom of boxes, in 0 to 1") from error
    where = torch.zeros(_GRID, _GRID, dtype=torch.bool)
    for left, top, right, bottom in np.clip(boxes * _GRID, 0, _GRID):
        where[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
    return where


def _decoded(data: bytes, name: str) -> Tensor:
    """[3, H, W] uint8, plane by plane; of a grey image, whatever its mode, one plane that is expanded."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = opened if opened.mode in ("L", "RGB") else opened.convert("RGB")
            width, height = image.size
            planes = [plane.tobytes() for plane in image.split()]
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name}: can't be decoded: {error}") from error
    if len(planes) == 3 and planes[0] == planes[1] == planes[2]:
        planes = planes[:1]
    # a bytearray, for a tensor's memory can be written to
    pixels = torch.frombuffer(bytearray().join(planes), dtype=torch.uint8)
    return pixels.view(len(planes), height, width).expand(3, height, width)
