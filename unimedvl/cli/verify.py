"""`unimedvl verify`: whether a picture was made by this program, as far as its marks tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from unimedvl.cli.command import command, one_line
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal

if TYPE_CHECKING:
    from unimedvl.provenance.verify import Verified


def register(app: typer.Typer) -> None:
    command(app)(verify)


def verify(
    files: Annotated[list[Path], Argument(help="PNG, JPEG, WebP, TIFF or DICOM.", show_default=False)],
    output: OutputOptions,
    trust: Annotated[
        Path | None, Option(help="Certificates in PEM that are trusted to sign, or to vouch for who signs.")
    ] = None,
) -> None:
    """Tell whether pictures were made by UniMedVL: by their metadata, their signed manifest and their watermark.

    Ends with 0 where each file has signs of it, 1 where one has none (which proves nothing), 2 where one can't be read.
    """
    terminal = Terminal(output)
    from unimedvl.imaging import ImagingError
    from unimedvl.provenance.verify import read_trust
    from unimedvl.provenance.verify import verify as look

    trusted = None if trust is None else read_trust(trust)
    status, documents = 0, []
    for file in files:
        try:
            found = look(file, trust=trusted)
        except ImagingError as error:
            status = 2
            documents.append({"file": str(file), "error": error.problem})
            if not output.json:
                terminal.errors.print(f"error: {error}")
            continue
        status = max(status, int(found.verdict == "nothing"))
        documents.append(found.to_dict())
        if not output.json:
            _show(terminal, found)
    if output.json:
        terminal.document(documents)
    if status:
        raise typer.Exit(status)


def _show(terminal: Terminal, found: Verified) -> None:
    size = "no pixels" if found.size is None else f"{found.size[0]} x {found.size[1]}"
    terminal.line(one_line(f"{found.file}: {found.kind}, {size}"))
    told = {"metadata": _metadata(found), "manifest": _manifest(found), "watermark": _watermark(found)}
    for name, words in told.items():
        terminal.line(f"  {name:10} {one_line(words)}")
    for note in found.notes:
        terminal.line(f"  {'but':10} {one_line(note)}")
    terminal.line(f"  {'so':10} {one_line(found.closing)}")


def _metadata(found: Verified) -> str:
    provenance = found.told.provenance
    if provenance is None:
        parts = ["says that a model or program made it" if found.told.made else "", found.told.software]
        parts += [found.told.comment[:200], found.told.digest and f"provenance {found.told.digest[:16]}"]
        return "; ".join(filter(None, parts)) or "says nothing of it"
    model = provenance.get("model")
    model = model if isinstance(model, dict) else {}
    weights = str(model.get("weights_sha256", ""))[:16]
    parts = [(k, provenance.get(k)) for k in ("task", "seed")] + [("model", model.get("name")), ("weights", weights)]
    inputs = provenance.get("inputs")
    parts += [("inputs", len(inputs) if isinstance(inputs, list) else None)]
    return ", ".join(f"{k} {v}" for k, v in parts if v not in (None, "")) or "a provenance of no known form"


def _manifest(found: Verified) -> str:
    manifest = found.manifest
    if manifest.state == "none":
        return "none"
    if manifest.state == "unchecked":
        return "there seems to be one; checking it needs c2pa-python: pip install 'unimedvl[serve]'"
    valid = "valid, signer not trusted (--trust names who is)"
    told = {"invalid": "invalid", "valid": valid, "trusted": "valid, signer trusted"}
    by = f", signed by {manifest.signer}" if manifest.signer else ""
    claims = f"; says: {manifest.generator}: {', '.join(manifest.actions)}" if manifest.generator else ""
    return told[manifest.state] + by + claims


def _watermark(found: Verified) -> str:
    from unimedvl.provenance.mark import LABELS

    mark = found.watermark
    if not mark.found and (found.provenance or {}).get("task") in LABELS:
        return "none, as on all masks"
    if not mark.found:
        return f"not found (score {mark.score:.1f} of {mark.threshold:.1f})"
    payload = "no payload that can be read" if mark.payload is None else f"payload {mark.payload:06x}"
    fits = {True: ", which fits the provenance", False: ", which does not fit", None: ""}[found.matches]
    return f"found (score {mark.score:.1f} of {mark.threshold:.1f}), {payload}{fits}"
