"""What is known of an image before anything is written about it: its caption, its labels, its acquisition."""

from __future__ import annotations

import re

from unimedvl.data.captions.rules import Original
from unimedvl.data.error import DataError
from unimedvl.data.record import IMAGE_MARK, Record

# Tasks whose answer is a text about the whole image.
DESCRIBED = ("caption", "report")
# Attributes that say how an image was made or what it shows, as sources call them.
_ACQUISITION = ("view", "plane", "weighting", "body_part", "sequence")


def original_of(record: Record) -> Original:
    """The caption of a record's one image, and what else its source says of it.

    Raises:
        DataError: the record has no caption or report, or not one image.
    """
    if record.main_task_type != "understanding" or record.sub_task_type not in DESCRIBED:
        raise DataError(
            f"{record.dataset} {record.id}: expected a record for understanding with {' or '.join(DESCRIBED)}, "
            f"found {record.main_task_type} with {record.sub_task_type}"
        )
    if len(record.input_img) != 1:
        raise DataError(f"{record.dataset} {record.id}: expected one image, found {len(record.input_img)}")
    said = [m.value.replace(IMAGE_MARK, " ") for m in record.message if m.speaker == "gpt"]
    text = " ".join(said[-1].split()) if said else ""
    if not text:
        raise DataError(f"{record.dataset} {record.id}: message: no caption")
    return Original(text, record.modality, _known(record))


def _known(record: Record) -> str:
    """Labels and acquisition as sentences."""
    told = record.attributes
    states = [name for name in _names(told.get("positive", "")) if name != "no finding"]
    denies = [f"no {name}" for name in _names(told.get("negative", ""))]
    return " ".join(f"{s}." for s in (*states, *denies, *(told[k] for k in _ACQUISITION if told.get(k))))


def _names(labels: str) -> list[str]:
    return [name.strip().lower() for name in re.split(r",", labels) if name.strip()]
