"""`unimedvl data stats`, `inspect`, `shard` and `audit`: records looked at by people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from unimedvl.cli.command import command
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal

if TYPE_CHECKING:
    from unimedvl.data.stats.count import Counts

Shards = Annotated[
    list[Path], Argument(help="Shards (*.parquet), or folders of them, or a build's folder.", show_default=False)
]
AuditFolder = Annotated[Path, Argument(help="Made by `unimedvl data audit sample`.", show_default=False)]


def register(group: typer.Typer) -> None:
    """Add the commands to the group `data`."""
    for function in (shard, stats, inspect):
        command(group)(function)
    audits = typer.Typer(
        help="Experts rate a sample: drawn, rated in a browser, reported.", no_args_is_help=True
    )
    for function, name in ((audit_sample, "sample"), (audit_serve, "serve"), (audit_report, "report")):
        command(audits, name)(function)
    group.add_typer(audits, name="audit")


@contextmanager
def _progress(terminal: Terminal, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A function that takes the number of records done, and shows them as a bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal.errors, transient=True, disable=not terminal.progress) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, advance=done)


def shard(
    name: Annotated[str, Argument(help="Of a source; `unimedvl data sources` lists them.", show_default=False)],
    folder: Annotated[Path, Argument(help="The data set as published.", show_default=False)],
    out: Annotated[Path, Argument(metavar="OUT.parquet", help="The shard to write.", show_default=False)],
    output: OutputOptions,
) -> None:
    """Write a data set's records and images as one shard, without any quality control; small sets only."""
    terminal = Terminal(output)
    from unimedvl.data.shards import write_shard
    from unimedvl.data.source import Fault, Sample
    from unimedvl.data.sources import source

    faults: list[Fault] = []

    def usable() -> Iterator[Sample]:
        for item in source(name).read(folder):
            if isinstance(item, Sample):
                told(1)
                yield item
            else:
                faults.append(item)

    with _progress(terminal, name, None) as told:
        count = write_shard(out, usable())
    for fault in faults:
        terminal.note(f"left out: {fault.where}: {fault.reason}")
    if output.json:
        terminal.document({"shard": str(out), "records": count, "faults": [vars(f) for f in faults]})
    else:
        terminal.line(f"{out}: {count:,} records, {len(faults):,} faults")


def counted_stages(terminal: Terminal, paths: list[Path]) -> list[Counts]:
    """What is in each stage of a build, or in shards."""
    from unimedvl.data.stats.count import count_stage
    from unimedvl.data.stats.stages import stages_of

    counted, invented = [], simulated(paths)
    for stage in stages_of(paths):
        with _progress(terminal, stage.name, stage.total) as told:
            counted.append(count_stage(stage, told, invented))
    return counted


def simulated(paths: list[Path]) -> list[str]:
    """Inputs that are simulated, as the builds say whose folders these are, or whose folders or shards."""
    from unimedvl.data.staged import simulated_inputs

    folders = dict.fromkeys(folder for path in paths for folder in (path, *path.absolute().parents[:2]))
    return list(dict.fromkeys(name for folder in folders for name in simulated_inputs(folder)))


def write_card(paths: list[Path], counted: list[Counts], title: str, out: Path) -> None:
    """Write the page of what was counted."""
    from unimedvl.data.page import write_page
    from unimedvl.data.stats.card import card

    write_page(out, card(counted, title, simulated(paths)))


def stats(
    paths: Shards,
    output: OutputOptions,
    out: Annotated[Path | None, Option("--out", "-o", help="The page to write.", show_default=False)] = None,
) -> None:
    """Count what is in a set, or in each stage of a build: a page in the manner of a data card, or --json."""
    terminal = Terminal(output)
    if out is None and not output.json:
        raise ValueError("nothing to do: name a page with --out stats.html, or ask for the numbers with --json")
    counted = counted_stages(terminal, paths)
    if out is not None:
        write_card(paths, counted, "Records of " + ", ".join(p.name or str(p) for p in paths[:3]), out)
    if output.json:
        terminal.document({"stages": [counts.numbers() for counts in counted]})
        return
    for counts in counted:
        lost = "".join(f", {n:,} {rule}" for rule, n in counts.dropped.ordered().items())
        terminal.line(f"{counts.name}: {counts.records:,} records passed of {counts.items:,}{lost}")
    terminal.line(out)


