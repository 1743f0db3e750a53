"""Training examples of every task from simulated studies.

One study gives one example at a time: a case is drawn, rendered, and a task that its modality has is
laid over it. All randomness comes from the generator that is passed in, so a seed is an example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unimedvl.phantoms import SIMULATORS, Study, counterfactuals
from unimedvl.phantoms.captions import caption, plan, reasoned
from unimedvl.phantoms.counterfactuals import GRADED
from unimedvl.phantoms.edits import edit_reply, edit_request
from unimedvl.phantoms.questions import questions
from unimedvl.phantoms.reports import report
from unimedvl.phantoms.study import FIRST_TRAINING_SEED
from unimedvl.phantoms.vocabulary import MODALITIES
from unimedvl.tasks import REPORT, THINK_FIRST, UPSCALE_FACTOR, Example

# What these ask for can't be told at 128 px; the small model is not asked to guess.
TOO_FINE = ("count", "size")
# Share of questions and captions that are thought through first.
THINKING = 0.12
# Questions on one image: more cost little beside the image, but the later ones lean on the answers before.
TURNS = 6


def to_pixels(image: np.ndarray) -> Tensor:
    """[H, W, 3] uint8, or [H, W] bool (a mask, white on black), to [3, H, W] float32 in [-1, 1]."""
    if image.dtype == bool:
        image = np.repeat(image[..., None] * np.uint8(255), 3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 127.5 - 1


def degrade(pixels: Tensor, factor: int = UPSCALE_FACTOR) -> Tensor:
    """Bicubic down by `factor` (antialiased) and bicubic up again: [3, H, W] to the same."""
    size = pixels.shape[-2:]
    small = F.interpolate(
        pixels[None], size=tuple(s // factor for s in size), mode="bicubic", antialias=True
    )
    return F.interpolate(small, size=size, mode="bicubic")[0].clamp(-1, 1)


def _view(study: Study, rng: np.random.Generator) -> str:
    return list(study.images)[rng.integers(len(study.images))]


def ask(study: Study, rng: np.random.Generator, among: Sequence[str] | None = None) -> Example:
    """A conversation of up to `TURNS` questions on one image. among: as for `questions`."""
    view = _view(study, rng)
    asked = [q for q in questions(study, rng, view, among) if q.topic not in TOO_FINE]
    # Half of the turns are about findings, which are harder to learn than what kind of image it is.
    hard = [q for q in asked if q.topic in ("presence", "normality", "finding", "side", "severity", "place")]
    turns = []
    for _ in range(TURNS):
        pool = hard if rng.random() < 0.7 and hard else asked
        q = pool[rng.integers(len(pool))]
        turns.append((q.text, q.answer))
    if rng.random() < THINKING:  # reasoned: what is seen, then the answer to the first question
        turns = [reasoned(study, view, rng, *turns[0])]
    return Example("ask", (to_pixels(study.images[view]),), tuple(dict.fromkeys(turns)))


def write_report(study: Study, rng: np.random.Generator) -> Example:
    view = _view(study, rng)
    text = report(study, rng, view)
    return Example("report", (to_pixels(study.images[view]),), ((REPORT.request, text),))


def generate(study: Study, rng: np.random.Generator) -> Example:
    view = _view(study, rng)
    request, answer = caption(study, view, rng), ""
    if rng.random() < THINKING:
        request, answer = f"{THINK_FIRST} {request}", plan(study, view, rng)
    target = to_pixels(study.images[view])
    return Example("generate", (), ((request, answer),), (target, target), _asked(study))


def _asked(study: Study) -> Tensor | None:
    """Where the study's findings lie, [H, W] bool; None where there are none, or no masks of them."""
    masks = [study.masks[f.name] for f in study.findings if f.name in study.masks]
    return torch.from_numpy(np.any(masks, axis=0)) if masks else None


def _edit(
    task: str,
    rng: np.random.Generator,
    given: np.ndarray | Tensor,
    drawn: np.ndarray | Tensor,
    focus: np.ndarray | None = None,
    **wishes,
) -> Example:
    given, drawn = (x if isinstance(x, Tensor) else to_pixels(x) for x in (given, drawn))
    turn = (edit_request(task, rng, **wishes), edit_reply(task, rng, **wishes))
    where = None if focus is None else torch.from_numpy(focus)
    return Example(task, (given,), (turn,), (drawn, drawn), where)


