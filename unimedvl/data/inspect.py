"""Records to be looked at: some of a set by what is wanted and a seed, as a page with their images, or as text."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.page import document, made_how, number, simulated_note, table, thumbnail, turns
from unimedvl.data.record import Record
from unimedvl.data.scan import STAGES, Place, count_rows, fetch, scan, shard_files, stage_folders
from unimedvl.data.source import Sample
from unimedvl.data.staged import staged

# Different values of a field that are remembered, to say what there is where nothing fits.
_REMEMBERED = 20


@dataclass(frozen=True)
class Wanted:
    """Which records are looked at; None is any.

    task: the sub-task. source: the data set. rule: one that judged the record. kept: whether all rules let it pass;
    with a rule, whether that rule did.
    """

    modality: str | None = None
    task: str | None = None
    source: str | None = None
    rule: str | None = None
    kept: bool | None = None

    def fits(self, record: Record) -> bool:
        fields = ((self.modality, record.modality), (self.task, record.sub_task_type), (self.source, record.dataset))
        if any(want is not None and want != found for want, found in fields):
            return False
        judged = [d for d in record.decisions if self.rule in (None, d.rule)]
        if self.rule is not None and not judged:
            return False
        return self.kept is None or self.kept == all(d.kept for d in judged)


def records_of(paths: Sequence[Path]) -> tuple[Iterator[tuple[Place, Record]], int]:
    """What can be looked at, and how many records that are.

    Of a build's folder, all that its first stage kept, with the decisions of every stage; else the records of shards.
    Raises:
        DataError: no such file or folder, or no shards in it.
    """
    paths = [Path(p) for p in paths]
    if len(paths) == 1 and stage_folders(paths[0]):
        read = shard_files([paths[0] / STAGES[0]])
        return ((one.place, one.whole) for one in staged(paths[0])), count_rows(read)
    files = shard_files(paths)
    return scan(files), count_rows(files)


def choose(
    records: Iterable[tuple[Place, Record]],
    wanted: Wanted,
    count: int = 12,
    seed: int = 0,
    told: Callable[[int], None] = lambda done: None,
) -> list[Sample]:
    """At most `count` records that fit, drawn by lot and in the order given, with their images.

    The same seed draws the same records, however they are spread over shards. told: is called for each record read.
    Raises:
        DataError: no shard, or none of its records fits; it says what values there are.
    """
    lots: list[tuple[int, int, Place, Record]] = []
    found: dict[str, dict[str, None]] = {"modality": {}, "task": {}, "source": {}, "rule": {}}
    for order, (place, record) in enumerate(records):
        told(1)
        _remember(found, record)
        if wanted.fits(record):
            # A heap whose first is the largest lot; of equal lots the later record is.
            lot = (-_lot(record, seed), -order, place, record)
            (heapq.heappush if len(lots) < count else heapq.heappushpop)(lots, lot)
    if not lots:
        raise DataError(_nothing(wanted, found))
    lots.sort(key=lambda lot: -lot[1])
    samples = fetch(place for _, _, place, _ in lots)
    return [Sample(record, sample.images) for (*_, record), sample in zip(lots, samples, strict=True)]


def _lot(record: Record, seed: int) -> int:
    text = "\0".join((str(seed), record.dataset, record.id, record.text))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _remember(found: dict[str, dict[str, None]], record: Record) -> None:
    values = {"modality": [record.modality], "task": [record.sub_task_type], "source": [record.dataset]}
    values["rule"] = [d.rule for d in record.decisions]
    for name, known in found.items():
        for value in values[name]:
            if len(known) < _REMEMBERED:
                known[value] = None


def _nothing(wanted: Wanted, found: dict[str, dict[str, None]]) -> str:
    if not any(found.values()):
        return "the shards have no records"
    for name, known in found.items():
        want = getattr(wanted, name)
        if want is not None and want not in known:
            return f"no record has {name} {want!r}; there is {', '.join(sorted(known)) or 'none at all'}"
    return "no record fits all that is asked for; ask for less"


# As a page ---------------------------------------------------------------------------------------

_STYLE = "article { border-top: 1px solid var(--line); padding: 1rem 0; }"


def page(samples: Iterable[Sample], title: str, simulated: Collection[str] = ()) -> str:
    """One self-contained HTML page; an image that can't be shown says why.

    simulated: data sets of which a build says that they are.
    """
    cards = [_card(number, sample, simulated) for number, sample in enumerate(samples, 1)]
    said = f'<p class="soft">{len(cards)} records. Not for clinical use.</p>{simulated_note(simulated)}'
    head = f"<header><h1>{escape(title)}</h1>{said}</header>"
    return document(title, head + "\n" + "\n".join(cards), _STYLE)


def _card(place: int, sample: Sample, simulated: Collection[str]) -> str:
    record, made = sample.record, made_how(sample.record, simulated)
    facts = [(n, v) for n, v in _facts(record) if v]
    said = f'<p class="made">The images of this record are {made}.</p>' if made else ""
    return (
        f"<article><h2>{place}. {escape(record.dataset)} {escape(record.id)}</h2>{said}"
        f'<div class="images">{images(sample, made)}</div>{turns(record)}'
        f"<details><summary>What else the record says</summary>{table(('field', 'value'), facts)}</details>"
        f"{_decisions(record)}</article>"
    )


def images(sample: Sample, made: str = "", side: int = 256) -> str:
    """A sample's images as HTML figures. made: how all of them were made, where that is known."""
    record, figures = sample.record, []
    for place, (picture, load) in enumerate(zip(record.pictures, sample.images, strict=True)):
        role = "input" if place < len(record.input_img) else "output"
        try:
            small = thumbnail(load(), picture.path, side)
        except DataError as error:
            figures.append(f"<figure><figcaption>{role}: can't be shown: {escape(str(error))}</figcaption></figure>")
            continue
        how = "synthetic" if small.made else made
        words = f"{how + ' ' if how else ''}{record.modality} image, {role} {place + 1}"
        mark = f'<span class="made">{how}</span> ' if how else ""
        figures.append(
            f'<figure><img src="{small.url}" width="{small.width}" height="{small.height}" alt="{escape(words)}">'
            f"<figcaption>{mark}{role}, {small.full[0]} x {small.full[1]}<br>{escape(picture.path)}"
            "</figcaption></figure>"
        )
    return "".join(figures)


