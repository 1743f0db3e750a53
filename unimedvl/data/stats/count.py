"""A stage's numbers, counted over a stream of its records and of what it dropped."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from unimedvl.data.page import made_how
from unimedvl.data.record import Record
from unimedvl.data.stats.stages import QUARANTINE, Dropped, Stage
from unimedvl.data.stats.tally import Histogram, Tally

# By what records are counted: title, and value of a record given the data sets that are called simulated.
GROUPS: dict[str, Callable[[Record, Collection[str]], str]] = {
    "modality": lambda r, _: r.modality,
    "task": lambda r, _: r.sub_task_type,
    "split": lambda r, _: r.split or "none",
    "source": lambda r, _: r.dataset,
    "licence": lambda r, _: r.licence or "not stated",
    "images": lambda r, simulated: _images(r, simulated),
}


def _images(record: Record, simulated: Collection[str]) -> str:
    if not record.pictures:
        return "none"
    return made_how(record, simulated) or "as the source has them"


# Reasons that are shown of each rule, and rules that are told apart.
_EXAMPLES = 5
_RULES = 200


@dataclass
class Counts:
    """A stage's numbers.

    records: that passed. groups: of these, by what `GROUPS` names. characters: of their texts. turns: in them.
    shortest_side: of their images in pixels; sizes: of these, as width x height; unsized: images without a size.
    scores: of every record that a rule measured, by rule, kept and dropped by that rule.
    dropped: by rule, records and items that did not pass; quarantined ones stand under that name.
    examples: some of them by rule, as (where, reason). simulated: data sets whose images a build says are.
    """

    name: str
    simulated: Collection[str] = ()
    records: int = 0
    groups: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in GROUPS})
    characters: Histogram = field(default_factory=lambda: Histogram(0))
    turns: Histogram = field(default_factory=lambda: Histogram(0))
    shortest_side: Histogram = field(default_factory=lambda: Histogram(0))
    sizes: Tally = field(default_factory=Tally)
    unsized: int = 0
    scores: dict[str, Histogram] = field(default_factory=dict)
    dropped: Tally = field(default_factory=lambda: Tally(_RULES))
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, item: Record | Dropped) -> None:
        """Count an item."""
        if isinstance(item, Dropped):
            self._drop(item.rule, item.where, item.reason)
            return
        self._scores(item)
        failed = next((d for d in item.decisions if not d.kept), None)
        if failed is not None:
            self._drop(failed.rule, f"{item.dataset} {item.id}".strip(), failed.reason)
            return
        self.records += 1
        for name, value in GROUPS.items():
            self.groups[name].add(value(item, self.simulated))
        self.characters.add(len(item.text))
        self.turns.add(len(item.message))
        self._images(item)

    def _drop(self, rule: str, where: str, reason: str) -> None:
        self.dropped.add(rule)
        if rule in self.dropped.counts:
            examples = self.examples.setdefault(rule, [])
            if len(examples) < _EXAMPLES:
                examples.append((where, reason))

    def _scores(self, record: Record) -> None:
        for decision in record.decisions:
            if decision.score is not None and (decision.rule in self.scores or len(self.scores) < _RULES):
                self.scores.setdefault(decision.rule, Histogram()).add(decision.score, decision.kept)

    def _images(self, record: Record) -> None:
        for picture in record.pictures:
            if picture.width is None or picture.height is None:
                self.unsized += 1
                continue
            self.shortest_side.add(min(picture.width, picture.height))
            self.sizes.add(f"{picture.width} x {picture.height}")

    @property
    def items(self) -> int:
        """Records that passed, and what did not."""
        return self.records + sum(self.dropped.counts.values())

    @property
    def quarantined(self) -> int:
        return self.dropped.counts[QUARANTINE]

    def numbers(self) -> dict:
        """All of it, as JSON can hold it."""
        return {
            "stage": self.name,
            "items": self.items,
            "records": self.records,
            **{name: tally.ordered() for name, tally in self.groups.items()},
            "characters": self.characters.numbers(),
            "turns": self.turns.numbers(),
            "shortest_side": self.shortest_side.numbers(),
            "image_sizes": self.sizes.ordered(),
            "images_without_size": self.unsized,
            "scores": {rule: scores.numbers() for rule, scores in sorted(self.scores.items())},
            "dropped": {
                rule: {"count": n, "examples": [{"where": w, "reason": r} for w, r in self.examples.get(rule, ())]}
                for rule, n in self.dropped.ordered().items()
            },
        }


def count_stage(
    stage: Stage, told: Callable[[int], None] = lambda done: None, simulated: Collection[str] = ()
) -> Counts:
    """A stage's numbers, in one pass over its items.

    told: is given the number of items done, now and then. simulated: data sets of which a build says that they are.

    Raises:
        DataError: what the stage's stream raises.
    """
    counts, since = Counts(stage.name, simulated), 0
    for item in stage.items:
        counts.add(item)
        since += 1
        if since == 100:
            told(since)
            since = 0
    told(since)
    return counts
