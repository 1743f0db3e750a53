"""The user's object: a model, its tokenizer and its transforms, with a method for every task."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from unimedvl.checkpoint import Checkpoint, Fingerprint, load_model, open_checkpoint
from unimedvl.checkpoint.adapters import Base, check_base, merge_tensors, read_adapters
from unimedvl.imaging import Image, ReadOptions, read_image
from unimedvl.inference.chat import Chat
from unimedvl.inference.image import Step
from unimedvl.inference.job import Event, Job, answer_events, drawing_events
from unimedvl.inference.requests import Request, Source, request_for
from unimedvl.inference.results import ImageResult, TextResult, versions
from unimedvl.inference.text import Sampling, speak_all
from unimedvl.model.flow import Guidance
from unimedvl.model.unified import UnifiedModel
from unimedvl.tasks import Drawing, Task, task
from unimedvl.tokenizer import Tokenizer
from unimedvl.transforms import Prepare

__all__ = ["Chat", "Event", "Request", "UniMedVL"]


class UniMedVL:
    """Load with `UniMedVL.load`; then ask, report, generate, edit and so on."""

    def __init__(
        self, model: UnifiedModel, tokenizer: Tokenizer, card: dict, weights: str | Callable[[], str]
    ) -> None:
        """card: what the checkpoint says of itself, with `sizes` and `drawing`.

        weights: their hash, or a function that gives it, called when it is first needed.
        """
        self.model, self.tokenizer, self.card, self._weights = model, tokenizer, card, weights
        sizes = {name: tuple(side) for name, side in card.get("sizes", {}).items()}
        self.prepare = Prepare.for_model(model.config, tokenizer, sizes)

    @classmethod
    def load(
        cls,
        source: str | Path | None = None,
        *,
        dtype: torch.dtype | None = None,
        device: str | None = None,
        generation: bool = True,
        pack: bool | None = None,
        progress: bool = False,
        adapters: str | Path | None = None,
    ) -> UniMedVL:
        """Load a model.

        source: None for the embedded nano; a folder or a hub id in the published layout.
        dtype: None takes the checkpoint's on a GPU and for large models, and float32 for small ones
            on a CPU, where it is as fast and more exact.
        device: None takes CUDA where there is a GPU.
        generation: False loads what reads images and leaves out what makes them.
        pack: lay the weights out for the CPU's products (`UnifiedModel.pack`): faster, but they are then
            held in memory and not read from the mapped file when needed. None does so where memory is free
            for them.
        progress: draw bars on standard error, of loading now, and of hashing when `weights` are first asked for.
        adapters: a folder of adapters (`checkpoint/adapters.py`), which are merged into the weights. The checkpoint is
            hashed at once to see that they belong to it: merge them for good where that takes too long.

        Raises:
            CheckpointError: no such model, its files are not what they should be, or the adapters are of another one.
        """
        added = None if adapters is None else read_adapters(adapters)
        checkpoint = open_checkpoint(source)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if dtype is None and device == "cpu" and checkpoint.nbytes < 2**30:
            dtype = torch.float32
        if pack is None:
            pack = _fits_in_memory(checkpoint, dtype)
        weights = Fingerprint(checkpoint, progress)
        card = checkpoint.card | {"name": checkpoint.card.get("name") or (str(source) if source else "nano")}
        if added is not None:
            check_base(added, Base(card["name"], weights()))
            card["adapters"] = {"folder": str(adapters), "sha256": added.sha256}
        model = load_model(
            checkpoint,
            dtype=dtype,
            device=device,
            generation=generation,
            pack=pack and added is None,  # or after the merge
            progress=progress,
        )
        if added is not None:
            merge_tensors(model, added)
            if pack:
                model.pack()
        return cls(model, Tokenizer.load(checkpoint.folder), card, weights)

    @property
    def weights(self) -> str:
        """The hash of all weights of the checkpoint (`checkpoint.fingerprint`), whatever part of it was loaded,
        without adapters.

        It is taken when first asked for, here or in a result's provenance: that reads every byte of the
        checkpoint, with a bar where `load` drew one. Raises CheckpointError as `checkpoint.Fingerprint`.
        """
        return self._weights if isinstance(self._weights, str) else self._weights()

    # Tasks -----------------------------------------------------------------------------------

    def ask(self, images: Source | Seq[Source], question: str, *, think: bool = False, **options) -> TextResult:
        """Answer a question on one image or several. options: see `run`."""
        return self._one(request_for("ask", images, question, think=think), options)

    def report(self, images: Source | Seq[Source], **options) -> TextResult:
        """Findings and impression of a study."""
        return self._one(request_for("report", images), options)

    def generate(
        self, caption: str, *, modality: str | None = None, think: bool = False, **options
    ) -> ImageResult:
        """Draw an image from a description.

        modality: one of `tasks.MODALITY_NAMES`; put before the caption where that doesn't name it.
        think: plan in words before drawing. options: size, seed, steps, guidance, and see `run`.
        """
        return self._one(request_for("generate", (), caption, modality=modality, think=think), options)

    def edit(self, image: Source, instruction: str, **options) -> ImageResult:
        """Change an image as told in words."""
        return self._one(request_for("edit", image, instruction), options)

    def stain(self, image: Source, her2: str = "3+", **options) -> ImageResult:
        """HER2 immunohistochemistry of an H&E image, at level 0, 1+, 2+ or 3+."""
        return self._one(request_for("stain", image, her2=her2), options)

    def upscale(self, image: Source, **options) -> ImageResult:
        """Four times the resolution, as far as the largest image that the model draws."""
        return self._one(request_for("upscale", image), options)

    def translate(self, image: Source, to: str, source: str | None = None, **options) -> ImageResult:
        """The same anatomy in another sequence or modality, such as t2 to flair, or mr to ct."""
        return self._one(request_for("translate", image, to=to, source=source), options)

    def counterfactual(self, image: Source, change: str, **options) -> ImageResult:
        """The same patient with a change, such as "resolution of the left effusion", and an explanation."""
        return self._one(request_for("counterfactual", image, change=change), options)

    def segment(self, image: Source, target: str, **options) -> ImageResult:
        """The mask of a structure named in words; `result.mask` is it as booleans."""
        return self._one(request_for("segment", image, target=target), options)

    def reconstruct(self, image: Source, **options) -> ImageResult:
        """Draw the input again, a check of what the model keeps of it."""
        return self._one(request_for("reconstruct", image), options)

    # Running ---------------------------------------------------------------------------------

    def run(
        self,
        requests: Seq[Request],
        *,
        sampling: Sampling | None = None,
        steps: int | None = None,
        guidance: Guidance | None = None,
        on_step: Callable[[Step], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[TextResult | ImageResult]:
        """Run several requests of one task as a batch; results are those of each one alone.

        sampling: how text is chosen; greedy where None. steps: points of the time grid. guidance: how
        far images are pushed. on_step, cancelled: called between steps.

        Raises:
            ValueError: requests of different tasks, too few images, a size that can't be drawn.
            Cancelled: `cancelled()` became true while drawing.
        """
        names = {r.task for r in requests}
        if len(names) != 1:
            raise ValueError(f"a batch is of one task, not of {', '.join(sorted(names)) or 'none'}")
        job = Job(self, list(requests), sampling, self.drawing_for(task(names.pop()), steps, guidance))
        for part in job.parts:
            if part == "answer":
                job.take(speak_all(job.contexts, self.tokenizer, job.samplings, cancelled))
            else:
                job.draw(on_step, cancelled)
        return job.results()

    def stream(self, name: str, images: Source | Seq[Source] = (), text: str = "", **options) -> Iterator[Event]:
        """Run one request and yield events: text as it is spoken, steps as they are drawn, the result.

        name: of a method above. text: its words, such as the question. options: all else that the method takes
        (such as her2 or target), those of `run` but `on_step` and `cancelled`, and those of `Request`.
        What is given is checked before the iterator is returned; images are read when it begins. Close it to stop.

        Raises:
            ValueError: no such task, or words and values that the method would refuse.
            TypeError: an option that the method does not take.
        """
        sampling, steps, guidance = (options.pop(key, None) for key in ("sampling", "steps", "guidance"))
        request = request_for(name, images, text, **options)
        return self._events(request, sampling, self.drawing_for(task(name), steps, guidance))

    def _events(self, request: Request, sampling: Sampling | None, drawing: Drawing) -> Iterator[Event]:
        job = Job(self, [request], sampling, drawing)
        for part in job.parts:
            if part == "answer":
                yield from answer_events(job)
            else:
                yield from drawing_events(job)
        yield Event("result", result=job.results()[0])

    def chat(self, sampling: Sampling | None = None) -> Chat:
        """A conversation of several turns and images that remembers what was said."""
        return Chat(self, sampling or Sampling())

    # Parts -----------------------------------------------------------------------------------

    def read(self, source: Source, options: ReadOptions = ReadOptions()) -> Image:
        """Read an image file or take an image as it is. Raises ImagingError."""
        return source if isinstance(source, Image) else read_image(source, options)

    def provenance(
        self, name: str, request: str, seed: int, settings: dict, images: Seq[Image]
    ) -> Callable[[], dict]:
        """What tells where a result came from, once the weights are hashed, which waits until it is called.

        No time of day, so that the same call gives the same bytes.
        """
        told = {
            "task": name,
            "request": request,
            "seed": seed,
            "settings": settings,
            "model": {
                "name": self.card.get("name", ""),
                "weights_sha256": "",
                "dtype": str(self.model.dtype).removeprefix("torch."),
                "device": self.model.device.type,
                "trained_on": self.card.get("trained_on", "not stated"),
            }
            | ({"adapters": self.card["adapters"]} if "adapters" in self.card else {}),
            "inputs": [{"sha256": i.sha256, "kind": i.kind, "details": i.details} for i in images],
            "versions": versions(),
        }
        return partial(_with_weights, told, self._weights)

    def _one(self, request: Request, options: dict) -> TextResult | ImageResult:
        fields = {k: options.pop(k) for k in ("size", "seed", "read") if k in options}
        return self.run([replace(request, **fields)], **options)[0]

    def drawing_for(self, what: Task, steps: int | None = None, guidance: Guidance | None = None) -> Drawing:
        """The task's drawing, with what the checkpoint's card says, with what the caller says."""
        own = dict(self.card.get("drawing", {}).get(what.name, {}))
        if "guidance" in own:
            own["guidance"] = Guidance(**{k: _frozen(v) for k, v in own["guidance"].items()})
        drawing = replace(what.drawing, **own)
        if steps is not None:
            drawing = replace(drawing, steps=steps)
        return drawing if guidance is None else replace(drawing, guidance=guidance)


def _fits_in_memory(checkpoint: Checkpoint, dtype: torch.dtype | None) -> bool:
    """Whether all weights together leave a fifth of the free memory, as far as the system tells of it."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return True
    entries = checkpoint.tensors.values()
    return sum(math.prod(e.shape) * (dtype or e.dtype).itemsize for e in entries) < 0.8 * free


def _with_weights(told: dict, weights: str | Callable[[], str]) -> dict:
    sha256 = weights if isinstance(weights, str) else weights()
    return told | {"model": told["model"] | {"weights_sha256": sha256}}


def _frozen(value):
    return tuple(value) if isinstance(value, list) else value