def stain(study: Study, rng: np.random.Generator) -> Example:
    return _edit("stain", rng, study.images["he"], study.images["ihc"], her2=study.attributes["her2"])


def upscale(study: Study, rng: np.random.Generator) -> Example:
    target = to_pixels(study.images[_view(study, rng)])
    return _edit("upscale", rng, degrade(target), target, factor=UPSCALE_FACTOR)


def translate(study: Study, rng: np.random.Generator) -> Example:
    words = {"t2": "T2", "flair": "FLAIR"}
    source, target = ("t2", "flair") if rng.random() < 0.5 else ("flair", "t2")
    images = study.images
    return _edit("translate", rng, images[source], images[target], source=words[source], target=words[target])


def segment(study: Study, rng: np.random.Generator) -> Example:
    names = [*MODALITIES[study.modality].structures, *(f.name for f in study.findings)]
    names = [n for n in names if n in study.masks and study.masks[n].any()]
    name = names[rng.integers(len(names))]
    view = next(iter(study.images))
    mask = study.masks[name]
    return _edit("segment", rng, study.images[view], mask, focus=mask, target=name)


def counterfactual(study: Study, rng: np.random.Generator, graded: float = GRADED) -> Example:
    """A finding that resolves or is new, or becomes better or worse by a grade; of a normal study its report.

    graded: as for `counterfactuals.counterfactual`.
    """
    made = counterfactuals.counterfactual(study, rng, graded)
    if made is None:
        return write_report(study, rng)
    view = next(iter(study.images))
    before, after = made.before.images[view], made.after.images[view]
    wishes = {"modality": study.modality, "finding": made.finding, "change": made.change}
    return _edit("counterfactual", rng, before, after, made.where, **wishes)


def reconstruct(study: Study, rng: np.random.Generator) -> Example:
    image = study.images[_view(study, rng)]
    return _edit("reconstruct", rng, image, image)


Maker = Callable[[Study, np.random.Generator], Example]
# Which modalities each task has; None means all.
MAKERS: dict[str, tuple[Maker, tuple[str, ...] | None]] = {
    "ask": (ask, None),
    "report": (write_report, None),
    "generate": (generate, None),
    "stain": (stain, ("his",)),
    "upscale": (upscale, ("mri",)),
    "translate": (translate, ("mri",)),
    "segment": (segment, None),
    "counterfactual": (counterfactual, None),
    "reconstruct": (reconstruct, None),
}


def example(
    task: str,
    rng: np.random.Generator,
    size: int = 128,
    weights: Mapping[str, float] | None = None,
    among: Sequence[str] | None = None,
) -> Example:
    """One training example of `task`, of a random modality that has it.

    weights: how often each modality, normalised over those that have the task; 1 where it is not named.
    among: codes of the modalities that there are; all if None.
    Raises ValueError if the task is unknown, or none of the modalities has it.
    """
    if task not in MAKERS:
        raise ValueError(f"no examples of {task!r}; there are {', '.join(MAKERS)}")
    make = MAKERS[task][0]
    names = modalities_of(task, among)
    if not names:
        raise ValueError(f"none of {', '.join(among or ())} has {task!r}; {', '.join(modalities_of(task))} have")
    shares = np.array([(weights or {}).get(name, 1.0) for name in names])
    simulator = SIMULATORS[names[rng.choice(len(names), p=shares / shares.sum())]]
    case = simulator.sample(FIRST_TRAINING_SEED + int(rng.integers(10**9)))
    if task == "stain":  # every level equally often
        case = replace(case, anatomy={**case.anatomy, "her2": float(rng.integers(4))})
    study = simulator.render(case, size)
    # Questions name other modalities, so they alone must know which there are.
    return ask(study, rng, among) if make is ask else make(study, rng)


def modalities_of(task: str, among: Sequence[str] | None = None) -> list[str]:
    """Codes of the modalities that have a task, of those in `among` (all if None)."""
    having = MAKERS[task][1] or tuple(SIMULATORS)
    return [name for name in having if among is None or name in among]
