"""The program `unimedvl`: its groups of commands, and how it ends."""

from __future__ import annotations

from typing import Annotated

import typer
from typer import Option

from unimedvl.cli import (
    audit,
    chat,
    data,
    doctor,
    evaluation,
    hospital,
    keys,
    models,
    phantoms,
    pictures,
    serve,
    text,
    training,
    verify,
)
from unimedvl.cli.command import ended

app = typer.Typer(
    name="unimedvl",
    help="One model that reads medical images and makes them. Research software. Not for clinical use.",
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(version("unimedvl"))
        except PackageNotFoundError:
            typer.echo("0+unknown")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


for _group in (
    text, pictures, chat, training, phantoms, data, evaluation, serve, hospital, keys, audit, verify, models, doctor,
):  # fmt: skip
    _group.register(app)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 (failed), 2 (bad input) or 130 (interrupted)."""
    return ended(app, arguments)
