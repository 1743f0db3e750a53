"""`unimedvl data deidentify`: DICOM images without their patients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from unimedvl.cli.command import command
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal

# Files left out that are told one by one; the rest are counted.
_TOLD = 10


def register(group: typer.Typer) -> None:
    command(group)(deidentify)
    command(group, "privacy-key")(privacy_key)


def privacy_key(
    file: Annotated[Path, Argument(help="Where to write it.", show_default=False)], output: OutputOptions
) -> None:
    """Write a new random key for `deidentify`. Whoever has it can link pseudonyms to patients."""
    terminal = Terminal(output)
    from unimedvl.data.privacy.key import write_key

    write_key(file)
    terminal.document({"file": str(file)}) if output.json else terminal.line(file)


def deidentify(
    folder: Annotated[Path, Argument(help="DICOM images, in any folders below it.", show_default=False)],
    out: Annotated[Path, Option(help="A folder of its own for images and audit log.", show_default=False)],
    output: OutputOptions,
    key_file: Annotated[
        Path | None, Option(help="The project's secret; the variable UNIMEDVL_PRIVACY_KEY where left out.")
    ] = None,
    dates: Annotated[
        Literal["remove", "shift"], Option(help="Shift moves all of a patient's dates by the same days.")
    ] = "remove",
    text: Annotated[
        Literal["auto", "always", "never"], Option(help="In which images burned-in text is looked for.")
    ] = "auto",
    quarantine: Annotated[
        Path | None, Option(help="Copy what can't be de-identified there, unchanged.", show_default=False)
    ] = None,
    reports: Annotated[
        Path | None,
        Option(help="Table of study (its UID) and report, to go with the images; its words stay.", show_default=False),
    ] = None,
) -> None:
    """De-identify DICOM images: attributes by PS3.15, burned-in text, with an audit log. Check what comes out."""
    terminal = Terminal(output)
    from unimedvl.data.error import DataError
    from unimedvl.data.privacy.file import Options
    from unimedvl.data.privacy.folder import deidentify_folder
    from unimedvl.data.privacy.key import read_key
    from unimedvl.data.privacy.reports import read_reports, write_reports

    if key_file is not None and out.resolve() in key_file.resolve().parents:
        raise DataError(f"{key_file}: the key lies in the output folder; keep it elsewhere")
    key = read_key(key_file)
    rows = read_reports(reports) if reports else []
    with terminal.steps("de-identifying") as shown:
        done = deidentify_folder(folder, out, key, Options(dates, text), quarantine=quarantine, progress=shown)
    if reports:
        write_reports(rows, out, key)
        terminal.note(f"{len(rows):,} reports go by new UIDs; their words are as they were", style="yellow")
    for left in done.quarantined[:_TOLD]:
        terminal.note(f"left out: {left.file}: {left.reason}", style="yellow")
    if len(done.quarantined) > _TOLD:
        terminal.note(f"and {len(done.quarantined) - _TOLD:,} more; audit.jsonl has all, without their names")
    if output.json:
        left_out = [{"input_sha256": q.input_sha256, "reason": q.reason} for q in done.quarantined]
        counts = {"written": done.written, "done_before": done.done_before, "duplicates": done.duplicates}
        terminal.document({"folder": str(out), **counts, "quarantined": left_out})
        return
    terminal.line(f"{done.written:,} written, {done.done_before:,} done before, {done.duplicates:,} duplicates, "
                  f"{len(done.quarantined):,} left out: {out}")  # fmt: skip
