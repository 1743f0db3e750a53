"""`unimedvl eval`: suites run, told side by side with what is published, and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Argument, Option

from unimedvl.cli.command import command
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal

if TYPE_CHECKING:
    from unimedvl.evaluation.run import Told

HELP = "Evaluation: benchmarks with declared protocols, beside what is published."
Folders = Annotated[list[Path], Argument(help="Folders of results.", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help=HELP, no_args_is_help=True)
    for function in (run, report, compare, benchmarks, tsv):
        command(group)(function)
    app.add_typer(group, name="eval")


def run(
    context: typer.Context,
    suite: Annotated[str, Argument(help="A shipped suite (phantoms, medical) or a YAML file.", show_default=False)],
    output: OutputOptions,
    overrides: Annotated[
        list[str] | None, Argument(metavar="[KEY=VALUE]...", help="Such as benchmarks.0.count=50.")
    ] = None,
    model: Annotated[
        str, Option(help="nano, a folder, a hub id, http://host:port/v1#name, or baseline:random|yes|copy|oracle.")
    ] = "nano",
    adapters: Annotated[str | None, Option(help="A folder of LoRA adapters that are merged in.")] = None,
    folder: Annotated[
        Path | None, Option(help="For results and predictions; runs/eval/SUITE-MODEL where left out.")
    ] = None,
    engine: Annotated[Literal["local", "ray"], Option(help="Where predictions are made.")] = "local",
) -> None:
    """Run a suite: results.json, report.md, plots and gallery.html. Interrupted, the same command goes on."""
    terminal = Terminal(output)
    from unimedvl.evaluation.predict import Asked
    from unimedvl.evaluation.report import write_report
    from unimedvl.evaluation.run import run_suite
    from unimedvl.evaluation.suite import load_suite

    wanted = load_suite(suite, overrides or [])
    place = folder or Path("runs/eval") / f"{wanted.name}-{_slug(model)}"
    asked = Asked(model, wanted.settings, adapters, wanted.batch)
    with _progress(terminal) as told:
        results = run_suite(wanted, asked, place, told, engine == "ray", ["unimedvl", *context.obj])
    write_report(place)
    if output.json:
        terminal.document(results.content)
        return
    for benchmark in results.content["benchmarks"]:
        headline = benchmark["scores"][0]
        terminal.line(f"{benchmark['name']}: {_shown(headline)}")
    terminal.line(place / "report.md")
    terminal.note(results.content["notice"])


def report(
    folders: Folders,
    output: OutputOptions,
    readme: Annotated[Path | None, Option(help="Put the short table between the markers of this file.")] = None,
) -> None:
    """Write report.md, plots and the gallery anew; of several results one table, side by side."""
    terminal = Terminal(output)
    from unimedvl.evaluation.report import put_scoreboard, write_report
    from unimedvl.evaluation.report import report as told
    from unimedvl.evaluation.results import read_results

    results = [read_results(folder) for folder in folders]
    if readme is not None:
        put_scoreboard(results, readme)
        terminal.line(readme)
        return
    for folder in folders:
        write_report(folder)
    if output.json:
        terminal.document([r.content for r in results])
    else:
        terminal.line(told(results))


def compare(
    first: Annotated[Path, Argument(help="Folder of results.", show_default=False)],
    second: Annotated[Path, Argument(help="Folder of results.", show_default=False)],
    output: OutputOptions,
) -> None:
    """Which differences hold: paired over the items that both have, with intervals and Holm's correction."""
    terminal = Terminal(output)
    from unimedvl.evaluation.compare import compare as compared
    from unimedvl.evaluation.results import read_results

    found = compared(read_results(first), read_results(second))
    if output.json:
        terminal.document(found.to_dict())
    else:
        terminal.line(found.markdown())


def benchmarks(output: OutputOptions) -> None:
    """List the benchmarks: their protocols, and what they need."""
    terminal = Terminal(output)
    from unimedvl.evaluation.benchmarks import BENCHMARKS

    if output.json:
        terminal.document([
            {"name": b.name, "title": b.title, "area": b.area, "home": b.home, "licence": b.licence,
             "simulated": b.simulated, "expected": b.expected, "protocol": b.protocol.to_dict(), "notes": b.notes}
            for b in BENCHMARKS.values()
        ])  # fmt: skip
        return
    for b in BENCHMARKS.values():
        terminal.line(f"{b.name}  {b.title}")
        for name, text in b.protocol.to_dict().items():
            if text:
                terminal.line(f"  {name:<10} {text}")
        if b.needs_data:
            terminal.line(f"  {'data':<10} {b.home}; {b.licence}")


def tsv(
    benchmark: Annotated[str, Argument(help="Such as slake or vqa-rad.", show_default=False)],
    folder: Annotated[Path, Argument(help="Of its published form.", show_default=False)],
    tables: Annotated[Path, Argument(help="VLMEvalKit's own folder, $LMUData.", show_default=False)],
    output: OutputOptions,
) -> None:
    """Write a benchmark that VLMEvalKit lacks as a table for it."""
    terminal = Terminal(output)
    from unimedvl.evaluation.benchmarks import benchmark as named
    from unimedvl.evaluation.tsv import write_table

    file, count, broken = write_table(named(benchmark), folder, tables)
    if broken:
        terminal.note(f"{len(broken)} left out, the first {broken[0].where}: {broken[0].reason}")
    if output.json:
        left_out = [{"where": b.where, "reason": b.reason} for b in broken]
        terminal.document({"file": str(file), "items": count, "left_out": left_out})
    else:
        terminal.line(file)


def _slug(model: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "-" for c in model).strip("-")[-60:]


def _shown(score: dict) -> str:
    from unimedvl.evaluation.score import Score

    fields = {k: float("nan") if v is None and k in ("value", "low", "high") else v for k, v in score.items()}
    fields.pop("met")
    shown = Score(**fields)
    unread = f", {shown.unparsed} unread" if shown.unparsed else ""
    failed = f", {shown.failed} failed" if shown.failed else ""
    return f"{shown.metric} {shown.text()}, n {shown.n}{unread}{failed}"


@contextmanager
def _progress(terminal: Terminal) -> Iterator[Callable[[Told], None]]:
    """A bar for each benchmark."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=terminal.errors, disable=not terminal.progress) as bar:
        tasks: dict[str, int] = {}

        def told(news: Told) -> None:
            if news.benchmark not in tasks:
                tasks[news.benchmark] = bar.add_task(news.benchmark, total=news.total)
            bar.update(tasks[news.benchmark], completed=news.done, total=news.total)

        yield told
