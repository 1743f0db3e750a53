"""`unimedvl phantoms`: simulated studies to look at, and with their truth as files."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from unimedvl.cli.command import Failure, command
from unimedvl.cli.options import OutputOptions, free_file
from unimedvl.cli.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from PIL.Image import Image

    from unimedvl.phantoms import Study

SIMULATED = "SIMULATED by physics and chance (unimedvl.phantoms). Not a patient. Not for clinical use."
LINE_HEIGHT = 14  # of a caption, in pixels

Modality = Annotated[str | None, Option(help="Such as cxr, mri or oct; all in turn where none is named.")]
Size = Annotated[int, Option(min=64, max=512, help="Side in pixels.")]
Seed = Annotated[int, Option(min=0, help="Of the first study; the next has the next.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Simulated studies with known truth.", no_args_is_help=True)
    command(group)(sheet)
    command(group)(write)
    app.add_typer(group, name="phantoms")


def sheet(
    output: OutputOptions,
    modality: Modality = None,
    out: Annotated[str, Option("--out", "-o", metavar="FILE.png")] = "sheet.png",
    count: Annotated[int, Option(min=1, max=400, help="Studies on the sheet.")] = 12,
    size: Size = 128,
    seed: Seed = 0,
    force: Annotated[bool, Option("--force", "-f", help="Replace a file that is there.")] = False,
) -> None:
    """A contact sheet: every view of each study, with its findings."""
    terminal = Terminal(output)
    place = free_file(out, force)
    studies = list(_studies(modality, count, size, seed))
    _write_png(_sheet(studies), place)
    told = {"file": str(place), "studies": [_truth(s) for s in studies]}
    terminal.document(told) if output.json else terminal.line(place)


def write(
    folder: Annotated[Path, Argument(help="A new or empty folder.", show_default=False)],
    output: OutputOptions,
    count: Annotated[int, Option(min=1, help="Studies.")] = 10,
    modality: Modality = None,
    size: Size = 128,
    seed: Seed = 0,
    dicom: Annotated[
        bool, Option("--dicom", help="DICOM files in dicom/ and a table reports.csv instead, as a clinic has them.")
    ] = False,
) -> None:
    """Write studies as PNG images and masks, and their truth as lines of JSON in truth.jsonl."""
    terminal = Terminal(output)
    try:
        _check_new(folder)
        draft = folder.absolute().parent / f".{folder.name}-{secrets.token_hex(4)}"
        try:
            draft.mkdir()
            (_write_dicom if dicom else _write_pictures)(_studies(modality, count, size, seed), draft)
            if folder.exists():
                folder.rmdir()
            os.replace(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise Failure(f"{folder}: cannot be written ({error.strerror})") from error
    name, file = ("reports", "reports.csv") if dicom else ("truth", "truth.jsonl")
    told = {"folder": str(folder), "studies": count, name: str(folder / file)}
    terminal.document(told) if output.json else terminal.line(folder)


def _studies(modality: str | None, count: int, size: int, seed: int):
    """Studies one after the other, all modalities in turn where none is named. Raises ValueError."""
    from unimedvl.phantoms import SIMULATORS, simulate

    names = list(SIMULATORS) if modality is None else [modality]
    for number in range(count):
        yield simulate(names[number % len(names)], seed + number, size)


def _truth(study: Study) -> dict:
    """All that is known of a study, in words and numbers."""
    return {
        "modality": study.modality,
        "seed": study.case.seed,
        "simulated": True,
        "attributes": study.attributes,
        "findings": [asdict(finding) for finding in study.findings],
    }


def _write_pictures(studies: Iterable[Study], folder: Path) -> None:
    with (folder / "truth.jsonl").open("w", encoding="utf-8") as lines:
        for study in studies:
            lines.write(json.dumps(_write_study(study, folder), ensure_ascii=False) + "\n")


def _write_dicom(studies: Iterable[Study], folder: Path) -> None:
    """A folder a study below dicom/, and a table of their reports by StudyInstanceUID."""
    import csv

    import numpy as np

    from unimedvl.phantoms.dicom import dicom_of, study_uid
    from unimedvl.phantoms.language import report

    with (folder / "reports.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(["study", "report"])
        for study in studies:
            place = folder / "dicom" / f"{study.modality}-{study.case.seed}"
            place.mkdir(parents=True)
            first = next(iter(study.images))
            for view in study.images:
                dicom_of(study, view).save_as(place / f"{view}.dcm", enforce_file_format=True)
            said = report(study, np.random.default_rng(study.case.seed), first)
            said = said.replace("Findings:", "FINDINGS:").replace(" Impression:", "\n\nIMPRESSION:")
            table.writerow([study_uid(study), said])


def _write_study(study: Study, folder: Path) -> dict:
    """Write images and masks; returns the study's line."""
    import numpy as np

    from unimedvl.phantoms.language import questions, report

    stem, rng = f"{study.modality}-{study.case.seed}", np.random.default_rng(study.case.seed)
    images = {view: f"{stem}-{view.replace(' ', '-')}.png" for view in study.images}
    masks = {name: f"{stem}-mask-{name.replace(' ', '-')}.png" for name in study.masks}
    for view, name in images.items():
        _write_png(_picture(study.images[view]), folder / name)
    for structure, name in masks.items():
        _write_png(_picture(study.masks[structure].astype(np.uint8) * 255), folder / name)
    first = next(iter(study.images))
    asked = [asdict(q) for q in questions(study, rng, first)]
    return {
        "id": stem, **_truth(study), "images": images, "masks": masks,
        "report": report(study, rng, first), "questions": asked,
    }  # fmt: skip


