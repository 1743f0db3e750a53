"""Rules in YAML: which task runs on which study, and where its results go.

A rule names series (modality, body part, description, storage class, how many images), what is done with their images,
and destinations. The file also says how studies are received and how long what is received is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydicom.uid import RE_VALID_UID, UID_dictionary

from unimedvl.hospital.settings import Destination, Listed, Listen, Queue, Strict, listed
from unimedvl.hospital.study import Picture, Series, Study
from unimedvl.imaging import ReadOptions, parse_window
from unimedvl.inference.requests import Request, request_for
from unimedvl.recipes import read_recipe
from unimedvl.tasks import TASKS

Output = Literal["sr", "sr-3d", "seg", "sc", "fhir"]

_IMAGES = re.compile(r"first|middle|all|frontal\+lateral|every [1-9]\d{0,3}")
# Words that a task needs, as the fields of a `Step` call them.
_WORDS = ("target", "to", "source", "change", "instruction", "her2")
_NEEDED = {"segment": ("target",), "counterfactual": ("change",), "edit": ("instruction",), "translate": ("to",)}
# What a result becomes where the rule doesn't say.
_OWN_OUTPUT: dict[str, Output] = {"ask": "sr", "report": "sr", "segment": "seg"}


class When(Strict):
    """Which series a rule is for; what is left out may be anything.

    modality: (0008,0060), one or several. body_part: Body Part Examined or the anatomic region's name.
    study_description, series_description: regular expressions, found anywhere, upper or lower case.
    sop_class: storage class by UID, name or keyword. min_images, max_images: of all such series together.
    min_series_images, max_series_images: of one series, such as to pass over a localizer.
    """

    modality: Listed = ()
    body_part: Listed = ()
    study_description: str = ""
    series_description: str = ""
    sop_class: Listed = ()
    min_images: int = Field(default=1, ge=1)
    max_images: int | None = Field(default=None, ge=1)
    min_series_images: int = Field(default=1, ge=1)
    max_series_images: int | None = Field(default=None, ge=1)

    @field_validator("modality", "body_part")
    @classmethod
    def _upper(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(v.strip().upper() for v in values)

    @field_validator("study_description", "series_description")
    @classmethod
    def _expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression ({error})") from None
        return value

    @field_validator("sop_class")
    @classmethod
    def _classes(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_sop_class(v) for v in values)

    def series_of(self, study: Study) -> tuple[Series, ...]:
        """Those series of a study that are meant; none where the whole is not."""
        if not _found(self.study_description, study.told("StudyDescription")):
            return ()
        series = tuple(s for s in study.series if self._means(s))
        count = sum(len(s.pictures) for s in series)
        return series if self.min_images <= count <= (self.max_images or count) else ()

    def _means(self, series: Series) -> bool:
        count = len(series.pictures)
        classes = {str(i.header.SOPClassUID) for i in series.instances}
        return (
            bool(count)
            and (not self.modality or series.told("Modality").upper() in self.modality)
            and (not self.body_part or bool(set(series.body_parts) & set(self.body_part)))
            and (not self.sop_class or bool(classes & set(self.sop_class)))
            and _found(self.series_description, series.told("SeriesDescription"))
            and self.min_series_images <= count <= (self.max_series_images or count)
        )


class Step(Strict):
    """A task on images of the series that were found.

    images: `first`, `middle`, `all` or `every N` of each series, or `frontal+lateral` of all of them. at_most: so many
    at the most, evenly spread; no limit where left out. window: such as 40,400 or lung. output: sr (Enhanced SR),
    sr-3d (Comprehensive 3D SR), seg, sc (secondary capture), fhir. questions: of `ask`, an answer to each. target, to,
    source, change, instruction, her2: words of the tasks that take them. seed, steps, max_tokens, think: as in the
    command line.
    """

    task: str
    images: str = "middle"
    at_most: int | None = Field(default=None, ge=1)
    window: str | None = None
    output: Annotated[tuple[Output, ...], BeforeValidator(listed)] = ()
    questions: Listed = ()
    target: str = ""
    to: str = ""
    source: str = ""
    change: str = ""
    instruction: str = ""
    her2: str = ""
    think: bool = False
    seed: int = Field(default=0, ge=0)
    steps: int | None = Field(default=None, ge=2)
    max_tokens: int = Field(default=256, ge=1)

    @field_validator("images")
    @classmethod
    def _chosen(cls, value: str) -> str:
        if not _IMAGES.fullmatch(value):
            raise ValueError(f"{value!r} is none of first, middle, all, frontal+lateral, and every N such as every 10")
        return value

    @field_validator("window", mode="before")
    @classmethod
    def _window(cls, value: object) -> object:
        value = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
        if isinstance(value, str):
            ReadOptions(window=parse_window(value))
        return value

    @model_validator(mode="after")
    def _whole(self) -> Step:
        possible = [t.name for t in TASKS.values() if t.inputs or t.name == "ask"]
        if self.task not in possible:
            raise ValueError(f"task is {self.task!r}; it must be one of {', '.join(possible)}")
        if bool(self.questions) != (self.task == "ask"):
            raise ValueError("ask needs questions" if self.task == "ask" else f"{self.task} takes no questions")
        self.requests(())
        draws = TASKS[self.task].draws
        for kind in self.output:
            if kind == "seg" and self.task != "segment":
                raise ValueError(f"output seg is what segment makes, not {self.task}")
            if kind in ("sr", "sr-3d", "sc") and (kind == "sc") != draws:
                raise ValueError(f"output {kind} is not what {self.task} makes; it makes {self._own_output}")
        return self

    @property
    def made(self) -> tuple[Output, ...]:
        return self.output or (self._own_output,)

    @property
    def _own_output(self) -> Output:
        return _OWN_OUTPUT.get(self.task, "sc")

    def reading(self, frame: int | None) -> ReadOptions:
        return ReadOptions(frame=frame, window=None if self.window is None else parse_window(self.window))

    def requests(self, images: tuple) -> list[Request]:
        """What is asked of these images: one request, or one a question. Raises ValueError for missing words."""
        given = {word: told for word in _WORDS if (told := getattr(self, word))}
        if missing := [word for word in _NEEDED.get(self.task, ()) if word not in given]:
            raise ValueError(f"{self.task} needs {' and '.join(missing)}")
        given |= {"seed": self.seed, "think": self.think}
        try:
            return [request_for(self.task, images, question, **given) for question in self.questions or ("",)]
        except TypeError as error:
            raise ValueError(str(error)) from None

    def chosen(self, series: Sequence[Series]) -> tuple[Picture, ...]:
        """The images that the task is given, in their order."""
        if self.images == "frontal+lateral":
            return _two_views([p for s in series for p in s.pictures])
        found = tuple(p for s in series for p in self._of(s.pictures))
        if self.at_most is None or len(found) <= self.at_most:
            return found
        return tuple(found[(2 * n + 1) * len(found) // (2 * self.at_most)] for n in range(self.at_most))

    def _of(self, pictures: tuple[Picture, ...]) -> tuple[Picture, ...]:
        if self.images.startswith("every "):
            return pictures[:: int(self.images.removeprefix("every "))]
        return {"first": pictures[:1], "middle": pictures[len(pictures) // 2 :][:1], "all": pictures}[self.images]


class Rule(Strict):
    """late: what is done when an instance of a study comes after its results were begun: `ignore` keeps it and says
    so, `again` handles the whole study once more. send: names of destinations; all where left out.
    """

    name: str
    when: When = When()
    do: tuple[Step, ...] = Field(min_length=1)
    send: Listed = ()
    late: Literal["ignore", "again"] = "ignore"


class Rules(Strict):
    """match: `first` rule that is for a study, or `all` of them."""

    rules: tuple[Rule, ...] = Field(min_length=1)
    destinations: dict[str, Destination] = Field(min_length=1)
    match: Literal["first", "all"] = "first"
    listen: Listen = Listen()
    queue: Queue = Queue()

    @model_validator(mode="after")
    def _fit(self) -> Rules:
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError(f"rules need different names; they have {', '.join(names)}")
        for rule in self.rules:
            for name in rule.send:
                if name not in self.destinations:
                    there = ", ".join(self.destinations)
                    raise ValueError(f"rule {rule.name!r} sends to {name!r}; destinations are {there}")
            for kind in {kind for step in rule.do for kind in step.made}:
                if not self.where(rule, kind):
                    wanted = "a fhir one" if kind == "fhir" else "dicomweb, ae or folder"
                    raise ValueError(f"rule {rule.name!r} makes {kind}; none of its destinations is {wanted}")
            if rule.late == "again" and self.queue.originals_hours == 0:
                raise ValueError(f"rule {rule.name!r} has late: again, which needs queue.originals_hours above 0")
        return self

    def where(self, rule: Rule, kind: Output) -> tuple[str, ...]:
        """The names of a rule's destinations that take what a step makes."""
        names = rule.send or tuple(self.destinations)
        return tuple(n for n in names if self.destinations[n].takes_fhir == (kind == "fhir"))

    def matches(self, study: Study) -> tuple[Match, ...]:
        """The rules that are for a study, and the series that each means."""
        found = self._matches(study)
        return tuple(found) if self.match == "all" else tuple(m for m in [next(found, None)] if m)

    def _matches(self, study: Study) -> Iterator[Match]:
        for rule in self.rules:
            if series := rule.when.series_of(study):
                yield Match(rule, series)