def inspect(
    paths: Shards,
    output: OutputOptions,
    modality: Annotated[str | None, Option(help="Only of this modality.")] = None,
    task: Annotated[str | None, Option(help="Only of this task.")] = None,
    source: Annotated[str | None, Option(help="Only of this data set.")] = None,
    rule: Annotated[str | None, Option(help="Only those that this rule judged.")] = None,
    kept: Annotated[bool | None, Option("--kept/--dropped", help="By all rules, or by --rule.")] = None,
    count: Annotated[int, Option(min=1, max=1000, help="At most so many.")] = 12,
    seed: Annotated[int, Option(min=0, help="The same draws the same records.")] = 0,
    text: Annotated[bool, Option("--text", help="Print them here.")] = False,
    out: Annotated[Path | None, Option("--out", "-o", help="The page to write.", show_default=False)] = None,
) -> None:
    """Look at some records: a page with their images, messages and decisions, or --text in the terminal."""
    terminal = Terminal(output)
    from unimedvl.data.inspect import Wanted, as_text, choose, page, records_of
    from unimedvl.data.page import write_page

    if out is None and not (text or output.json):
        raise ValueError("nothing to do: name a page with --out page.html, or ask for --text or --json")
    records, total = records_of(paths)
    with _progress(terminal, "records", total) as told:
        samples = choose(records, Wanted(modality, task, source, rule, kept), count, seed, told)
    invented = simulated(paths)
    if out is not None:
        write_page(out, page(samples, f"Records, seed {seed}", invented))
    if output.json:
        terminal.document([s.record.model_dump(mode="json", by_alias=True) for s in samples])
    elif text:
        terminal.line("\n\n".join(as_text(sample, invented) for sample in samples))
    else:
        terminal.line(f"{out}: {len(samples)} records")


# Audit -------------------------------------------------------------------------------------------


def audit_sample(
    paths: Annotated[list[Path], Argument(help="Shards (*.parquet), or folders of them.", show_default=False)],
    output: OutputOptions,
    out: Annotated[Path, Option("--out", "-o", help="The audit's folder, to be made.", show_default=False)],
    size: Annotated[int, Option(min=1, max=100_000, help="Records to draw.")] = 200,
    seed: Annotated[int, Option(min=0, help="The same draws the same records.")] = 0,
) -> None:
    """Draw the sample that experts rate, stratified by modality, with its images."""
    terminal = Terminal(output)
    from collections import Counter

    from unimedvl.data.quality.audit_folder import write_audit
    from unimedvl.data.scan import count_rows, shard_files

    files = shard_files(paths)
    with _progress(terminal, "records, read twice", 2 * count_rows(files)) as told:
        records = write_audit(out, files, size, seed, told, simulated(paths))
    modalities = dict(sorted(Counter(r.modality for r in records).items()))
    if output.json:
        terminal.document({"folder": str(out), "records": len(records), "modalities": modalities})
        return
    terminal.line(f"{out}: {len(records):,} records")
    for name, count in modalities.items():
        terminal.line(f"  {name}: {count:,}")


def audit_serve(
    folder: AuditFolder,
    output: OutputOptions,
    port: Annotated[int, Option(min=0, max=65535, help="0 takes any that is free.")] = 8790,
    host: Annotated[str, Option(help="Address to listen on; others than loopback let the network in.")] = "127.0.0.1",
) -> None:
    """Serve the form in which raters rate the sample, until Ctrl-C; the address is printed. It has no passwords."""
    terminal = Terminal(output)
    import ipaddress
    import signal

    from unimedvl.data.quality.audit_folder import Audit
    from unimedvl.data.quality.audit_form import AuditServer

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with AuditServer(Audit(folder), port, host) as server:
        if not ipaddress.ip_address(server.server_address[0]).is_loopback:
            terminal.note("warning: whoever can reach this address can see the images and rate", style="yellow")
        signal.signal(signal.SIGTERM, stop)
        terminal.document({"url": server.url}, None) if output.json else terminal.line(server.url)
        terminal.note("Ctrl-C stops it; every rating that was saved stays")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            terminal.note("stopped")


def audit_report(
    folder: AuditFolder,
    output: OutputOptions,
    csv: Annotated[
        list[Path] | None, Option(help="More ratings, as CSV; may be given again.", show_default=False)
    ] = None,
) -> None:
    """Write ratings.csv and report.md into the folder: means, agreement, and whether the set is accepted."""
    terminal = Terminal(output)
    from dataclasses import asdict

    from unimedvl.data.page import write_page
    from unimedvl.data.quality.agreement import agreement
    from unimedvl.data.quality.audit import evaluate
    from unimedvl.data.quality.audit_folder import Audit
    from unimedvl.data.quality.audit_report import report
    from unimedvl.data.quality.ratings import read_ratings, write_ratings

    audit = Audit(folder)
    ratings = audit.ratings() + [rating for file in csv or () for rating in read_ratings(file)]
    outcome, alpha = evaluate(audit.records, ratings), agreement(ratings)
    write_ratings(folder / "ratings.csv", ratings)
    write_page(folder / "report.md", text := report(outcome, alpha))
    if output.json:
        terminal.document(asdict(outcome) | {"alpha": alpha})
    else:
        terminal.line(text.rstrip())
