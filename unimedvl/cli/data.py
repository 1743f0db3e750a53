"""`unimedvl data`: what data sets can be read, what a folder of one holds, and builds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Argument, Option

from unimedvl.cli import data_looks, privacy
from unimedvl.cli.build_progress import StageProgress
from unimedvl.cli.command import command
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal

if TYPE_CHECKING:
    from unimedvl.data.source import Source

Name = Annotated[str, Argument(help="Of a source; `unimedvl data sources` lists them.", show_default=False)]
# Faults that are told one by one; the rest are counted.
_TOLD = 10
# The data card of a build, in its folder.
CARD = "stats.html"


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The data engine: sources and records.", no_args_is_help=True)
    for function in (sources, schema, miniature, check, build):
        command(group)(function)
    data_looks.register(group)
    privacy.register(group)
    app.add_typer(group, name="data")


def sources(output: OutputOptions) -> None:
    """List the data sets that can be read: licence, access, and how many records to expect."""
    terminal = Terminal(output)
    from unimedvl.data.sources import sources as known

    if output.json:
        terminal.document([_described(s) for s in known().values()])
        return
    for source in known().values():
        terminal.line(f"{source.name}  {source.title}")
        terminal.line(f"  licence   {source.licence}; access: {source.access}")
        terminal.line(f"  home      {source.home}")
        terminal.line(f"  images    {', '.join(source.modalities)}; tasks: {', '.join(source.tasks)}")
        terminal.line(f"  expected  {_expected(source)}")
        if source.notes:
            terminal.line(f"  note      {source.notes}")


def _described(source: Source) -> dict:
    names = ("name", "title", "home", "licence", "access", "notes")
    return {n: getattr(source, n) for n in names} | {
        "modalities": list(source.modalities),
        "tasks": list(source.tasks),
        "expected": dict(source.expected),
    }


def _expected(source: Source) -> str:
    return ", ".join(f"{split} {'not known' if n is None else f'{n:,}'}" for split, n in source.expected.items())


def schema(output: OutputOptions) -> None:
    """Print the JSON schema of a record, one line of a record file."""
    from unimedvl.data.record import json_schema

    Terminal(output).document(json_schema())


def miniature(
    name: Name,
    folder: Annotated[Path, Argument(help="Where to write it.", show_default=False)],
    output: OutputOptions,
) -> None:
    """Write a source's on-disk form in miniature, with invented texts and simulated images."""
    terminal = Terminal(output)
    from unimedvl.data.miniatures import write_miniature

    write_miniature(name, folder)
    files = sorted(str(p) for p in folder.rglob("*") if p.is_file())
    terminal.document({"folder": str(folder), "files": files}) if output.json else terminal.line(folder)


def check(
    name: Name,
    folder: Annotated[Path, Argument(help="The data set as published.", show_default=False)],
    output: OutputOptions,
    images: Annotated[bool, Option("--images", help="Open every image too.")] = False,
) -> None:
    """Read a data set to its end: records by split against what is expected, and what can't be used."""
    terminal = Terminal(output)
    from unimedvl.data.source import Fault
    from unimedvl.data.sources import source

    wanted, found, tasks, faults = source(name), Counter(), Counter(), []
    for item in wanted.read(folder):
        fault = item if isinstance(item, Fault) else _unreadable(item) if images else None
        if fault is not None:
            faults.append(fault)
            continue
        found[item.record.split or "none"] += 1
        tasks[item.record.sub_task_type] += 1
    told = {
        "source": name,
        "records": dict(sorted(found.items())),
        "expected": dict(wanted.expected),
        "tasks": dict(sorted(tasks.items())),
        "faults": [{"where": f.where, "reason": f.reason} for f in faults],
    }
    if output.json:
        terminal.document(told)
        return
    terminal.line(f"{sum(found.values()):,} records, {len(faults):,} faults; expected {_expected(wanted)}")
    for split, count in told["records"].items():
        terminal.line(f"  split {split}: {count:,}")
    for fault in faults[:_TOLD]:
        terminal.line(f"  {fault.where}: {fault.reason}")
    if len(faults) > _TOLD:
        terminal.line(f"  and {len(faults) - _TOLD:,} more; --json lists all")


def _unreadable(sample):
    """The fault of a sample whose images can't be opened, or None."""
    import io

    from PIL import Image

    from unimedvl.data.error import DataError
    from unimedvl.data.source import Fault

    for picture, load in zip(sample.record.pictures, sample.images, strict=True):
        try:
            Image.open(io.BytesIO(load())).verify()
        except DataError as error:
            return Fault(f"{sample.record.dataset} {sample.record.id}", str(error))
        except (OSError, SyntaxError, ValueError) as error:
            return Fault(f"{sample.record.dataset} {sample.record.id}", f"{picture.path}: no image: {error}")
    return None


def build(
    recipe: Annotated[Path, Argument(help="YAML file, such as recipes/data/demo.yaml.", show_default=False)],
    output: OutputOptions,
    overrides: Annotated[
        list[str] | None, Argument(metavar="[KEY=VALUE]...", help="Such as alignment.share=0.7.")
    ] = None,
    engine: Annotated[
        Literal["processes", "ray"], Option(help="What works side by side: processes of this machine, or Ray's.")
    ] = "processes",
) -> None:
    """Build shards for training out of data sets. A build that was stopped goes on when it is called again."""
    terminal = Terminal(output)
    from unimedvl.data.build.recipe import load_recipe
    from unimedvl.data.build.run import run_build

    settings = load_recipe(recipe, overrides or [])
    with StageProgress(terminal) as progress:
        told = run_build(settings, _engine(engine), progress.told)
    if not (settings.folder / CARD).is_file():  # a finished build doesn't change
        counted = data_looks.counted_stages(terminal, [settings.folder])
        data_looks.write_card([settings.folder], counted, "A data build", settings.folder / CARD)
    if output.json:
        terminal.document({name: told[name] for name in ("total", "sources", "stages", "splits", "shards")})
        return
    for name, counts in (*told["sources"].items(), ("all", told["total"])):
        rules = ", ".join(f"{rule} {n:,}" for rule, n in counts["dropped"].items()) or "none"
        terminal.line(f"{name}: read {counts['read']:,}, kept {counts['kept']:,}, "
                      f"quarantined {counts['quarantined']:,}; dropped: {rules}")  # fmt: skip
    terminal.line(", ".join(f"{split} {count:,}" for split, count in told["splits"].items()) or "no records left")
    if told["simulated"]:
        terminal.line(f"simulated images: {', '.join(told['simulated'])}")
    terminal.line(settings.folder / CARD)
    terminal.line(settings.folder / "report.json")


def _engine(name: str):
    if name == "ray":
        from unimedvl.data.build.ray_engine import run_ray

        return run_ray
    from unimedvl.data.build.lanes import run_lanes

    return run_lanes
