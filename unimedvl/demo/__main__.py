"""``python -m unimedvl.demo``: run the demonstration and write its page.

The page's path and a table go to standard output, progress to standard error. Exit status 2 means that
something given was wrong.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from unimedvl import UniMedVL
from unimedvl.cli.command import command, ended
from unimedvl.demo.entries import Bench
from unimedvl.demo.page import About, render, rows
from unimedvl.demo.run import Chapter, machine, plan, run
from unimedvl.inference.results import versions


def main(
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("demo/index.html"),
    model: Annotated[str | None, typer.Option(help="A folder or hub id; nano if left out.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=2, help="Points of the time grid of each drawing; the model's own if left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Run every task on simulated studies and on real files, and write one HTML page."""
    start = time.perf_counter()
    with _place(out):  # now, and not after all is done
        bench = Bench(UniMedVL.load(model), steps)
        chapters = _run(bench)
        seconds = time.perf_counter() - start
        write(out, render(chapters, About(facts(bench), seconds)))
    if as_json:
        typer.echo(json.dumps(summary(out, chapters, bench, seconds), indent=1, ensure_ascii=False))
    else:
        console = Console()
        console.print(table(chapters))
        console.print(f"{out.resolve()}", soft_wrap=True, highlight=False)


def _run(bench: Bench) -> list[Chapter]:
    groups = plan(bench.modalities)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("demo", total=sum(len(g.jobs) for g in groups))
        begun = iter(range(10**6))
        return run(
            groups,
            bench,
            lambda group, job: progress.update(
                bar, completed=next(begun), description=f"{job.task}: {job.subject}"
            ),
        )


def facts(bench: Bench) -> tuple[tuple[str, str], ...]:
    """What the head of the page says: the model, where it ran, and with which versions."""
    model, card = bench.model, bench.model.card
    parameters = sum(p.numel() for p in model.model.parameters())
    return (
        ("Model", f"{card['name']}, {parameters / 1e6:.1f} million parameters"),
        ("Weights", f"sha256 {model.weights}"),
        ("Trained on", card.get("trained_on", "not stated")),
        ("Use", card.get("use", "not stated; not for clinical use")),
        ("Drawings", f"{bench.steps or 'as many as the model asks for'} points of time each"),
        ("Machine", machine(model.model.device)),
        ("Versions", ", ".join(f"{name} {number}" for name, number in versions().items())),
        ("Made", f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC"),
    )


@contextmanager
def _place(out: Path) -> Iterator[None]:
    """Check that the page can be written, and make its folder where that is missing; gone again if nothing comes in.

    Raises:
        ValueError: `out` is a folder, or has no folder and none can be made, or can't be written.
    """
    folder = out.parent
    if out.is_dir():
        raise ValueError(f"{out}: is a folder; name a file in it, such as {out / 'index.html'}")
    if not folder.exists() and not folder.parent.is_dir():
        raise ValueError(f"{out}: there is no folder {folder.parent}; create it first")
    made = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        trial = out.with_name(f".{out.name}-{secrets.token_hex(4)}")
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ValueError(f"{out}: cannot be written ({error.strerror}); name a file in a writable folder") from error
    try:
        yield
    finally:
        if made and not any(folder.iterdir()):
            folder.rmdir()


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises OSError."""
    partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def table(chapters: list[Chapter]) -> Table:
    """Task, on what, result and seconds of every entry."""
    out = Table("task", "on what", "result", box=None, pad_edge=False, header_style="dim")
    out.add_column("s", justify="right")
    section = None
    for kind, entry in rows(chapters):
        if kind != section:
            out.add_section()
            out.add_row(f"[bold]{kind}[/bold]", "", "", "")
            section = kind
        out.add_row(entry.task, entry.subject, escape(entry.verdict), f"{entry.seconds:.1f}")
    return out


def summary(path: Path, chapters: list[Chapter], bench: Bench, seconds: float) -> dict:
    """The table as JSON can hold it, with the files that were not run and why."""
    return {
        "page": str(path.resolve()),
        "model": bench.model.card["name"],
        "weights_sha256": bench.model.weights,
        "seconds": round(seconds, 1),
        "results": [
            {
                "section": s,
                "task": e.task,
                "on": e.subject,
                "result": e.verdict,
                "seconds": round(e.seconds, 2),
            }
            for s, e in rows(chapters)
        ],
        "not_run": [{"what": c.group.title, "why": c.group.problem} for c in chapters if c.group.problem],
    }


app = typer.Typer(add_completion=False)
command(app)(main)

if __name__ == "__main__":
    sys.exit(ended(app))
