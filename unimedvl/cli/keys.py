"""`unimedvl keys`: who may ask the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from unimedvl.cli.command import command
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal

Name = Annotated[str, Argument(metavar="NAME", help="Whose key it is: letters, digits and ._@-")]
File = Annotated[Path, Option("--file", "-f", metavar="FILE", help="File of the server's keys.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Keys of the server's API: add, list, remove.", no_args_is_help=True)
    command(group)(add)
    command(group, "list")(listed)
    command(group)(remove)
    app.add_typer(group, name="keys")


def add(
    output: OutputOptions,
    name: Name,
    file: Annotated[
        Path | None,
        Option("--file", "-f", metavar="FILE", help="File of the server's keys; only shown where left out."),
    ] = None,
) -> None:
    """Make a key and print it, this once. The file gets its hash; a running server reads it at once."""
    terminal = Terminal(output)
    from unimedvl.serving.keys import ENVIRONMENT, Entry, add_key, hash_of, new_key

    if file is None:
        key, entry = new_key(name)
    else:
        key = add_key(file, name)
        entry = Entry(name, hash_of(key))
    if output.json:
        terminal.document({"name": name, "key": key, "entry": str(entry)})
        return
    terminal.line(key)
    where = f"{ENVIRONMENT}={entry}" if file is None else f"its hash is in {file}"
    terminal.note(f"Keep it now: it is shown this once. For the server: {where}")


def listed(output: OutputOptions, file: File) -> None:
    """Show who has a key."""
    terminal = Terminal(output)
    from unimedvl.serving.keys import read_file

    entries = read_file(file)
    if output.json:
        terminal.document([{"name": entry.owner, "sha256": entry.digest} for entry in entries])
        return
    for entry in entries:
        terminal.line(f"{entry.owner}  {entry.digest[:12]}")


def remove(output: OutputOptions, name: Name, file: File) -> None:
    """Take a key away. A running server refuses it from then on."""
    terminal = Terminal(output)
    from unimedvl.serving.keys import remove_key

    remove_key(file, name)
    terminal.note(f"{name} has no key any more")
