"""What a build did: of each source and each stage how many records came in, which rules dropped how many, what is left.

The counts must add up: read = kept + dropped by each rule + quarantined.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import IO

from unimedvl.data.build import aligned, finished, parted, read, repeated
from unimedvl.data.build.chunks import chunks_of, write_json
from unimedvl.data.build.decisions import ALIGNMENT, DUPLICATES, MEASURES, SPLITS, read_decisions
from unimedvl.data.build.recipe import BuildRecipe, Input, Pairs
from unimedvl.data.build.rows import Part, Rows
from unimedvl.data.captions.generation import TASK
from unimedvl.data.error import DataError
from unimedvl.data.interleaved.records import RULE
from unimedvl.data.record import Record
from unimedvl.data.scan import scan
from unimedvl.data.sources import source
from unimedvl.data.whole import written_whole

# The stages as they are counted: measuring and cutting are one.
STAGES = {"duplicates": (DUPLICATES,), "alignment": (MEASURES, ALIGNMENT), "splits": (SPLITS,)}


_QUARANTINED = "quarantined"


def write_report(recipe: BuildRecipe, rows: Rows) -> dict:
    """Write `report.json`, and `dropped.jsonl` with a line for everything that is not kept; returns the report.

    Raises:
        DataError: counts don't add up, or a file can't be written.
    """
    with written_whole(recipe.folder / "dropped.jsonl") as part, part.open("w", encoding="utf-8") as out:
        counted = {entry.name: _counted(recipe, rows, entry, out) for entry in recipe.inputs}
    shards = finished.pages(recipe, rows)
    told = {
        "total": _total(s["counts"] for s in counted.values()),
        "sources": {name: s["counts"] for name, s in counted.items()},
        "stages": {name: s["stages"] for name, s in counted.items()},
        "evaluation": {entry.name: _plain(read.counts(recipe, entry)) for entry in recipe.evaluation},
        "captions": {e.name: _captions(recipe, e) for e in recipe.inputs if e.captions},
        "pairs": {e.name: _pairs(recipe, e) for e in recipe.inputs if isinstance(e.pairs, Pairs)},
        "splits": _by_split(shards),
        "shards": shards,
        "simulated": [e.name for e in recipe.inputs if e.simulated],
        "licences": {entry.name: source(entry.name).licence for entry in recipe.inputs},
        "reports": repeated.reports(recipe) | {"alignment": aligned.report(recipe), "splits": parted.report(recipe)},
    }
    _check(told)
    write_json(recipe.folder / "report.json", told)
    return told


def _counted(recipe: BuildRecipe, rows: Rows, entry: Input, out: IO[str]) -> dict:
    """Of one source the counts over all, and by stage."""
    first = _plain(read.counts(recipe, entry))
    for page in read.pages(recipe, entry):
        for item in page["dropped"]:
            _line(out, entry, "read", item["where"], item["rule"], item["reason"])
        for item in page["quarantined"]:
            _line(out, entry, "read", item["where"], _QUARANTINED, item["reason"])
    lost: dict[str, Counter] = {stage: Counter() for stage in STAGES}
    for part in (p for p in rows.input_parts if p.entry is entry):
        for stage, where, decision in _failed(recipe, part):
            # What no instrument could measure was not judged.
            rule = _QUARANTINED if decision.rule == aligned.UNMEASURED else decision.rule
            lost[stage][rule] += 1
            _line(out, entry, stage, where, rule, decision.reason)
    stages, left = {"read": first}, first["kept"]
    for stage, dropped in lost.items():
        came, left = left, left - dropped.total()
        quarantined = dropped.pop(_QUARANTINED, 0)
        told = {"read": came, "kept": left, "dropped": dict(sorted(dropped.items())), "quarantined": quarantined}
        stages[stage] = told
    return {"counts": _total(stages.values()) | {"read": first["read"], "kept": left}, "stages": stages}


def _failed(recipe: BuildRecipe, part: Part) -> Iterator[tuple[str, str, object]]:
    """Stage, record and decision of each record that a stage dropped; one has no decision after that."""
    named = [f"{p['dataset']} {p['id']}" for p in part.chunk.read_page()["prints"]]
    for stage, folders in STAGES.items():
        for folder in folders:
            for where, row in zip(named, read_decisions(recipe, folder, part), strict=True):
                yield from ((stage, where, decision) for decision in row if not decision.kept)


def _captions(recipe: BuildRecipe, entry: Input) -> dict:
    """Of each kind of text how many were written, how many the rules refused, and who wrote: of what was kept by the
    first stage. A refused prompt gives way to the original caption; a refused plan leaves no record."""
    made = (r for r in _records(recipe, entry) if r.id.endswith(f"/{TASK}"))
    counts: dict[str, Counter] = {}
    by: set[str] = set()
    for decision in (d for record in made for d in record.decisions if d.rule.startswith("caption-")):
        kind = decision.rule.removeprefix("caption-")
        counts.setdefault(kind, Counter(written=0, refused=0)).update(written=1, refused=int(bool(decision.score)))
        by.add(decision.by)
    return {kind: dict(found) for kind, found in sorted(counts.items())} | {"written by": sorted(by)}


def _pairs(recipe: BuildRecipe, entry: Input) -> dict:
    """How many requests and replies were reworded, how many of those kept the words of their template since the new
    ones lost or changed a wish, and what worded them: of what was kept by the first stage."""
    worded = [d for record in _records(recipe, entry) for d in record.decisions if d.rule == RULE]
    refused = sum(int(d.score or 0) for d in worded)
    return {"texts": 2 * len(worded), "refused": refused, "worded by": sorted({d.by for d in worded})}


def _records(recipe: BuildRecipe, entry: Input) -> Iterator[Record]:
    shards = [chunk.shard for chunk in chunks_of(read.folder_of(recipe, entry))]
    yield from (record for _, record in scan(shards))


def _line(out: IO[str], entry: Input, stage: str, where: str, rule: str, reason: str) -> None:
    told = {"source": entry.name, "stage": stage, "record": where, "rule": rule, "reason": reason}
    out.write(json.dumps(told, ensure_ascii=False) + "\n")


def _plain(counts: dict[str, int]) -> dict:
    dropped = {key.removeprefix("dropped: "): n for key, n in counts.items() if key.startswith("dropped: ")}
    return {key: counts[key] for key in ("read", "kept", "quarantined")} | {"dropped": dropped}


def _total(all_counts) -> dict:
    total: Counter = Counter(read=0, kept=0, quarantined=0)
    dropped: Counter = Counter()
    for counts in all_counts:
        dropped.update(counts["dropped"])
        for key in ("read", "kept", "quarantined"):
            total[key] += counts[key]
    return dict(total) | {"dropped": dict(sorted(dropped.items()))}


def _by_split(shards: list[dict]) -> dict[str, int]:
    found: Counter = Counter()
    for shard in shards:
        found[shard["split"]] += shard["records"]
    return dict(found)


def _check(told: dict) -> None:
    every = [(name, c) for name, c in told["sources"].items()]
    every += [(f"{name}, {stage}", c) for name, stages in told["stages"].items() for stage, c in stages.items()]
    for name, c in every:
        if c["read"] != c["kept"] + c["quarantined"] + sum(c["dropped"].values()):
            raise DataError(f"{name}: the counts don't add up: {c}; remove the build's folder and build again")
    written = sum(told["splits"].values())
    if written != told["total"]["kept"]:
        raise DataError(f"{written} records in the shards, but {told['total']['kept']} are kept; build again")
