"""What a recipe has made of a source's items before they are judged: records to draw by, and pairs in new words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from unimedvl.data.build.recipe import Input
from unimedvl.data.captions.embedded import EmbeddedWriter
from unimedvl.data.captions.generation import generation_samples
from unimedvl.data.captions.original import DESCRIBED
from unimedvl.data.error import DataError
from unimedvl.data.interleaved.records import constructed
from unimedvl.data.interleaved.tasks import task_of
from unimedvl.data.source import Fault, Item, Sample


def made(items: Iterable[Item], entry: Input) -> Iterator[Item]:
    """The items as the input's settings have them. What can't be made of one is a fault beside it."""
    for item in items:
        if isinstance(item, Fault):
            yield item
            continue
        yield _worded(item) if entry.pairs else item
        if entry.captions and item.record.sub_task_type in DESCRIBED and len(item.record.input_img) == 1:
            yield from _drawn(item)


def _worded(sample: Sample) -> Item:
    """A pair in new words; what no task takes stays as it is."""
    try:
        task_of(sample.record)
    except DataError:
        return sample
    try:
        return constructed(sample)
    except DataError as error:
        return _fault(sample, "interleaved", error)


def _drawn(sample: Sample) -> Iterator[Item]:
    try:
        yield from generation_samples(sample, EmbeddedWriter())
    except DataError as error:
        yield _fault(sample, "captions", error)


def _fault(sample: Sample, what: str, error: DataError) -> Fault:
    return Fault(f"{sample.record.dataset} {sample.record.id}, {what}", str(error))