def _sheet(studies: list[Study]) -> Image:
    """Studies in rows, their views side by side, each with its findings below, in as many lines as they need."""
    from PIL import Image, ImageDraw, ImageFont

    words = " ".join(f.name for s in studies for f in s.findings).split()
    width = max(
        *(sum(i.shape[1] for i in s.images.values()) for s in studies),
        *(int(ImageFont.load_default().getlength(word)) + 6 for word in words),
        0,
    )
    captions = [_caption(study, width) for study in studies]
    side = next(iter(studies[0].images.values())).shape[0]
    height = side + LINE_HEIGHT * max(map(len, captions))
    columns = max(1, round((len(studies) * height / width) ** 0.5))
    rows = -(-len(studies) // columns)
    page = Image.new("RGB", (columns * width, rows * height), "white")
    pen = ImageDraw.Draw(page)
    for number, (study, caption) in enumerate(zip(studies, captions, strict=True)):
        left, top = number % columns * width, number // columns * height
        for place, line in enumerate(caption):
            pen.text((left + 2, top + side + place * LINE_HEIGHT + 1), line, fill="black")
        for image in study.images.values():
            page.paste(_picture(image), (left, top))
            left += image.shape[1]
    return page


def _caption(study: Study, width: int) -> list[str]:
    """Seed and findings of a study, in lines that are not wider than so many pixels."""
    from PIL import ImageFont

    font, lines = ImageFont.load_default(), [str(study.case.seed)]
    named = ", ".join(" ".join(filter(None, (f.side, f.name))) for f in study.findings) or "normal"
    for word in named.split():
        longer = f"{lines[-1]} {word}"
        if font.getlength(longer) <= width - 4:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _picture(pixels: np.ndarray) -> Image:
    from PIL import Image

    return Image.fromarray(pixels)


def _write_png(picture: Image, place: Path) -> None:
    """Write a marked PNG, whole or not at all. Raises OSError."""
    from PIL.PngImagePlugin import PngInfo

    marks = PngInfo()
    marks.add_text("Software", "UniMedVL")
    marks.add_text("Comment", SIMULATED)
    data = io.BytesIO()
    picture.save(data, format="PNG", pnginfo=marks)
    part = place.with_name(f".{place.name}.part")
    try:
        part.write_bytes(data.getvalue())
        os.replace(part, place)
    finally:
        part.unlink(missing_ok=True)


def _check_new(folder: Path) -> None:
    if not folder.absolute().parent.is_dir():
        raise Failure(f"{folder}: the folder {folder.absolute().parent} does not exist; create it first")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Failure(f"{folder}: exists and is not an empty folder; give a new one")
