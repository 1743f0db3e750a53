"""The options that commands share, in groups, and what each group becomes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

if TYPE_CHECKING:
    from unimedvl.imaging import ReadOptions
    from unimedvl.inference.text import Sampling
    from unimedvl.inference.unimedvl import UniMedVL


@dataclass(frozen=True)
class OutputOptions:
    json: Annotated[bool, Option("--json", help="Print the result and where it came from as JSON.")] = False
    quiet: Annotated[bool, Option("--quiet", "-q", help="No progress, notes or warnings.")] = False
    debug: Annotated[bool, Option("--debug", help="Show the traceback of an error.")] = False


@dataclass(frozen=True)
class ModelOptions:
    model: Annotated[
        str | None,
        Option(help="Folder or hub id of a checkpoint; the embedded nano where left out.", rich_help_panel="Model"),
    ] = None
    device: Annotated[
        str | None, Option(help="cpu, cuda, cuda:1 ...; a GPU where there is one.", rich_help_panel="Model")
    ] = None
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        Option(help="Of the weights; what suits the device where left out.", rich_help_panel="Model"),
    ] = None
    seed: Annotated[
        int,
        Option(min=0, max=2**63 - 1, help="Of all random numbers; the same gives the same.", rich_help_panel="Model"),
    ] = 0
    adapters: Annotated[
        Path | None, Option(help="Folder of adapters trained on the model, merged into it.", rich_help_panel="Model")
    ] = None

    def load(self, *, generation: bool, progress: bool) -> UniMedVL:
        """The model. Raises CheckpointError; ValueError for a device that is not there."""
        import torch

        from unimedvl import UniMedVL

        dtype = getattr(torch, self.dtype) if self.dtype else None
        device = None if self.device is None else _device(self.device)
        return UniMedVL.load(
            self.model,
            dtype=dtype,
            device=device,
            generation=generation,
            progress=progress,
            adapters=self.adapters,
        )


def _device(name: str) -> str:
    import torch

    try:
        device = torch.device(name)
        # Whether it is there, is only told by using it.
        torch.empty(1, device=device).tolist()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise ValueError(f"--device {name}: not to be had here; there is {', '.join(found)}") from error
    return name


@dataclass(frozen=True)
class ReadingOptions:
    frame: Annotated[
        int | None, Option(help="Of a multi-frame DICOM or a multi-page TIFF, from 0.", rich_help_panel="Reading")
    ] = None
    slice: Annotated[
        int | None, Option(help="Of a NIfTI volume, from 0; the middle one else.", rich_help_panel="Reading")
    ] = None
    plane: Annotated[
        Literal["axial", "coronal", "sagittal"] | None, Option(help="Of the slice.", rich_help_panel="Reading")
    ] = None
    volume: Annotated[
        int | None, Option(help="Of a NIfTI series, from 0.", rich_help_panel="Reading")
    ] = None
    window: Annotated[
        str | None,
        Option(
            metavar="CENTER,WIDTH|NAME", help="Such as 40,400 or lung or auto.", rich_help_panel="Reading"
        ),
    ] = None

    @property
    def options(self) -> ReadOptions:
        """Raises ImagingError or ValueError for a window that is none."""
        from unimedvl.imaging import ReadOptions, parse_window

        window = None if self.window is None else parse_window(self.window)
        return ReadOptions(self.frame, self.slice, self.plane, self.volume, window)

    def read(self, images: list[Path]) -> list:
        """The images. Read before the model is loaded, so that a wrong file is told at once."""
        from unimedvl.imaging import read_image

        options = self.options
        return [read_image(image, options) for image in images]


@dataclass(frozen=True)
class SamplingOptions:
    temperature: Annotated[
        float, Option(help="0 takes the likeliest token.", rich_help_panel="Text")
    ] = 0.0
    top_p: Annotated[
        float, Option(help="Only the likeliest tokens that together have this probability.", rich_help_panel="Text")
    ] = 1.0
    top_k: Annotated[int, Option(help="Only the k likeliest tokens; 0 for all.", rich_help_panel="Text")] = 0
    repetition_penalty: Annotated[
        float, Option(help="Over 1 makes what was already said less likely.", rich_help_panel="Text")
    ] = 1.0
    max_tokens: Annotated[int, Option(help="At most so many.", rich_help_panel="Text")] = 256
    stop: Annotated[
        list[str], Option(help="Text that ends the answer; may be given again.", rich_help_panel="Text")
    ] = field(default_factory=list)

    def sampling(self, seed: int) -> Sampling:
        """Raises ValueError, naming what is out of range."""
        from unimedvl.inference.text import Sampling

        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            seed=seed,
            stop=tuple(self.stop),
            max_tokens=self.max_tokens,
        )


@dataclass(frozen=True)
class DrawingOptions:
    out: Annotated[
        str | None,
        Option("--out", "-o", metavar="FILE", help="PNG, JPEG or WebP; TASK.png where left out.",
               rich_help_panel="Image"),
    ] = None
    force: Annotated[
        bool, Option("--force", "-f", help="Replace a file that is there.", rich_help_panel="Image")
    ] = False
    size: Annotated[
        str | None, Option(metavar="WxH", help="In pixels, such as 128x128.", rich_help_panel="Image")
    ] = None
    steps: Annotated[
        int | None, Option(min=2, help="Points of the time grid; more are slower and finer.", rich_help_panel="Image")
    ] = None
    guidance: Annotated[
        float | None, Option(help="How far the image follows the words; 1 is off.", rich_help_panel="Image")
    ] = None

    def place(self, default: str) -> Path:
        """Where the image goes, checked. Raises ImagingError."""
        return free_file(self.out or default, self.force)

    def settings(self, model: UniMedVL, task: str) -> dict:
        """Arguments for the methods that draw. Raises ValueError for a size that is none."""
        from unimedvl.tasks import TASKS

        settings: dict = {"size": self.width_and_height, "steps": self.steps}
        if self.guidance is not None:
            own = model.drawing_for(TASKS[task], None, None).guidance
            settings["guidance"] = replace(own, text_scale=self.guidance)
        return settings

    @property
    def width_and_height(self) -> tuple[int, int] | None:
        if self.size is None:
            return None
        match = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", self.size)
        if match is None:
            raise ValueError(f"--size {self.size}: no size; write width and height in pixels, such as 128x128")
        return int(match[1]), int(match[2])


def free_file(name: str, force: bool) -> Path:
    """A PNG file that can be written and, unless `force`, is not there yet. Raises ImagingError."""
    from unimedvl.imaging import ImagingError, check_output

    check_output(name)
    if Path(name).exists() and not force:
        raise ImagingError(name, "exists; give another name with --out, or --force to replace it")
    return Path(name)
