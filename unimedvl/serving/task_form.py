"""What a task's route takes: fields of all tasks, and those that the task's method has."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, Literal

from pydantic import ConfigDict, Field

from unimedvl.serving.errors import ApiError
from unimedvl.serving.openai.forms import LARGEST_SEED, DrawingFields, Stop
from unimedvl.tasks import HER2_LEVELS, MODALITY_NAMES, TASKS, Task

# Values of fields of which only some are known.
_CHOICES = {"her2": HER2_LEVELS, "modality": tuple(MODALITY_NAMES)}
_DRAWING = (*DrawingFields.model_fields, "output_format", "output_compression", "previews")
MOST_PREVIEWS = 50


class TaskRequest(DrawingFields):
    """`POST /v1/tasks/{task}`, as JSON or as a form. `GET /v1/tasks` tells what fields each task has beside these."""

    model_config = ConfigDict(extra="allow")

    images: str | list[str] = Field(default_factory=list, description="In JSON: data URLs, or base64 alone.")
    text: str | None = Field(None, description="The words, whatever the task calls them.")
    model: str | None = Field(None, description="The model's id; the one that is served where left out.")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="The same gives the same.")
    frame: int | None = Field(None, ge=0, description="Of a multi-frame DICOM or a multi-page TIFF, from 0.")
    slice: int | None = Field(None, ge=0, description="Of a NIfTI volume, from 0; the middle one else.")
    plane: Literal["axial", "coronal", "sagittal"] | None = Field(None, description="Of the slice.")
    volume: int | None = Field(None, ge=0, description="Of a NIfTI series, from 0.")
    window: str | None = Field(None, description="CENTER,WIDTH or a name, such as 40,400 or lung or auto.")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    max_tokens: int | None = Field(None, ge=1)
    stop: Stop = None
    stream: bool = False
    previews: int = Field(0, ge=0, le=MOST_PREVIEWS, description="In a stream: so many images on the way.")
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: int | None = Field(None, ge=0, le=100, description="Quality of jpeg and webp.")

    @property
    def reading(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("frame", "slice", "plane", "volume", "window")}

    @property
    def sources(self) -> list[str]:
        return [self.images] if isinstance(self.images, str) else self.images

    def own(self, task: Task) -> dict[str, Any]:
        """The fields that are the task's. Raises ApiError (400) that names one that is not, or is of drawings."""
        known = own_fields(task.name)
        for name in self.model_extra or {}:
            if name not in known:
                raise ApiError(
                    400, f"{name}: {task.name} has no such field; its own are {', '.join(known) or 'none'}",
                    param=name, code="unknown_parameter",
                )  # fmt: skip
        if not task.draws:
            for name in _DRAWING:
                if name in self.model_fields_set and getattr(self, name):
                    raise ApiError(400, f"{name}: is of images, and {task.name} makes none", param=name)
        if self.previews and not self.stream:
            raise ApiError(400, "previews: only where stream is true", param="previews")
        if self.output_compression is not None and self.output_format in (None, "png"):
            raise ApiError(400, "output_compression: only for jpeg and webp", param="output_compression")
        return {name: _plain(name, value) for name, value in (self.model_extra or {}).items()}


def _plain(name: str, value: Any) -> Any:
    """A field of the task, from JSON or from a form. Raises ApiError."""
    if name == "think":
        if value in (True, False, "true", "false"):
            return value in (True, "true")
        raise ApiError(400, "think: must be true or false", param="think")
    if not isinstance(value, str):
        raise ApiError(400, f"{name}: must be a text", param=name)
    return value


@cache
def own_fields(name: str) -> dict[str, inspect.Parameter]:
    """The parameters of the task's method that are its own: all but its images and what every task takes."""
    from unimedvl.inference.unimedvl import UniMedVL

    given = inspect.signature(getattr(UniMedVL, name)).parameters.values()
    return {
        p.name: p for p in given
        if p.name not in ("self", "image", "images") and p.kind is not inspect.Parameter.VAR_KEYWORD
    }  # fmt: skip


def told(task: Task) -> dict[str, Any]:
    """What a task is and takes, for `GET /v1/tasks`."""
    fields = {}
    for name, parameter in own_fields(task.name).items():
        required = parameter.default is inspect.Parameter.empty
        fields[name] = {"type": "boolean" if name == "think" else "string", "required": required}
        if not required and parameter.default is not None:
            fields[name]["default"] = parameter.default
        if name in _CHOICES:
            fields[name]["choices"] = list(_CHOICES[name])
    common = [n for n in TaskRequest.model_fields if task.draws or n not in _DRAWING]
    return {
        "id": task.name, "object": "task", "summary": task.summary, "images": {"least": task.inputs,
        "taken": bool({"seen", "both"} & set(task.layout))}, "answers": [_ANSWERS[p] for p in task.predicted],
        "fields": fields, "common_fields": common, "path": f"/v1/tasks/{task.name}",
    }  # fmt: skip


_ANSWERS = {"answer": "text", "target": "image"}
EXAMPLE_FIELDS: dict[str, dict[str, Any]] = {
    "ask": {"question": "Is there an effusion?", "max_tokens": 16},
    "report": {"max_tokens": 16},
    "generate": {"caption": "cardiomegaly", "modality": "cxr"},
    "edit": {"instruction": "Add a pleural effusion."},
    "stain": {"her2": "2+"},
    "translate": {"to": "flair"},
    "counterfactual": {"change": "resolution of the effusion"},
    "segment": {"target": "heart"},
}


def examples(picture: str) -> dict[str, dict[str, Any]]:
    """An example of JSON for each task. picture: a data URL."""
    out = {}
    for task in TASKS.values():
        small = {"size": "64x64", "num_inference_steps": 2, "seed": 7} if task.draws else {}
        images = {"images": [picture]} if task.inputs or task.name == "ask" else {}
        out[task.name] = {**images, **EXAMPLE_FIELDS.get(task.name, {}), **small}
    return out