def _facts(record: Record) -> list[tuple[str, str]]:
    names = ("main_task_type", "sub_task_type", "modality", "split", "licence", "patient", "study")
    return [(n, getattr(record, n) or "") for n in names] + sorted(record.attributes.items())


def _decisions(record: Record) -> str:
    if not record.decisions:
        return '<p class="soft">No rule has judged it.</p>'
    rows = [
        (d.rule, "kept" if d.kept else "dropped", "" if d.score is None else d.score, d.reason, d.by)
        for d in record.decisions
    ]
    return table(("rule", "decision", "score", "reason", "by"), rows)


# As text -----------------------------------------------------------------------------------------


def as_text(sample: Sample, simulated: Collection[str] = ()) -> str:
    """A record in lines for a terminal; nothing in it can move the cursor or change colours."""
    record, made = sample.record, made_how(sample.record, simulated)
    lines = [f"{record.dataset} {record.id}  {record.modality}  {record.sub_task_type}  {record.split or 'no split'}"]
    if made:
        lines.append(f"  images are {made}")
    for place, picture in enumerate(record.pictures):
        role = "input" if place < len(record.input_img) else "output"
        size = f"{picture.width} x {picture.height}" if picture.width and picture.height else "size not stated"
        lines.append(f"  {role}  {picture.path}  {size}")
    for message in record.message:
        speaker = {"human": "user", "gpt": "model"}[message.speaker]
        text = message.value.strip().splitlines() or [""]
        lines += [f"  {speaker}  {text[0]}", *(f"        {line}" for line in text[1:])]
    for d in record.decisions:
        score = "" if d.score is None else f" {number(d.score)}"
        lines.append(f"  {'kept' if d.kept else 'dropped'} by {d.rule}{score}{': ' if d.reason else ''}{d.reason}")
    return "\n".join("".join(c if c.isprintable() else " " for c in line) for line in lines)
