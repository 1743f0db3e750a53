"""The commands that draw: generate, edit, stain, upscale, translate, counterfactual, segment, reconstruct."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Argument, Option

from unimedvl.cli.command import Failure, command
from unimedvl.cli.documents import DocumentOptions
from unimedvl.cli.options import (
    DrawingOptions,
    ModelOptions,
    OutputOptions,
    ReadingOptions,
    SamplingOptions,
    free_file,
)
from unimedvl.cli.terminal import Terminal

if TYPE_CHECKING:
    from unimedvl.inference.results import ImageResult
    from unimedvl.inference.unimedvl import UniMedVL

ImageFile = Annotated[Path, Argument(help="PNG, JPEG, TIFF, BMP, WebP, DICOM or NIfTI.", show_default=False)]
# A call of the user's object: the model, the images, and what all drawings take.
Call = Callable[["UniMedVL", list, dict], "ImageResult"]


def register(app: typer.Typer) -> None:
    for function in (generate, edit, stain, upscale, translate, counterfactual, segment, reconstruct):
        command(app)(function)


@dataclass(frozen=True)
class GivenOptions:
    """The options of a drawing, gathered for `_draw`."""

    model: ModelOptions
    text: SamplingOptions
    draw: DrawingOptions
    output: OutputOptions
    documents: DocumentOptions
    target: str | None = None  # what a mask outlines


def generate(
    caption: Annotated[str, Argument(help="What to draw.", show_default=False)],
    model: ModelOptions,
    text: SamplingOptions,
    draw: DrawingOptions,
    output: OutputOptions,
    documents: DocumentOptions,
    modality: Annotated[str | None, Option(help="Such as cxr, mri, his or cfp; put before the caption.")] = None,
    think: Annotated[bool, Option("--think", help="Plan in words before drawing.")] = False,
) -> None:
    """Draw an image from a description."""
    _check_words("generate", caption, "Chest X-ray with cardiomegaly")
    _draw(
        "generate", None, None, GivenOptions(model, text, draw, output, documents),
        lambda m, _, options: m.generate(caption, modality=modality, think=think, **options),
    )  # fmt: skip


def edit(
    image: ImageFile,
    instruction: Annotated[str, Argument(help="What to change.", show_default=False)],
    model: ModelOptions,
    read: ReadingOptions,
    text: SamplingOptions,
    draw: DrawingOptions,
    output: OutputOptions,
    documents: DocumentOptions,
) -> None:
    """Change an image as told in words."""
    _check_words("edit", instruction, "Remove the effusion")
    given = GivenOptions(model, text, draw, output, documents)
    _draw("edit", image, read, given, lambda m, i, options: m.edit(i, instruction, **options))


def stain(
    image: ImageFile,
    model: ModelOptions,
    read: ReadingOptions,
    text: SamplingOptions,
    draw: DrawingOptions,
    output: OutputOptions,
    documents: DocumentOptions,
    her2: Annotated[Literal["0", "1+", "2+", "3+"], Option(help="Level to stain for.")] = "3+",
) -> None:
    """Draw the HER2 immunohistochemistry of an H&E image."""
    given = GivenOptions(model, text, draw, output, documents)
    _draw("stain", image, read, given, lambda m, i, options: m.stain(i, her2, **options))


def upscale(
    image: ImageFile,
    model: ModelOptions,
    read: ReadingOptions,
    text: SamplingOptions,
    draw: DrawingOptions,
    output: OutputOptions,
    documents: DocumentOptions,
) -> None:
    """Draw an image at four times its resolution."""
    given = GivenOptions(model, text, draw, output, documents)
    _draw("upscale", image, read, given, lambda m, i, options: m.upscale(i, **options))


def translate(
    image: ImageFile,
    model: ModelOptions,
    read: ReadingOptions,
    text: SamplingOptions,
    draw: DrawingOptions,
    output: OutputOptions,
    documents: DocumentOptions,
    to: Annotated[str, Option(help="Sequence or modality to draw, such as flair.", show_default=False)],
    source: Annotated[
        str | None, Option("--from", help="What the image is, such as t2; guessed from --to where left out.")
    ] = None,
) -> None:
    """Draw the same anatomy in another sequence or modality."""
    _check_words("translate --to", to, "flair")
    given = GivenOptions(model, text, draw, output, documents)
    _draw("translate", image, read, given, lambda m, i, options: m.translate(i, to, source, **options))


def counterfactual(
    image: ImageFile,
    change: Annotated[str, Argument(help="Such as: resolution of the left effusion", show_default=False)],
    model: ModelOptions,
    read: ReadingOptions,
    text: SamplingOptions,
    draw: DrawingOptions,
    output: OutputOptions,
    documents: DocumentOptions,
) -> None:
    """Draw the same patient with a change, and explain it."""
    _check_words("counterfactual", change, "resolution of the left effusion")
    given = GivenOptions(model, text, draw, output, documents)
    _draw("counterfactual", image, read, given, lambda m, i, options: m.counterfactual(i, change, **options))


def segment(
    image: ImageFile,
    target: Annotated[str, Argument(help="The structure, such as: vessels", show_default=False)],
    model: ModelOptions,
    read: ReadingOptions,
    text: SamplingOptions,
    draw: DrawingOptions,
    output: OutputOptions,
    documents: DocumentOptions,
) -> None:
    """Outline a structure: the drawing, and beside it the mask in black and white as NAME-mask.png."""
    _check_words("segment", target, "vessels")
    given = GivenOptions(model, text, draw, output, documents, target)
    _draw("segment", image, read, given, lambda m, i, options: m.segment(i, target, **options))


def reconstruct(
    image: ImageFile,
    model: ModelOptions,
    read: ReadingOptions,
    text: SamplingOptions,
    draw: DrawingOptions,
    output: OutputOptions,
    documents: DocumentOptions,
) -> None:
    """Draw the input again, a check of what the model keeps of it."""
    given = GivenOptions(model, text, draw, output, documents)
    _draw("reconstruct", image, read, given, lambda m, i, options: m.reconstruct(i, **options))


def _check_words(what: str, words: str, example: str) -> None:
    if not words.strip():
        raise Failure(f"{what} needs words, such as: {example}")


def _draw(task: str, image: Path | None, read: ReadingOptions | None, given: GivenOptions, call: Call) -> None:
    """Check all that can be checked, load, draw, save, tell."""
    terminal = Terminal(given.output)
    from unimedvl.provenance.manifest import check_signer

    place = given.draw.place(f"{task}.png")
    mask = place.with_name(f"{place.stem}-mask.png") if task == "segment" else None
    if mask is not None:
        free_file(str(mask), given.draw.force)
    pixels = read.read([image])[0] if image is not None else None
    files, images = ([image], [pixels]) if image is not None else ([], [])
    documents = given.documents.prepare(files, images, given.draw.force)
    sampling, _ = given.text.sampling(given.model.seed), given.draw.width_and_height
    check_signer()
    model = given.model.load(generation=True, progress=terminal.progress)
    terminal.introduce(model)
    with terminal.steps(task) as on_step:
        options = {"seed": given.model.seed, "sampling": sampling, "on_step": on_step}
        result = call(model, pixels, options | given.draw.settings(model, task))
    _save(terminal, result, place, mask, documents.write(result, given.target))


def _save(
    terminal: Terminal, result: ImageResult, place: Path, mask: Path | None, documents: dict[str, str]
) -> None:
    from unimedvl.provenance import save

    result.save(place)
    told = {"file": str(place)} | documents
    if mask is not None:
        inside = result.mask
        save(inside[..., None].repeat(3, axis=2).astype("uint8") * 255, mask, result.provenance, result.originals)
        told["mask"] = {"file": str(mask), "pixels": int(inside.sum())}
    if terminal.json:
        terminal.document(told | result.to_dict())
        return
    if result.thought:
        terminal.note(result.thought)
    for line in (result.text, place, mask, *documents.values()):
        if line:
            terminal.line(line)