@dataclass(frozen=True)
class Match:
    """A rule that is for a study, and the series that it means."""

    rule: Rule
    series: tuple[Series, ...]


def read_rules(file: Path, overrides: Sequence[str] = ()) -> Rules:
    """Read a file of rules; overrides as in other recipes. Raises RecipeError, naming the field."""
    return read_recipe(file, Rules, overrides, example="listen.port=11112")


def _found(expression: str, text: str) -> bool:
    return not expression or re.search(expression, text, re.IGNORECASE) is not None


def _sop_class(text: str) -> str:
    """The UID of a storage class that is given as one, by name or by keyword. Raises ValueError."""
    wanted = "".join(text.split()).lower()
    for uid, (name, kind, _, _, keyword) in UID_dictionary.items():
        if "SOP Class" in kind and wanted in (uid, keyword.lower(), "".join(name.split()).lower()):
            return uid
    if re.fullmatch(RE_VALID_UID, text) and len(text) <= 64:
        return text  # a private one
    raise ValueError(f"{text!r} is no storage class; give its UID, name or keyword, such as CTImageStorage")


def _two_views(pictures: list[Picture]) -> tuple[Picture, ...]:
    """The first frontal and the first lateral view; an image that tells no view is taken for a frontal one."""
    lateral = next((p for p in pictures if p.instance.view == "lateral"), None)
    frontal = next((p for p in pictures if p.instance.view == "frontal"), None)
    frontal = frontal or next((p for p in pictures if not p.instance.view), None)
    return tuple(p for p in (frontal, lateral) if p is not None)
