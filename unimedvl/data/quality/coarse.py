"""Stage 1: images that are too small, texts that are too short or too long."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from unimedvl.data.error import DataError
from unimedvl.data.record import Decision, Record

VERSION = "1"  # of the rules: another one where the same record could be judged otherwise
BY = f"unimedvl.data.quality.coarse {VERSION}"
IMAGE_SIDE, TEXT_LENGTH = "image-side", "text-length"


class CoarseSettings(BaseModel):
    """Thresholds of stage 1; the defaults are the published ones.

    shortest_side: pixels that the shorter side of every image must have.
    fewest_characters, most_characters: of the record's text, which is all turns without image marks.
    small_inputs: tasks whose input images are small on purpose; their outputs are measured all the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shortest_side: int = Field(default=128, gt=0)
    fewest_characters: int = Field(default=10, ge=0)
    most_characters: int = Field(default=1024, gt=0)
    small_inputs: tuple[str, ...] = ("super_resolution",)

    @model_validator(mode="after")
    def _ordered(self) -> CoarseSettings:
        if self.fewest_characters > self.most_characters:
            raise ValueError(
                f"fewest_characters is {self.fewest_characters}; it must not be over most_characters, "
                f"{self.most_characters}"
            )
        return self


PUBLISHED = CoarseSettings()


def decide(
    record: Record, images: Sequence[bytes], settings: CoarseSettings = PUBLISHED
) -> tuple[Decision, ...]:
    """What stage 1 says of a record: its images first, where any of them is measured, then its text.

    images: encoded, in the order of `record.pictures`. Only their headers are read.
    The score is the shortest side of all in pixels, and the number of characters.

    Raises:
        DataError: an image is none, or there are more or fewer than pictures.
    """
    if len(images) != len(record.pictures):
        raise DataError(f"{len(images)} images for {len(record.pictures)} pictures of the record")
    named = zip(images, record.pictures, strict=True)
    return decide_sizes(record, [image_size(data, picture.path) for data, picture in named], settings)


def decide_sizes(
    record: Record, sizes: Sequence[tuple[int, int]], settings: CoarseSettings = PUBLISHED
) -> tuple[Decision, ...]:
    """The same where the images have been opened. sizes: width and height in the order of `record.pictures`."""
    sides = _sides(record, sizes, settings)
    text = _text_length(len(record.text), settings)
    return (_image_side(sides, settings), text) if sides else (text,)


def image_size(data: bytes, name: str) -> tuple[int, int]:
    """Width and height of an encoded image in pixels, from its header. name: what an error calls it.

    Raises:
        DataError: it is no image that Pillow knows, is broken, or so large that opening it is unsafe.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return opened.size
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too large to be opened: {error}") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{name}: no image that can be read ({len(data)} bytes)") from error
    # A broken header raises nearly anything, by format.
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        KeyError,
        IndexError,
        TypeError,
        struct.error,
    ) as error:
        raise DataError(f"{name}: no image that can be read: {error}") from error


def _sides(
    record: Record, sizes: Sequence[tuple[int, int]], settings: CoarseSettings
) -> list[tuple[int, str]]:
    """The shorter side of each measured image, and its path."""
    sides = [(min(size), picture.path) for size, picture in zip(sizes, record.pictures, strict=True)]
    exempt = len(record.input_img) if record.sub_task_type in settings.small_inputs else 0
    return sides[exempt:]


def _image_side(sides: list[tuple[int, str]], settings: CoarseSettings) -> Decision:
    side, path = min(sides, key=lambda s: s[0])
    kept = side >= settings.shortest_side
    reason = "" if kept else f"{path}: the shorter side is {side} px, under {settings.shortest_side}"
    return Decision(rule=IMAGE_SIDE, kept=kept, by=BY, score=side, reason=reason)


def _text_length(length: int, settings: CoarseSettings) -> Decision:
    fewest, most = settings.fewest_characters, settings.most_characters
    kept = fewest <= length <= most
    limit = f"under {fewest}" if length < fewest else f"over {most}"
    reason = "" if kept else f"the text has {length} characters, {limit}"
    return Decision(rule=TEXT_LENGTH, kept=kept, by=BY, score=length, reason=reason)
