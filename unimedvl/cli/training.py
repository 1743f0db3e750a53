"""`unimedvl train`: a recipe, run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from unimedvl.cli import training_plan
from unimedvl.cli.command import command
from unimedvl.cli.default_command import DefaultCommandGroup
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal

HELP = "Train a model as a recipe says: `unimedvl train RECIPE [KEY=VALUE]...`, in which `run` need not be named."


def register(app: typer.Typer) -> None:
    group = typer.Typer(cls=DefaultCommandGroup, help=HELP, no_args_is_help=True)
    command(group, "run")(train)
    training_plan.register(group)
    app.add_typer(group, name="train")


def train(
    recipe: Annotated[Path, Argument(help="YAML file, such as recipes/nano.yaml.", show_default=False)],
    output: OutputOptions,
    overrides: Annotated[
        list[str] | None, Argument(metavar="[KEY=VALUE]...", help="Such as unified.tokens=1000.")
    ] = None,
    export: Annotated[
        Path | None, Option(help="Folder of the finished checkpoint; in the run's folder where left out.")
    ] = None,
) -> None:
    """Train a model from nothing. A run that was stopped goes on when it is called again."""
    terminal = Terminal(output)
    from unimedvl.training.nano import train_nano
    from unimedvl.training.recipe import load_recipe
    from unimedvl.training.run import rank

    settings = load_recipe(recipe, overrides or [])
    if not output.quiet:
        _log_progress(terminal)
    folder = train_nano(settings, export)
    if rank() != 0:
        return  # the first process tells
    if output.json:
        terminal.document({"checkpoint": str(folder), "recipe": settings.model_dump(mode="json")})
    else:
        terminal.line(folder)


def _log_progress(terminal: Terminal) -> None:
    handler = logging.StreamHandler(terminal.errors.file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("unimedvl.training")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
