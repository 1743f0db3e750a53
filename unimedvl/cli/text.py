"""`unimedvl ask` and `unimedvl report`: images to words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from unimedvl.cli.command import Failure, command
from unimedvl.cli.documents import DocumentOptions
from unimedvl.cli.options import ModelOptions, OutputOptions, ReadingOptions, SamplingOptions
from unimedvl.cli.terminal import Terminal

# Ends of names that are meant as files and not as questions.
_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".nii", ".nii.gz")


def register(app: typer.Typer) -> None:
    command(app)(ask)
    command(app)(report)


def ask(
    images_and_question: Annotated[
        list[str],
        Argument(metavar="[IMAGE]... QUESTION", help="Image files, and what to ask of them.", show_default=False),
    ],
    model: ModelOptions,
    read: ReadingOptions,
    text: SamplingOptions,
    output: OutputOptions,
    documents: DocumentOptions,
    think: Annotated[bool, Option("--think", help="Reason first; the reasoning goes to standard error.")] = False,
) -> None:
    """Answer a question on one image or several."""
    *images, question = images_and_question
    if not question.strip():
        raise Failure("ask needs a question, such as: unimedvl ask scan.dcm 'What is abnormal?'")
    if Path(question).is_file():
        raise Failure(f"{question}: an image and no question; put the question after it, in quotes")
    if not images and " " not in question and question.lower().endswith(_IMAGES):
        raise Failure(f"{question}: no such file, and no question after it, as in: unimedvl ask scan.dcm 'What is it?'")
    _answer("ask", [Path(i) for i in images], question, model, read, text, output, documents, think)


def report(
    images: Annotated[list[Path], Argument(help="The images of one study.", show_default=False)],
    model: ModelOptions,
    read: ReadingOptions,
    text: SamplingOptions,
    output: OutputOptions,
    documents: DocumentOptions,
) -> None:
    """Write findings and impression of a study."""
    _answer("report", images, "", model, read, text, output, documents)


def _answer(
    task: str,
    images: list[Path],
    words: str,
    model: ModelOptions,
    read: ReadingOptions,
    text: SamplingOptions,
    output: OutputOptions,
    documents: DocumentOptions,
    think: bool = False,
) -> None:
    terminal = Terminal(output)
    pixels = read.read(images)
    written = documents.prepare(images, pixels)
    sampling = text.sampling(model.seed)
    loaded = model.load(generation=False, progress=terminal.progress)
    terminal.introduce(loaded)
    result = terminal.speak(
        loaded.stream(task, pixels, words, sampling=sampling, seed=model.seed, think=think)
    )
    told = written.write(result)
    if output.json:
        terminal.document(told | result.to_dict())
    else:
        for file in told.values():
            terminal.note(file)
