"""What a recipe has made of a source's items before they are judged: records to draw by, and pairs in new words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from unimedvl.data.build.instruments import load, made_of
from unimedvl.data.build.recipe import BuildRecipe, Captions, Input, Pairs
from unimedvl.data.captions.generation import generation_samples
from unimedvl.data.captions.original import DESCRIBED
from unimedvl.data.captions.writer import Writer
from unimedvl.data.error import DataError
from unimedvl.data.interleaved.records import PLAIN, Construction, constructed
from unimedvl.data.interleaved.tasks import task_of
from unimedvl.data.quality.endpoint import Halted
from unimedvl.data.source import Fault, Item, Sample


class Maker:
    """Makes what the inputs' settings say, with models and servers that are kept from one chunk to the next."""

    def __init__(self, recipe: BuildRecipe) -> None:
        self._folder = recipe.folder
        self._writers: dict[str, Writer | None] = {}
        self._constructions: dict[str, Construction] = {}

    def made(self, items: Iterable[Item], entry: Input) -> Iterator[Item]:
        """The items of a chunk as the input's settings have them. What can't be made of one is a fault beside it.

        Raises:
            DataError: a model can't be loaded, or its server is gone.
        """
        writer, construction = self._writer(entry), self._construction(entry)
        for item in items:
            if isinstance(item, Fault):
                yield item
                continue
            yield _worded(item, construction) if entry.pairs else item
            if writer and item.record.sub_task_type in DESCRIBED and len(item.record.input_img) == 1:
                yield from _drawn(item, writer)
        # A chunk is not done while nobody knows whether what it lacks was lost with the server.
        for asking in (writer, construction.rewriter):
            answers = getattr(asking, "answers", None)
            if answers is not None:
                answers.settle()

    def _writer(self, entry: Input) -> Writer | None:
        if not entry.captions:
            return None
        if entry.name not in self._writers:
            choice = entry.captions.writer if isinstance(entry.captions, Captions) else "embedded"
            writer = made_of("writer", choice, self._folder)
            load(writer)
            self._writers[entry.name] = writer
        return self._writers[entry.name]

    def _construction(self, entry: Input) -> Construction:
        if not isinstance(entry.pairs, Pairs) or entry.pairs.rewriter is None:
            return PLAIN
        if entry.name not in self._constructions:
            rewriter = made_of("rewriter", entry.pairs.rewriter, self._folder)
            self._constructions[entry.name] = Construction(rewriter=rewriter)
        return self._constructions[entry.name]


def _worded(sample: Sample, construction: Construction) -> Item:
    """A pair in new words; what no task takes stays as it is."""
    try:
        task_of(sample.record)
    except DataError:
        return sample
    try:
        return constructed(sample, construction)
    except Halted:
        raise
    except DataError as error:
        return _fault(sample, "interleaved", error)


def _drawn(sample: Sample, writer: Writer) -> Iterator[Item]:
    try:
        yield from generation_samples(sample, writer)
    except Halted:
        raise
    except DataError as error:
        yield _fault(sample, "captions", error)


def _fault(sample: Sample, what: str, error: DataError) -> Fault:
    return Fault(f"{sample.record.dataset} {sample.record.id}, {what}", str(error))
