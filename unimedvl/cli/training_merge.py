"""`unimedvl train merge`: adapters into the checkpoint that they were trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from unimedvl.cli.command import command
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal


def register(app: typer.Typer) -> None:
    command(app)(merge)


def merge(
    adapters: Annotated[Path, Argument(help="Folder of adapters that a training wrote.", show_default=False)],
    folder: Annotated[Path, Argument(help="Of the merged checkpoint, in the published layout.", show_default=False)],
    output: OutputOptions,
    base: Annotated[
        str | None,
        Option(metavar="MODEL", help="Folder or hub id of the checkpoint that they belong to, where it has moved."),
    ] = None,
) -> None:
    """Merge adapters into the weights of the checkpoint that they were trained on."""
    terminal = Terminal(output)
    from unimedvl.training.lora import merge_into

    merged = merge_into(base, adapters, folder, progress=terminal.progress)
    if output.json:
        terminal.document(
            {"checkpoint": str(folder), "base": merged.name, "base_sha256": merged.weights_sha256}
        )
    else:
        terminal.line(folder)
