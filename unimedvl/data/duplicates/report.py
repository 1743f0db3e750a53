"""What was dropped and why: counts by source that add up, examples by name, as JSON and Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unimedvl.data.error import DataError

_EXAMPLES = 5  # of each rule


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Dropped(_Strict):
    """A record that was dropped. record: data set and id. rule: which one did. reason: in words."""

    record: str
    rule: str
    reason: str


class SourceCounts(_Strict):
    """Of one source: records read, kept, and dropped by each rule. They must add up."""

    source: str
    read: int = Field(ge=0)
    kept: int = Field(ge=0)
    dropped: dict[str, int] = {}

    @model_validator(mode="after")
    def _add_up(self) -> SourceCounts:
        lost = sum(self.dropped.values())
        if self.read != self.kept + lost:
            raise ValueError(f"{self.source}: read {self.read}, but kept {self.kept} and dropped {lost}")
        return self


class Report(_Strict):
    """title: what was done. sources: in order. examples: some records of each rule.
    notes: what else was counted. tables: rows of counts by name, such as what each evaluation set shares.
    """

    title: str
    sources: tuple[SourceCounts, ...]
    examples: tuple[Dropped, ...] = ()
    notes: dict[str, int] = {}
    tables: dict[str, dict[str, dict[str, int]]] = {}

    @property
    def read(self) -> int:
        return sum(s.read for s in self.sources)

    @property
    def kept(self) -> int:
        return sum(s.kept for s in self.sources)

    @property
    def dropped(self) -> dict[str, int]:
        """By rule, over all sources."""
        total: Counter[str] = Counter()
        for source in self.sources:
            total.update(source.dropped)
        return dict(sorted(total.items()))

    def to_json(self) -> str:
        total = {"read": self.read, "kept": self.kept, "dropped": self.dropped}
        return _Whole(total=total, **dict(self)).model_dump_json(indent=1)

    def to_markdown(self) -> str:
        return "\n".join(_lines(self)) + "\n"


class _Whole(Report):
    total: dict[str, int | dict[str, int]]


def read_report(text: str) -> Report:
    """A report out of its JSON.

    Raises:
        DataError: it is none, or its counts don't add up.
    """
    try:
        whole = _Whole.model_validate_json(text)
    except ValueError as error:
        raise DataError(f"no report: {str(error).splitlines()[-1].strip()}") from error
    return Report(**{name: getattr(whole, name) for name in Report.model_fields})


def make_report(
    title: str, sources: Iterable[str], dropped: Iterable[tuple[int, Dropped]], **more: object
) -> Report:
    """sources: the source of each record, by number. dropped: records that were, by number, each once.

    Raises:
        DataError: a record is dropped twice.
    """
    of = list(sources)
    read, lost = Counter(of), {source: Counter() for source in of}
    seen: set[int] = set()
    shown: dict[str, list[Dropped]] = {}
    for number, entry in dropped:
        if number in seen:
            raise DataError(f"{entry.record}: dropped twice, the second time by {entry.rule}")
        seen.add(number)
        lost[of[number]][entry.rule] += 1
        if len(shown.setdefault(entry.rule, [])) < _EXAMPLES:
            shown[entry.rule].append(entry)
    counts = tuple(
        SourceCounts(source=s, read=n, kept=n - lost[s].total(), dropped=dict(sorted(lost[s].items())))
        for s, n in read.items()
    )
    examples = tuple(entry for rule in sorted(shown) for entry in shown[rule])
    return Report(title=title, sources=counts, examples=examples, **more)


def _lines(report: Report) -> Iterator[str]:
    yield f"# {report.title}"
    yield ""
    rules = list(report.dropped)
    rows = [(s.source, s.read, s.kept, *(s.dropped.get(r, 0) for r in rules)) for s in report.sources]
    total = ("all", report.read, report.kept, *report.dropped.values())
    yield from table(("source", "read", "kept", *rules), [*rows, total])
    for name, entries in report.tables.items():
        columns = list(dict.fromkeys(c for counts in entries.values() for c in counts))
        yield from ("", f"## {name}", "")
        yield from table(("", *columns), [(n, *(c.get(k, 0) for k in columns)) for n, c in entries.items()])
    if report.notes:
        yield from ("", "## Also counted", "")
        yield from (f"- {name}: {count:,}" for name, count in report.notes.items())
    if report.examples:
        yield from ("", "## Examples", "")
        yield from table(
            ("record", "rule", "reason"), [(e.record, e.rule, e.reason) for e in report.examples]
        )


def table(header: Iterable[object], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """The lines of a Markdown table; numbers get separators, and a bar in a cell is escaped."""
    cells = [_cell(h) for h in header]
    yield f"| {' | '.join(cells)} |"
    yield f"|{' --- |' * len(cells)}"
    for row in rows:
        yield f"| {' | '.join(_cell(c) for c in row)} |"


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return " ".join(text.split()).replace("|", "\\|")
