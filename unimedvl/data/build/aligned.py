"""The third stage: whether text and image of a record belong together, and the better part of what is compared.

It measures in lanes, a chunk at a time; then the cut compares all that was measured. Records of the sources'
own evaluation splits are neither measured nor cut, for such a set stays as it is, and neither are instructions to draw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unimedvl.data.build.chunks import cut, read_json, write_json
from unimedvl.data.build.decisions import (
    ALIGNMENT,
    DUPLICATES,
    MEASURES,
    decided,
    kept,
    page_of,
    read_decisions,
    write_decisions,
)
from unimedvl.data.build.instruments import load
from unimedvl.data.build.lock import lane_of
from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.build.rows import Part, Rows, samples_of
from unimedvl.data.captions.answers import KeptCaptioner
from unimedvl.data.duplicates.prints import EVALUATION
from unimedvl.data.error import DataError
from unimedvl.data.quality.alignment import (
    BY,
    Cut,
    Instruments,
    Measurement,
    described_images,
    measure,
    measurement,
)
from unimedvl.data.quality.embedded import StandInCaptioner, StandInMatcher
from unimedvl.data.quality.endpoint import Halted
from unimedvl.data.record import Decision, Record
from unimedvl.data.source import Sample

UNMEASURED = "alignment-unmeasured"
_AT_ONCE = 64  # records whose images are in memory, and are captioned in a batch


def measure_lane(recipe: BuildRecipe, lane: int, lanes: int) -> Iterator[int]:
    """Measure every `lanes`-th chunk, but those that are done. Yields records, as they are done.

    Raises:
        DataError: a chunk was changed from outside, a page can't be written, a model can't be loaded, or its server
            is gone.
    """
    with lane_of(recipe.folder), _one_thread():
        instruments = None
        for number, part in enumerate(Rows(recipe).input_parts):
            if number % lanes != lane:
                continue
            if page_of(recipe, MEASURES, part).done:
                yield part.count
            else:
                instruments = instruments or _instruments(recipe)
                yield from _measure_chunk(recipe, part, instruments)


def _instruments(recipe: BuildRecipe) -> Instruments | None:
    """With their models loaded; None where the stage is left out."""
    chosen = recipe.alignment.chosen
    if chosen is None:
        return None
    instruments = chosen.made(recipe.folder)
    for instrument in (instruments.captioner, instruments.encoder, instruments.matcher):
        load(instrument)
    return instruments


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch on one thread: lanes are what is parallel, and sums come out the same with any number of them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measure_chunk(recipe: BuildRecipe, part: Part, instruments: Instruments | None) -> Iterator[int]:
    alive = [row for row, d in enumerate(decided(recipe, (DUPLICATES,), part)) if kept(d)]
    rows: list[list[Decision]] = [[] for _ in range(part.count)]
    measured: list[Measurement | None] = [None] * part.count
    told = 0
    for numbers, samples in _batches(recipe, part, alive if instruments else []):
        for row, sample, decisions in zip(numbers, samples, _measured(samples, instruments, recipe), strict=True):
            record = sample.record.model_copy(update={"decisions": tuple(decisions)})
            rows[row], measured[row] = decisions, measurement(record)
        told += len(numbers)
        yield len(numbers)
    if instruments and isinstance(instruments.captioner, KeptCaptioner):
        instruments.captioner.answers.settle()
    write_decisions(recipe, MEASURES, part, rows, measured=measured)
    yield part.count - told


def _batches(recipe: BuildRecipe, part: Part, rows: list[int]) -> Iterator[tuple[list[int], list[Sample]]]:
    taken = zip(rows, samples_of(part, rows), strict=True)
    wanted = ((row, sample) for row, sample in taken if _compared(sample.record, recipe))
    for batch in cut(wanted, _AT_ONCE):
        yield [row for row, _ in batch], [sample for _, sample in batch]


def _compared(record: Record, recipe: BuildRecipe) -> bool:
    return record.split not in EVALUATION and record.main_task_type in recipe.alignment.groups


def _measured(samples: list[Sample], instruments: Instruments, recipe: BuildRecipe) -> Iterator[list[Decision]]:
    """Each record's decisions; one that no instrument can measure is out, with the reason."""
    images = [[load() for load in sample.images] for sample in samples]
    looked = [i for s, own in zip(samples, images, strict=True) for i in described_images(s.record, own)]
    if isinstance(instruments.captioner, StandInCaptioner):
        instruments.captioner.look_at(looked, recipe.alignment.captions)
    elif isinstance(instruments.matcher, StandInMatcher):
        instruments.matcher.captioner.look_at(looked, 1)
    for sample, own in zip(samples, images, strict=True):
        try:
            yield list(measure(sample.record, own, instruments, recipe.alignment))
        except Halted:
            raise
        except DataError as error:
            yield [Decision(rule=UNMEASURED, kept=False, by=BY, reason=str(error))]


@dataclass(frozen=True)
class _Measured:
    """All measurements, read anew each time that they are iterated."""

    recipe: BuildRecipe
    parts: list[Part]

    def __iter__(self) -> Iterator[Measurement]:
        for part in self.parts:
            yield from (m for m in measurements(self.recipe, part) if m is not None)


def measurements(recipe: BuildRecipe, part: Part) -> list[Measurement | None]:
    """By row what was measured."""
    page = page_of(recipe, MEASURES, part).read_page()
    return [None if m is None else Measurement(*m) for m in page["measured"]]


def cut_aligned(recipe: BuildRecipe, rows: Rows) -> None:
    """Compare what was measured; the report is written last.

    Raises:
        DataError: a page was changed from outside, or can't be written.
    """
    parts = rows.input_parts
    compared = Cut.over(_Measured(recipe, parts), recipe.alignment)
    counts: dict[str, Counter] = {}
    by: set[str] = set()
    for part in parts:
        out: list[list[Decision]] = []
        for found in measurements(recipe, part):
            decision = None if found is None else compared.decide(found)
            out.append([] if decision is None else [decision])
            if found is not None:
                counts.setdefault(found.modality, Counter()).update(compared=1, kept=int(decision.kept))
        by.update(d.by for row in read_decisions(recipe, MEASURES, part) for d in row)
        write_decisions(recipe, ALIGNMENT, part, out)
    modalities = {name: dict(found) for name, found in counts.items()}
    write_json(report_file(recipe), {"modalities": modalities, "measured by": sorted(by)})


def report_file(recipe: BuildRecipe) -> Path:
    return recipe.folder / ALIGNMENT / "report.json"


def report(recipe: BuildRecipe) -> dict:
    """Compared and kept by modality, and what measured, once the stage is done."""
    return read_json(report_file(recipe))
