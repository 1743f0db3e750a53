"""What a task of the interleaved group is: which pairs it takes, its wishes, its words."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from unimedvl.data.error import DataError
from unimedvl.data.interleaved.wording import Wording
from unimedvl.data.record import Record


@dataclass(frozen=True)
class InterleavedTask:
    """One task.

    name: as the table has it. sub_task_type: as records have it. wishes: the attributes that the words need, in the
    order in which errors name them. kept: those of them that must stay as they are in other words. wording: of the
    record, by its attributes. takes: whether a record's wishes are this task's. aligned: whether both images show the
    same anatomy in greys or colours, so that a shift between them can be measured. complete: the wishes of a record
    that says them otherwise. worded_by: another wording for some wishes; None for the one.
    """

    name: str
    sub_task_type: str
    wishes: tuple[str, ...]
    wording: Wording
    kept: tuple[str, ...] = ()
    aligned: bool = False
    takes: Callable[[Mapping[str, str]], bool] = field(default=lambda told: True, repr=False)
    complete: Callable[[Record], Mapping[str, str]] = field(default=lambda record: record.attributes, repr=False)
    worded_by: Callable[[Mapping[str, str]], Wording] | None = field(default=None, repr=False)

    def wished(self, record: Record) -> dict[str, str]:
        """What the words of a record need.

        Raises:
            DataError: the record does not say it.
        """
        told = self.complete(record)
        for name in self.wishes:
            if not told.get(name):
                raise DataError(f"{record.dataset} {record.id}: attributes: no {name}, which {self.name} needs")
        return {name: told[name] for name in self.wishes}

    def words(self, key: str, seed: int, wishes: Mapping[str, str]) -> tuple[str, str]:
        """The request and the reply, as key and seed have it."""
        wording = self.worded_by(wishes) if self.worded_by else self.wording
        return wording.worded(key, seed, wishes)


def opened(data: bytes, name: str) -> np.ndarray:
    """[H, W] or [H, W, 3] uint8 of an encoded image; 16-bit greys are scaled, palettes and alpha turned to RGB.

    Raises:
        DataError: it can't be read; the message has its name.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode in ("I;16", "I;16B", "I;16L", "I"):
                return (np.asarray(image, dtype=np.float64) / 257).clip(0, 255).round().astype(np.uint8)
            return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: no image that can be read: {error}") from error
