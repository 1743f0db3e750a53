"""Records as examples of the tasks that the model is trained on."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor

from unimedvl.data.error import DataError
from unimedvl.data.record import IMAGE_MARK
from unimedvl.data.source import Sample
from unimedvl.tasks import Example

# The model's task for what a record's is called.
TASK_OF = {
    "vqa": "ask",
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
}


def example_of(sample: Sample) -> Example:
    """The example of a record; its images are loaded and decoded, to [3, H, W] uint8.

    Raises:
        DataError: no task of the model's, turns that are not request and answer by turns, an unreadable image.
    """
    record = sample.record
    if record.sub_task_type not in TASK_OF:
        known = ", ".join(TASK_OF)
        raise DataError(f"{record.id}: sub_task_type: no task for {record.sub_task_type!r}; there are {known}")
    if [m.speaker for m in record.message] != ["human", "gpt"] * (len(record.message) // 2):
        raise DataError(f"{record.id}: message: expected human and gpt by turns, an answer last")
    words = [m.value.replace(IMAGE_MARK, "").strip() for m in record.message]
    shown = [_decoded(load(), p.path) for load, p in zip(sample.images, record.pictures, strict=True)]
    inputs = len(record.input_img)
    turns = tuple(zip(words[::2], words[1::2], strict=True))
    return Example(TASK_OF[record.sub_task_type], tuple(shown[:inputs]), turns, tuple(shown[inputs:]))


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
