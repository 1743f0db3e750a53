"""A form for every task, from the words and wishes that the task takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unimedvl.serving.task_form import own_fields
from unimedvl.tasks import HER2_LEVELS, MODALITY_NAMES, TASKS, Task

if TYPE_CHECKING:
    from unimedvl.imaging import Image
    from unimedvl.inference.requests import Request

TITLES = {
    "chat": "Conversation", "ask": "Ask",
    "report": "Report", "generate": "Generate", "edit": "Edit", "stain": "Stain", "upscale": "Upscale",
    "translate": "Translate", "counterfactual": "Counterfactual", "segment": "Segment", "reconstruct": "Reconstruct",
}  # fmt: skip
# Label, what is shown in the empty field, and what may be chosen: (label, value); free words where None.
_SHOWN: dict[str, tuple[str, str, tuple[tuple[str, str], ...] | None]] = {
    "question": ("Question", "Is there a pleural effusion?", None),
    "caption": ("Description", "Chest X-ray with a large left pleural effusion", None),
    "modality": ("Kind of image", "", tuple((name, code) for code, name in MODALITY_NAMES.items())),
    "instruction": ("Instruction", "Remove the effusion.", None),
    "her2": ("HER2 level", "", tuple((level, level) for level in HER2_LEVELS)),
    "to": ("Translate to", "FLAIR", None),
    "source": ("From (where it isn't the other one of a pair)", "T2", None),
    "change": ("Change", "resolution of the left pleural effusion", None),
    "target": ("Structure", "heart", None),
    "think": ("Think first", "", None),
}


@dataclass(frozen=True)
class Field:
    """One field of a form. kind: "words", "choice" or "tick". choices: (label, value). example: shown while empty."""

    name: str
    label: str
    kind: str
    required: bool
    value: Any = None
    example: str = ""
    choices: tuple[tuple[str, str], ...] = ()


def fields(task: Task) -> tuple[Field, ...]:
    """The fields that a task's method has of its own, in its order; `think` comes last."""
    return tuple(_field(p) for p in own_fields(task.name).values())


def _field(parameter: inspect.Parameter) -> Field:
    label, example, choices = _SHOWN.get(parameter.name, (parameter.name.capitalize(), "", None))
    required = parameter.default is inspect.Parameter.empty
    value = None if required else parameter.default
    if isinstance(value, bool):
        return Field(parameter.name, label, "tick", False, value)
    if choices is not None:
        if not required and value is None:
            choices = (("as the description says", ""), *choices)
        return Field(parameter.name, label, "choice", required, value or choices[0][1], example, choices)
    return Field(parameter.name, label, "words", required, value or "", example)


def takes_images(task: Task) -> bool:
    return bool({"seen", "both"} & set(task.layout))


def request_of(task: Task, images: tuple[Image, ...], filled: Mapping[str, Any], **more: Any) -> Request:
    """What a filled form asks. more: seed, size.

    Raises:
        ValueError: a sentence that says what is missing.
    """
    from unimedvl.inference.requests import request_for

    given: dict[str, Any] = {}
    for field in fields(task):
        value = filled.get(field.name)
        if isinstance(value, str):
            value = value.strip()
        if field.required and not value:
            raise ValueError(f"{TITLES[task.name]} needs words: fill in “{field.label}”")
        if value not in (None, ""):
            given[field.name] = value
    if len(images) < task.inputs:
        raise ValueError(f"{TITLES[task.name]} needs an image: choose a file, or one of the examples")
    return request_for(task.name, images if takes_images(task) else (), **given, **more)


def in_words(request: Request) -> str:
    """What a request asks, for people."""
    task = TASKS[request.task]
    return request.text or task.request.format(**dict(request.wishes))
