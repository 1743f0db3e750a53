"""`unimedvl models`: the checkpoints on this machine, and what they say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from unimedvl.cli.command import command
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal

if TYPE_CHECKING:
    from unimedvl.checkpoint import Checkpoint

# Hashing reads every byte, so that of large checkpoints is only taken when asked for.
HASHED_AT_ONCE = 2**30


def register(app: typer.Typer) -> None:
    command(app)(models)


def models(
    output: OutputOptions,
    sources: Annotated[
        list[str] | None, Argument(metavar="[FOLDER]...", help="Checkpoints; all that are found where left out.")
    ] = None,
    hashes: Annotated[bool, Option("--hash", help="Hash large checkpoints too.")] = False,
) -> None:
    """List the models on this machine: the embedded one, and those of the hub's cache."""
    terminal = Terminal(output)
    from unimedvl.checkpoint import open_checkpoint

    if sources:
        found = [describe(open_checkpoint(Path(s)), s, hashes) for s in sources]
    else:
        found = [describe(c, name, hashes) for name, c in _found(terminal)]
    if output.json:
        terminal.document(found)
        return
    for model in found:
        card = model["card"]
        size = f"{model['parameters'] / 1e6:,.1f} million parameters, {model['bytes'] / 1e6:,.1f} MB"
        reads = "" if model["generation"] else ", reads images only"
        terminal.line(f"{model['name']}  {size}{reads}")
        terminal.line(f"  folder     {model['folder']}")
        terminal.line(f"  weights    {model['weights_sha256'] or 'not hashed; --hash does it'}")
        terminal.line(f"  trained on {card.get('trained_on', 'not stated')}")
        for key in ("use", "licence"):
            if key in card:
                terminal.line(f"  {key:10} {card[key]}")


def describe(checkpoint: Checkpoint, name: str, hashes: bool = False) -> dict:
    """What a checkpoint holds, from the headers of its files."""
    import math

    from unimedvl.checkpoint import fingerprint

    hashed = hashes or checkpoint.nbytes <= HASHED_AT_ONCE
    return {
        "name": checkpoint.card.get("name", name),
        "folder": str(checkpoint.folder),
        "parameters": sum(math.prod(entry.shape) for entry in checkpoint.tensors.values()),
        "bytes": checkpoint.nbytes,
        "weights_sha256": fingerprint(checkpoint) if hashed else None,
        "generation": checkpoint.has_generation and checkpoint.has_vae,
        "card": checkpoint.card,
    }


def _found(terminal: Terminal) -> list[tuple[str, Checkpoint]]:
    from unimedvl.checkpoint import CheckpointError, open_checkpoint

    found = []
    try:
        found.append(("nano", open_checkpoint()))
    except CheckpointError as error:
        terminal.note(f"warning: {error}", style="yellow")
    for name, folder in _cached():
        try:
            found.append((name, open_checkpoint(folder)))
        except CheckpointError:  # the cache holds other projects' models too
            continue
    return found


def _cached() -> list[tuple[str, Path]]:
    """Hub ids and folders of the models in the hub's cache, one for each revision."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    found = [(r.repo_id, v.snapshot_path) for r in repositories if r.repo_type == "model" for v in r.revisions]
    return sorted(found)
