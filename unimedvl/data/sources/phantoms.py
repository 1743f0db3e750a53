"""Phantoms: simulated studies of this package (`unimedvl.phantoms`), as records of every task. No patient's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from unimedvl.data.edits import edit_turns
from unimedvl.data.error import DataError
from unimedvl.data.interleaved.degradation import Degradation
from unimedvl.data.record import Group, Message, Picture, Record
from unimedvl.data.slices import png
from unimedvl.data.source import Item, LazySample, Sample, Source, answer, need, question
from unimedvl.phantoms import SIMULATORS, Study
from unimedvl.phantoms.brain_ct import companion_ct
from unimedvl.phantoms.captions import caption, plan, reasoned
from unimedvl.phantoms.counterfactuals import counterfactual
from unimedvl.phantoms.edits import change_told
from unimedvl.phantoms.questions import Question, questions
from unimedvl.phantoms.reports import report
from unimedvl.phantoms.study import FIRST_TRAINING_SEED
from unimedvl.phantoms.vocabulary import MODALITIES, as_seen, view_of
from unimedvl.tasks import UPSCALE_FACTOR

FILE = "phantoms.json"
# Topics that a conversation comes back to: they are harder to learn than what kind of image it is.
_HARD = ("presence", "normality", "finding", "side", "severity", "place")
_HARD_SHARE, _REASONED = 0.7, 0.12  # of questions in conversations; of records that are thought through first
_COPIED = 0.2  # of studies, the share of which an image is drawn again as it is, and none sharpened
_PAIRS = {"his": 1, "mri": 3}  # of a study beside what every modality has
_HELD = 2  # studies whose records are remembered: they are looked at one after another
_COARSE = Degradation("bicubic", UPSCALE_FACTOR)
_SEQUENCES = {"t1": "T1", "t2": "T2", "flair": "FLAIR"}
# Names and arrays of images: [H, W, 3] uint8, or [H, W] bool.
Named = Sequence[tuple[str, np.ndarray]]


class Settings(BaseModel):
    """What the file says. Seeds below `study.FIRST_TRAINING_SEED` are held out: their records are of the test split.

    modalities: of one study after another; one that is named twice has twice as many. questions: records of questions
    that a study has at least. turns: questions of such a record, at most; where there are several, most are about
    findings. drawings: records of an image that is drawn from words. leave_out: topics that are not asked about, such
    as what is too fine to see.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    studies: int = Field(gt=0)
    first_seed: int = Field(default=FIRST_TRAINING_SEED, ge=0)
    size: int = Field(default=128, ge=64, le=512, multiple_of=UPSCALE_FACTOR)
    modalities: tuple[str, ...] = Field(default=tuple(SIMULATORS), min_length=1)
    questions: int = Field(default=4, ge=0)
    turns: int = Field(default=1, gt=0)
    drawings: int = Field(default=1, ge=0)
    leave_out: tuple[str, ...] = ()

    @field_validator("modalities")
    @classmethod
    def _simulated(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = next((n for n in names if n not in SIMULATORS), None)
        if unknown is not None:
            raise ValueError(f"no simulator called {unknown!r}; there are {', '.join(SIMULATORS)}")
        return names


def read(root: Path) -> Iterator[Item]:
    """The records of every study, modalities in turn. A study is rendered when one of its records is looked at."""
    settings = _settings(need(root, FILE))
    records = lru_cache(maxsize=_HELD)(_records)
    for number in range(settings.studies):
        modality = settings.modalities[number % len(settings.modalities)]
        seed = settings.first_seed + number
        for place in range(_count(modality, settings)):
            make = partial(_record, records, (modality, seed, settings), place)
            yield LazySample("test" if seed < FIRST_TRAINING_SEED else "train", make)


def _record(records: Callable[..., list[Sample]], study: tuple[str, int, Settings], place: int) -> Sample:
    return records(*study)[place]


def _settings(file: Path) -> Settings:
    try:
        return Settings.model_validate(json.loads(file.read_text()))
    except json.JSONDecodeError as error:
        raise DataError(f"{file}: not JSON: {error.msg}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _count(modality: str, settings: Settings) -> int:
    """Records of a study; what it has none of, such as a change of no finding, further questions make up for."""
    return 4 + settings.questions + settings.drawings + _PAIRS.get(modality, 0)


def _records(modality: str, seed: int, settings: Settings) -> list[Sample]:
    simulator = SIMULATORS[modality]
    about = _About(simulator.render(simulator.sample(seed), settings.size), np.random.default_rng((seed, 1)))
    asked = _questions(about, settings)
    made = [*_report(about), *islice(asked, settings.questions)]
    for _ in range(settings.drawings):
        made += _generation(about)
    sharpened = about.rng.random() >= _COPIED
    for make in (_upscaling if sharpened else _reconstruction, _segmentation, _counterfactual, _pairs):
        made += make(about)
    return made + list(islice(asked, _count(modality, settings) - len(made)))


@dataclass
class _About:
    """A study, and what its records have in common."""

    study: Study
    rng: np.random.Generator
    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.study.modality}-{self.study.case.seed}"

    def view(self) -> str:
        return list(self.study.images)[self.rng.integers(len(self.study.images))]

    def image(self, view: str) -> tuple[str, np.ndarray]:
        return f"{self.key}-{view}", self.study.images[view]

    def sample(
        self,
        group: Group,
        task: str,
        turns: tuple[Message, ...],
        inputs: Named = (),
        outputs: Named = (),
        view: str | None = None,
        **attributes: str,
    ) -> Sample:
        """A record. view: what it is about, which may be of a modality of its own, as immunohistochemistry is."""
        number = self.numbers[task] = self.numbers.get(task, 0) + 1
        shown = [*inputs, *outputs]
        named = [Picture(path=f"{name}.png", height=a.shape[0], width=a.shape[1]) for name, a in shown]
        held_out = self.study.case.seed < FIRST_TRAINING_SEED
        record = Record(
            main_task_type=group,
            sub_task_type=task,
            modality=view_of(self.study, view).code or self.study.modality,
            dataset="phantoms",
            input_img=tuple(named[: len(inputs)]),
            output_img=tuple(named[len(inputs) :]),
            message=turns,
            id=f"{self.key}-{task}-{number}",
            licence="Apache-2.0",
            patient=self.key,
            study=self.key,
            split="test" if held_out else "train",
            attributes={"simulated": "yes", **attributes},
        )
        return Sample(record, tuple(partial(_encoded, array) for _, array in shown))


def _encoded(array: np.ndarray) -> bytes:
    """[H, W, 3] uint8, or [H, W] bool (a mask, white on black), as a PNG."""
    return png(np.where(array, np.uint8(255), np.uint8(0)) if array.dtype == bool else array)


def _report(about: _About) -> Iterator[Sample]:
    view = about.view()
    turns = question("Write a report of this image."), answer(report(about.study, about.rng, view))
    yield about.sample("understanding", "report", turns, [about.image(view)], view=view)


def _questions(about: _About, settings: Settings) -> Iterator[Sample]:
    """Single ones, one of each kind first and then the others, or conversations without end."""
    view, rng = about.view(), about.rng
    asked = [q for q in questions(about.study, rng, view) if q.topic not in settings.leave_out]
    singles = _each_kind_first(asked, rng) if settings.turns == 1 else None
    while True:
        told = _conversation(asked, rng, settings.turns) if singles is None else list(islice(singles, 1))
        if not told:
            return
        named = {"kind": told[0].kind, "topic": told[0].topic} if len(told) == 1 else {}
        turns = list(dict.fromkeys((q.text, q.answer) for q in told))
        if rng.random() < _REASONED:
            turns, named = [reasoned(about.study, view, rng, *turns[0])], {**named, "reasoned": "yes"}
        messages = [m for asked_of, answered in turns for m in (question(asked_of, 0), answer(answered))]
        messages[0] = question(turns[0][0])
        yield about.sample("understanding", "vqa", tuple(messages), [about.image(view)], view=view, **named)


def _each_kind_first(asked: list[Question], rng: np.random.Generator) -> Iterator[Question]:
    first = {q.kind: q for q in _shuffled(asked, rng)}
    yield from first.values()
    yield from (q for q in _shuffled(asked, rng) if q not in first.values())


def _conversation(asked: list[Question], rng: np.random.Generator, turns: int) -> list[Question]:
    hard = [q for q in asked if q.topic in _HARD]
    pools = [hard if hard and rng.random() < _HARD_SHARE else asked for _ in range(turns)]
    return [pool[rng.integers(len(pool))] for pool in pools]


def _shuffled(items: list, rng: np.random.Generator) -> list:
    return [items[i] for i in rng.permutation(len(items))]


def _generation(about: _About) -> Iterator[Sample]:
    view = about.view()
    request = question(caption(about.study, view, about.rng), 0)
    turns = request, answer(plan(about.study, view, about.rng))
    shown = as_seen(about.study, view).findings
    found = [about.study.masks[f.name] for f in shown if f.name in about.study.masks]
    yield about.sample("generation", "text_to_image", turns, outputs=[about.image(view)], view=view, **_region(found))


def _region(masks: Sequence[np.ndarray]) -> dict[str, str]:
    """Boxes about masks [H, W] bool, as an attribute: left, top, right and bottom of each in parts of the image."""
    boxes = []
    for mask in masks:
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            ends = (columns[0] / mask.shape[1], rows[0] / mask.shape[0],
                    (columns[-1] + 1) / mask.shape[1], (rows[-1] + 1) / mask.shape[0])  # fmt: skip
            boxes.append(" ".join(f"{end:.3f}" for end in ends))
    return {"region": " ".join(boxes)} if boxes else {}


def _upscaling(about: _About) -> Iterator[Sample]:
    view = about.view()
    name, target = about.image(view)
    coarse = _COARSE.applied(target, about.key)
    turns = edit_turns("upscale", name, factor=_COARSE.factor)
    pair = [(f"{name}-low", coarse)], [(name, target)]
    yield about.sample("interleaved", "super_resolution", turns, *pair, view=view, **_COARSE.attributes())


def _reconstruction(about: _About) -> Iterator[Sample]:
    view = about.view()
    shown = about.image(view)
    turns = edit_turns("reconstruct", shown[0])
    yield about.sample("interleaved", "reconstruction", turns, [shown], [shown], view=view)


def _segmentation(about: _About) -> Iterator[Sample]:
    """A structure of the modality's, or a finding."""
    study = about.study
    names = [*MODALITIES[study.modality].structures, *(f.name for f in study.findings)]
    there = [n for n in names if n in study.masks and study.masks[n].any()]
    if there:
        target = there[about.rng.integers(len(there))]
        shown = about.image(next(iter(study.images)))
        mask = f"{about.key}-mask-{target.replace(' ', '-')}", study.masks[target]
        turns = edit_turns("segment", f"{about.key} {target}", target=target)
        where = _region([study.masks[target]])
        yield about.sample("interleaved", "segmentation", turns, [shown], [mask], target=target, **where)


def _counterfactual(about: _About) -> Iterator[Sample]:
    """The same patient before and after one finding: it resolves, is new, or becomes better or worse."""
    study = about.study
    made = counterfactual(study, about.rng)
    if made is None:
        return
    view, finding = next(iter(study.images)), made.finding
    other = f"{about.key}-{view}-{made.change}-{finding.name.replace(' ', '-')}"
    pair = [
        about.image(view) if shown is study else (other, shown.images[view]) for shown in (made.before, made.after)
    ]
    turns = edit_turns("counterfactual", pair[0][0], modality=study.modality, finding=finding, change=made.change)
    change, explanation = change_told(study.modality, finding, made.change)
    told = {"change": made.change, "finding": finding.name, "severity": finding.severity}
    told |= {"change_in_words": change, "explanation": explanation}
    told |= _region([] if made.where is None else [made.where])
    yield about.sample("interleaved", "counterfactual", turns, pair[:1], pair[1:], **told)


def _pairs(about: _About) -> Iterator[Sample]:
    """What only some modalities have: two sequences of one brain, its MR and its CT, two stains of one section."""
    images, case = about.study.images, about.study.case
    if about.study.modality == "his":
        level = about.study.attributes["her2"]
        turns = edit_turns("stain", about.key, her2=level)
        stains = [about.image("he")], [about.image("ihc")]
        yield about.sample("interleaved", "staining", turns, *stains, view="ihc", her2=level)
    if _SEQUENCES.keys() <= images.keys():
        ct = f"{about.key}-ct", companion_ct(case, images["t1"].shape[0])
        shown = {"CT": ct} | {name: about.image(view) for view, name in _SEQUENCES.items()}
        shown["MR"] = shown["T1"]  # what is paired with CT is often called no more than that
        for names in (["T2", "FLAIR"], [("T1", "MR")[about.rng.integers(2)], "CT"], ["T1", "T2"]):
            source, target = _shuffled(names, about.rng)
            turns = edit_turns("translate", f"{about.key} {source} {target}", source=source, target=target)
            pair = [shown[source]], [shown[target]]
            yield about.sample("interleaved", "translation", turns, *pair, source=source, target=target)


SOURCE = Source(
    name="phantoms",
    title="Simulated studies of this package",
    home="unimedvl.phantoms",
    licence="Apache-2.0",
    access="open",
    modalities=(*SIMULATORS, "ihc"),
    expected={"train": None, "test": None},
    read=read,
    notes=f"Simulated; no patients. A folder with {FILE} says how many studies, of which seeds, size and modalities; a "
    "study gives nine to twelve records.",
    tasks=(
        "vqa", "report", "text_to_image", "super_resolution", "reconstruction", "segmentation", "counterfactual",
        "staining", "translation",
    ),
)  # fmt: skip
