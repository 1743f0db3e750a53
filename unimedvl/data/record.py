"""One record: an example in the layout of the published set, with where it is from and what was decided of it.

The first seven fields are those of UniMed-5M (arXiv 2510.15710); its files are read as they are, and
written without the fields that it does not have where those are empty.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from unimedvl.data.error import DataError

# Marks the place of an input image in a message.
IMAGE_MARK = "<image>"

Split = Literal["train", "validation", "test"]
Group = Literal["understanding", "generation", "interleaved"]
# What a hash looks like: SHA-256 in hexadecimal.
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Picture(_Strict):
    """An image of a record: its path, relative to the record's file, and its size in pixels.

    sha256: of the encoded bytes, as they lie in the file or the shard.
    """

    path: str = Field(min_length=1)
    height: int | None = Field(default=None, gt=0)
    width: int | None = Field(default=None, gt=0)
    sha256: Sha256 | None = None


class Message(_Strict):
    """One turn. `<image>` in the value stands for the next input image."""

    speaker: Literal["human", "gpt"] = Field(alias="from")
    value: str


class Decision(_Strict):
    """What a rule said of the record.

    rule: its name. kept: whether the record passed. score: what it measured, where it measured something.
    by: what decided, and its version. reason: in words, where it did not pass.
    """

    rule: str = Field(min_length=1)
    kept: bool
    by: str = Field(min_length=1)
    score: float | None = Field(default=None, allow_inf_nan=False)
    reason: str = ""


class Record(_Strict):
    """One example.

    main_task_type: understanding, generation or interleaved. sub_task_type: the task, such as `vqa`.
    modality: as in `tasks.MODALITY_NAMES`; `text` for what has no image, `mixed` where the source doesn't say.
    dataset: the source's name. input_img, output_img: what is given, and what is to be drawn.
    message: the conversation; as many image marks as input images, or none at all.
    id: unique within the source. licence: an SPDX identifier, or the source's own words.
    patient, study: pseudonyms, which serve to split by patient. split: the source's own.
    attributes: what else the source says, such as the kind of a question.
    decisions: in the order in which they were made.
    """

    main_task_type: Group
    sub_task_type: str = Field(min_length=1)
    modality: str = Field(min_length=1)
    dataset: str = Field(min_length=1)
    input_img: tuple[Picture, ...] = ()
    output_img: tuple[Picture, ...] = ()
    message: tuple[Message, ...] = Field(min_length=1)
    id: str = ""
    licence: str = ""
    patient: str = ""
    study: str = ""
    split: Split | None = None
    attributes: dict[str, str] = {}
    decisions: tuple[Decision, ...] = ()

    @model_validator(mode="after")
    def _marks(self) -> Record:
        marks = sum(m.value.count(IMAGE_MARK) for m in self.message)
        if marks and marks != len(self.input_img):
            raise ValueError(f"message: {marks} {IMAGE_MARK} marks for {len(self.input_img)} input images")
        return self

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Inputs, then outputs."""
        return (*self.input_img, *self.output_img)

    @property
    def kept(self) -> bool:
        """Whether every rule let it pass."""
        return all(d.kept for d in self.decisions)

    @property
    def text(self) -> str:
        """What is said, without image marks: the turns on lines of their own."""
        return "\n".join(m.value.replace(IMAGE_MARK, "").strip() for m in self.message)

    def decided(self, decision: Decision) -> Record:
        """The same record with one more decision."""
        return self.model_copy(update={"decisions": (*self.decisions, decision)})

    def to_json(self) -> str:
        """One line in the published layout; fields of this project's own are left out where empty."""
        return self.model_dump_json(by_alias=True, exclude_defaults=False, exclude=self._empty())

    def _empty(self) -> set[str]:
        own = ("id", "licence", "patient", "study", "split", "attributes", "decisions")
        return {name for name in own if not getattr(self, name)}


def parse_record(line: str, where: str) -> Record:
    """A record out of a JSON line. where: file and line, for the error.

    Raises:
        DataError: not JSON, or a field is missing, unknown or wrong.
    """
    try:
        return Record.model_validate_json(line)
    except ValidationError:
        pass  # told below, in this module's words
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
    return make_record(values, where)


def make_record(values: object, where: str) -> Record:
    """A record out of a mapping. where: what an error names.

    Raises:
        DataError: a field is missing, unknown or wrong.
    """
    try:
        return Record.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        found = "" if first["type"] in ("missing", "value_error") else f", found {_short(first['input'])}"
        message = first["msg"].removeprefix("Value error, ")
        raise DataError(f"{where}: {field + ': ' if field else ''}{message}{found}") from error


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def json_schema() -> dict:
    """The JSON schema (draft 2020-12) of one line of a record file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Record.model_json_schema(by_alias=True)}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
