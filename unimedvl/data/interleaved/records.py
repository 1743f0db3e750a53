"""From pairs to records of the interleaved group: checked, worded, declared.

A source's sample keeps its id and images and gets its words. What is decided says by what, and a pair whose images do
not lie on each other is dropped by its decision.
"""

from __future__ import annotations

from dataclasses import dataclass

from unimedvl.data.error import DataError
from unimedvl.data.interleaved.degradation import Degradation
from unimedvl.data.interleaved.registration import registered
from unimedvl.data.interleaved.rewording import Rewriter
from unimedvl.data.interleaved.super_resolution import SUPER_RESOLUTION, paired
from unimedvl.data.interleaved.task import InterleavedTask, opened
from unimedvl.data.interleaved.tasks import task_of
from unimedvl.data.interleaved.wording import generator
from unimedvl.data.record import Decision, Message, Record
from unimedvl.data.source import Sample, answer, question

VERSION = "2"  # of the templates and of how they are chosen
BY = f"unimedvl.data.interleaved {VERSION}"
RULE = "interleaved-words"


@dataclass(frozen=True)
class Construction:
    """How records are made.

    seed: with the record's id, decides its words. degradation: with which the inputs of super-resolution are made
    anew; None keeps those there are. rewriter: varies the words further; None leaves the templates'.
    """

    seed: int = 0
    degradation: Degradation | None = None
    rewriter: Rewriter | None = None


PLAIN = Construction()


def constructed(sample: Sample, how: Construction = PLAIN) -> Sample:
    """A pair of a source as a record with its words, its wishes as attributes, and what was decided of it.

    Raises:
        DataError: no task takes the record, it lacks what its words need, there is not one input and one output, an
            image can't be loaded, or the two differ in size.
    """
    task = task_of(sample.record)
    if task is SUPER_RESOLUTION and how.degradation is not None:
        sample = paired(sample, how.degradation)
    record = sample.record
    if len(record.input_img) != 1 or len(record.output_img) != 1 or len(sample.images) != 2:
        found = f"{len(record.input_img)} and {len(record.output_img)}"
        raise DataError(f"{record.dataset} {record.id}: expected one input and one output image, found {found}")
    before, after = (opened(load(), p.path) for load, p in zip(sample.images, record.pictures, strict=True))
    try:
        lies = registered(before, after, task.aligned)
    except DataError as error:
        raise DataError(f"{record.dataset} {record.id}: {error}") from error
    turns, said = _words(task, record, how)
    told = record.attributes | _declared(task, record)
    made = record.model_copy(update={"message": turns, "attributes": told})
    return Sample(made.decided(lies).decided(said), sample.images)


def _declared(task: InterleavedTask, record: Record) -> dict[str, str]:
    """The wishes, and for super-resolution all that the degradation is."""
    told = task.complete(record)
    names = (*task.wishes, *(n for n in told if n.startswith("degradation")))
    return {name: told[name] for name in names}


def _words(
    task: InterleavedTask, record: Record, how: Construction
) -> tuple[tuple[Message, Message], Decision]:
    """The turns, and the decision that names what worded them; its score is how many texts were refused."""
    key = f"{record.dataset} {record.id}"
    wishes = task.wished(record)
    texts = list(task.words(key, how.seed, wishes))
    refused = []
    by = f"{BY}: templates, seed {how.seed}"
    if how.rewriter is not None:
        by += f"; reworded by {how.rewriter.name}"
        rng = generator(f"variant {key}", how.seed)
        for n, which in enumerate(("request", "reply")):
            kept = [wishes[name] for name in task.kept if wishes[name].lower() in texts[n].lower()]
            texts[n], why = how.rewriter.reworded(texts[n], int(rng.integers(2**31)), kept)
            refused += [f"{which} not reworded: {why}"] if why else []
    decision = Decision(rule=RULE, kept=True, by=by, score=len(refused), reason="; ".join(refused))
    return (question(texts[0]), answer(texts[1])), decision
