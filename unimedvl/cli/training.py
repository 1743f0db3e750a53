"""`unimedvl train`: a recipe run, planned, exported; adapters merged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from unimedvl.cli import training_merge, training_plan
from unimedvl.cli.command import command
from unimedvl.cli.default_command import DefaultCommandGroup
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from unimedvl.training.loop import Told

HELP = "Train a model as a recipe says: `unimedvl train RECIPE [KEY=VALUE]...`, in which `run` need not be named."


def register(app: typer.Typer) -> None:
    group = typer.Typer(cls=DefaultCommandGroup, help=HELP, no_args_is_help=True)
    command(group, "run")(train)
    training_plan.register(group)
    command(group)(export)
    training_merge.register(group)
    app.add_typer(group, name="train")


def train(
    recipe: Annotated[Path, Argument(help="YAML file, such as recipes/finetune/full.yaml.", show_default=False)],
    output: OutputOptions,
    overrides: Annotated[
        list[str] | None, Argument(metavar="[KEY=VALUE]...", help="Such as stages.0.steps=1000.")
    ] = None,
) -> None:
    """Train a model, or go on with a run that was stopped. On several devices: torchrun -m unimedvl train RECIPE."""
    terminal = Terminal(output)
    from unimedvl.recipes import read_yaml
    from unimedvl.training.loop import Stopped
    from unimedvl.training.loop import train as run
    from unimedvl.training.parallel import rank
    from unimedvl.training.parts import load_parts_recipe, train_parts
    from unimedvl.training.recipe import load_recipe

    if not output.quiet and rank() == 0:
        _log_progress(terminal)
    if "stages" not in read_yaml(recipe):
        parts = load_parts_recipe(recipe, overrides or [])
        train_parts(parts)
        settings, folder = parts, parts.folder
    else:
        settings = load_recipe(recipe, overrides or [])
        try:
            with _progress(terminal, rank() == 0) as told:
                folder = run(settings, told)
        except Stopped as stopped:
            terminal.note(str(stopped))
            raise typer.Exit(143) from None
    if rank() != 0:
        return  # the first process tells
    if output.json:
        terminal.document({"checkpoint": str(folder), "recipe": settings.model_dump(mode="json")})
    else:
        terminal.line(folder)


def export(
    run: Annotated[Path, Argument(help="Folder of a run.", show_default=False)],
    folder: Annotated[Path, Argument(help="Of the checkpoint, in the published layout.", show_default=False)],
    output: OutputOptions,
    step: Annotated[int | None, Option(help="Of the checkpoint; the newest where left out.")] = None,
    raw: Annotated[bool, Option("--raw", help="The weights themselves, not their moving average.")] = False,
) -> None:
    """Write a checkpoint of a run in the published layout, while the run goes on or after it."""
    terminal = Terminal(output)
    from unimedvl.training.export import export_run
    from unimedvl.training.run import recipe_of

    export_run(recipe_of(run), folder, step, raw)
    if output.json:
        terminal.document({"checkpoint": str(folder)})
    else:
        terminal.line(folder)


@contextmanager
def _progress(terminal: Terminal, first: bool) -> Iterator[Callable[[Told], None]]:
    """A bar of the steps, with stage, losses and speed."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[told]}"))  # fmt: skip
    with Progress(*columns, console=terminal.errors, transient=True, disable=not (terminal.progress and first)) as bar:
        task = bar.add_task("beginning", total=None, told="")

        def told(news: Told) -> None:
            shown = (f"{n} {news.values[n]:.4g}" for n in ("ce", "mse", "tokens/s", "mfu") if n in news.values)
            bar.update(task, description=news.stage, completed=news.step, total=news.steps, told="  ".join(shown))

        yield told


def _log_progress(terminal: Terminal) -> None:
    handler = logging.StreamHandler(terminal.errors.file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("unimedvl.training")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING if terminal.progress else logging.INFO)
