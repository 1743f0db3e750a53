"""Every task: what it is given, what it answers, in which order, and how it draws.

A task is a layout of parts. Training lays out all of them and predicts the answer and the target;
inference lays out those before the first predicted one and produces the rest in order. The orders
are the published ones (arXiv 2510.15710).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from unimedvl.model.flow import Guidance
from unimedvl.sequence import Segment
from unimedvl.transforms import Prepare

# Said before a request whose answer is to be reasoned, or whose image planned, between think tags.
THINK_FIRST = "Think first."

# Modalities that images are made of, and their names in words.
MODALITY_NAMES = {
    "cfp": "colour fundus photograph",
    "cxr": "chest X-ray",
    "ct": "CT",
    "his": "histopathology",
    "mri": "MRI",
    "oct": "OCT",
    "us": "ultrasound",
    "endoscopy": "endoscopy",
    "ihc": "immunohistochemistry",
    "dermoscopy": "dermoscopy",
}

UPSCALE_FACTOR = 4
# Grades of HER2 immunohistochemistry (ASCO/CAP guideline, 2018).
HER2_LEVELS = ("0", "1+", "2+", "3+")

# seen: the inputs through the ViT. both: each input as a clean latent, then through the ViT.
# request: the user's words. answer: the model's words. target: the image that is drawn.
Part = Literal["seen", "both", "request", "answer", "target"]
PREDICTED = ("answer", "target")


@dataclass(frozen=True)
class Drawing:
    """How an image is drawn: points of the time grid, its shift, and guidance."""

    steps: int = 50
    shift: float = 3.0
    guidance: Guidance = field(default_factory=Guidance)


TEXT_TO_IMAGE = Drawing()
EDITING = Drawing(guidance=Guidance(4.0, 2.0, (0.0, 1.0), "text_channel"))


@dataclass(frozen=True)
class Example:
    """One example of a task, for training.

    images: inputs, each [3, H, W] in [-1, 1], or uint8. turns: (request, answer) pairs; all tasks but `ask`
    have one. targets: images to be drawn; more than one are the same image under several noises.
    focus: [H, W] bool, where a target shows what the words ask for; None where that is not known.
    """

    task: str
    images: tuple[Tensor, ...]
    turns: tuple[tuple[str, str], ...]
    targets: tuple[Tensor, ...] = ()
    focus: Tensor | None = None


@dataclass(frozen=True)
class Task:
    """A template that lays out a sequence.

    inputs: how many images at least. drop: what may be left out in training, for guidance.
    planned: the answer is a plan, made only where it is asked for. enlarges: sides of the drawing,
        as a multiple of the input's.
    request: the words where the user gives none; fields in braces are the task's wishes.
    """

    name: str
    summary: str
    layout: tuple[Part, ...]
    inputs: int
    request: str = ""
    drop: tuple[Part, ...] = ()
    planned: bool = False
    enlarges: int = 1
    drawing: Drawing = TEXT_TO_IMAGE

    @property
    def draws(self) -> bool:
        return "target" in self.layout

    @property
    def prompt_layout(self) -> tuple[Part, ...]:
        """The parts that are given, before the first that is predicted."""
        first = next(i for i, part in enumerate(self.layout) if part in PREDICTED)
        return self.layout[:first]

    @property
    def predicted(self) -> tuple[Part, ...]:
        """The parts that the model produces, in order."""
        return tuple(part for part in self.layout if part in PREDICTED)

    def sequence(self, example: Example, prepare: Prepare) -> list[Segment]:
        """The whole sequence, with what is to be predicted marked."""
        (request, answer), *more = example.turns
        segments: list[Segment] = []
        for part in self.layout:
            if part == "answer":
                segments += [prepare.text(answer, predict=True)] if answer else []
                for next_request, next_answer in more:
                    segments += [prepare.text(next_request), prepare.text(next_answer, predict=True)]
            elif part == "target":
                drawn = {id(image): prepare.latent(image, predict=True) for image in example.targets}
                segments += [drawn[id(image)] for image in example.targets]
            else:
                segments += self._given(part, example.images, request, prepare)
        return segments

    def prompt(self, images: tuple[Tensor, ...], request: str, prepare: Prepare) -> list[Segment]:
        """The sequence as far as it is given. Raises ValueError where images are too few."""
        if len(images) < self.inputs:
            raise ValueError(f"{self.name} needs {self.inputs} image{'s' * (self.inputs > 1)}, got {len(images)}")
        return [s for part in self.prompt_layout for s in self._given(part, images, request, prepare)]

    def _given(
        self, part: Part, images: tuple[Tensor, ...], request: str, prepare: Prepare
    ) -> Iterator[Segment]:
        droppable = part in self.drop
        if part == "request":
            yield prepare.text(request, droppable=droppable)
        for image in images if part != "request" else ():
            if part == "both":
                yield prepare.latent(image, droppable=droppable)
            yield prepare.seen(image, droppable=droppable)


ASK = Task("ask", "answer a question on images", ("seen", "request", "answer"), 0, drop=("seen",))
REPORT = Task(
    "report", "write findings and impression", ("seen", "request", "answer"), 1, "Write a report.", drop=("seen",)
)
GENERATE = Task(
    "generate", "draw an image from a description", ("request", "answer", "target"), 0, drop=("request",), planned=True
)
STAIN = Task(
    "stain",
    "virtual HER2 immunohistochemistry from H&E",
    ("both", "request", "answer", "target"),
    1,
    "Stain this H&E image for HER2 at level {her2}.",
    drop=("both", "request"),
    drawing=EDITING,
)
UPSCALE = Task(
    "upscale",
    "four times the resolution",
    ("both", "request", "answer", "target"),
    1,
    "Increase the resolution of this image {factor}x.",
    enlarges=UPSCALE_FACTOR,
    drop=("both", "request"),
    drawing=EDITING,
)
SEGMENT = Task(
    "segment",
    "outline a structure named in words",
    ("both", "request", "answer", "target"),
    1,
    "Segment the {target}.",
    drop=("both", "request"),
    drawing=EDITING,
)
TRANSLATE = Task(
    "translate",
    "the same anatomy in another sequence or modality",
    ("both", "request", "target", "answer"),
    1,
    "Translate this {source} image to {target}.",
    drop=("both", "request"),
    drawing=EDITING,
)
COUNTERFACTUAL = Task(
    "counterfactual",
    "the same patient with a finding changed, and why",
    ("both", "request", "target", "answer"),
    1,
    "Show this image with {change}.",
    drop=("both", "request"),
    drawing=EDITING,
)
EDIT = Task(
    "edit",
    "any edit in your own words",
    ("both", "request", "answer", "target"),
    1,
    drop=("both", "request"),
    drawing=EDITING,
)
RECONSTRUCT = Task(
    "reconstruct",
    "answer and draw the input again",
    ("both", "request", "answer", "target"),
    1,
    "Reconstruct this image.",
    drop=("both", "request"),
    drawing=EDITING,
)

TASKS: dict[str, Task] = {
    t.name: t
    for t in (
        ASK, REPORT, GENERATE, EDIT, STAIN, UPSCALE, TRANSLATE, COUNTERFACTUAL, SEGMENT, RECONSTRUCT
    )
}  # fmt: skip


def task(name: str) -> Task:
    """The task called `name`. Raises ValueError that lists those there are."""
    if name not in TASKS:
        raise ValueError(f"no task called {name!r}; there are {', '.join(TASKS)}")
    return TASKS[name]
