"""The user's object: a model, its tokenizer and its transforms, with a method for every task."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unimedvl.checkpoint import CheckpointError, fingerprint, load_model, open_checkpoint
from unimedvl.imaging import Image, ReadOptions, read_image
from unimedvl.inference.context import Context, extend_all
from unimedvl.inference.image import Step, draw, grid_for
from unimedvl.inference.results import ImageResult, TextResult, split_thought, versions
from unimedvl.inference.text import Piece, Sampling, Spoken, speak, speak_all
from unimedvl.model.flow import Guidance
from unimedvl.model.unified import UnifiedModel
from unimedvl.tasks import MODALITIES, TASKS, THINK_FIRST, Drawing, Task, task
from unimedvl.tokenizer import Tokenizer
from unimedvl.transforms import Prepare

Source = str | Path | bytes | Image | np.ndarray


@dataclass(frozen=True)
class Request:
    """One thing asked of the model; `UniMedVL.run` takes several at once.

    images: files, arrays or images read before. text: the words; the task's own where empty.
    wishes: fill the braces of the task's words. think: reason before the answer, plan before the image.
    size: (width, height) in pixels of a drawn image; the first input's size on the model's stride, or
        the model's own, where None.
    """

    task: str
    images: tuple[Source, ...] = ()
    text: str = ""
    wishes: tuple[tuple[str, str], ...] = ()
    think: bool = False
    size: tuple[int, int] | None = None
    seed: int = 0
    read: ReadOptions = ReadOptions()


@dataclass(frozen=True)
class Event:
    """Something that happened while a request ran.

    kind: "text" (`text` is new), "step" (`step` of the drawing), "result" (the last; `result` is it).
    """

    kind: str
    text: str = ""
    step: Step | None = None
    result: TextResult | ImageResult | None = None


class UniMedVL:
    """Load with `UniMedVL.load`; then ask, report, generate, edit and so on."""

    def __init__(self, model: UnifiedModel, tokenizer: Tokenizer, card: dict, weights: str) -> None:
        """card: what the checkpoint says of itself, with `sizes` and `drawing`. weights: their hash."""
        self.model, self.tokenizer, self.card, self.weights = model, tokenizer, card, weights
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
        progress: bool = False,
    ) -> UniMedVL:
        """Load a model.

        source: None for the embedded nano; a folder or a hub id in the published layout.
        dtype: None takes the checkpoint's on a GPU and for large models, and float32 for small ones
            on a CPU, where it is as fast and more exact.
        device: None takes CUDA where there is a GPU.
        generation: False loads what reads images and leaves out what makes them.

        Raises:
            CheckpointError: no such model, or its files are not what they should be.
        """
        checkpoint = open_checkpoint(source)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if dtype is None and device == "cpu" and checkpoint.nbytes < 2**30:
            dtype = torch.float32
        model = load_model(checkpoint, dtype=dtype, device=device, generation=generation, progress=progress)
        tokenizer = Tokenizer.load(checkpoint.folder)
        name = checkpoint.card.get("name") or (str(source) if source else "nano")
        return cls(model, tokenizer, checkpoint.card | {"name": name}, fingerprint(checkpoint))

    # Tasks -----------------------------------------------------------------------------------

    def ask(self, images: Source | Seq[Source], question: str, *, think: bool = False, **options) -> TextResult:
        """Answer a question on one image or several. options: see `run`."""
        return self._one(Request("ask", _tuple(images), question, think=think), options)

    def report(self, images: Source | Seq[Source], **options) -> TextResult:
        """Findings and impression of a study."""
        return self._one(Request("report", _tuple(images)), options)

    def generate(
        self, caption: str, *, modality: str | None = None, think: bool = False, **options
    ) -> ImageResult:
        """Draw an image from a description.

        modality: one of `tasks.MODALITIES`; put before the caption where that doesn't name it.
        think: plan in words before drawing. options: size, seed, steps, guidance, and see `run`.
        """
        return self._one(Request("generate", (), self.describe(caption, modality), think=think), options)

    def edit(self, image: Source, instruction: str, **options) -> ImageResult:
        """Change an image as told in words."""
        return self._one(Request("edit", _tuple(image), instruction), options)

    def stain(self, image: Source, her2: str = "3+", **options) -> ImageResult:
        """HER2 immunohistochemistry of an H&E image, at level 0, 1+, 2+ or 3+."""
        if her2 not in ("0", "1+", "2+", "3+"):
            raise ValueError(f"her2 is {her2!r}; it must be 0, 1+, 2+ or 3+")
        return self._one(Request("stain", _tuple(image), wishes=(("her2", her2),)), options)

    def upscale(self, image: Source, **options) -> ImageResult:
        """Four times the resolution, as far as the model's largest image allows."""
        return self._one(Request("upscale", _tuple(image), wishes=(("factor", "4"),)), options)

    def translate(self, image: Source, to: str, source: str | None = None, **options) -> ImageResult:
        """The same anatomy in another sequence or modality, such as t2 to flair, or mr to ct."""
        target = to.upper()
        source = (source or {"FLAIR": "T2", "T2": "FLAIR", "CT": "MR", "MR": "CT"}.get(target, "MR")).upper()
        return self._one(
            Request("translate", _tuple(image), wishes=(("source", source), ("target", target))), options
        )

    def counterfactual(self, image: Source, change: str, **options) -> ImageResult:
        """The same patient with a change, such as "resolution of the left effusion", and an explanation."""
        return self._one(Request("counterfactual", _tuple(image), wishes=(("change", change),)), options)

    def segment(self, image: Source, target: str, **options) -> ImageResult:
        """The mask of a structure named in words; `result.mask` is it as booleans."""
        return self._one(Request("segment", _tuple(image), wishes=(("target", target),)), options)

    def reconstruct(self, image: Source, **options) -> ImageResult:
        """Draw the input again, a check of what the model keeps of it."""
        return self._one(Request("reconstruct", _tuple(image)), options)

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
        job = _Job(self, list(requests), sampling, self.drawing_for(task(names.pop()), steps, guidance))
        for part in job.parts:
            if part == "answer":
                job.take(speak_all(job.contexts, self.tokenizer, job.samplings, cancelled))
            else:
                job.draw(on_step, cancelled)
        return job.results()

    def stream(self, name: str, images: Source | Seq[Source] = (), text: str = "", **options) -> Iterator[Event]:
        """Run one request and yield events: text as it is spoken, steps as they are drawn, the result.

        options: those of `run` but `on_step`, and those of `Request`. Close the iterator to stop.
        """
        run = {k: options.pop(k, None) for k in ("sampling", "steps", "guidance")}
        options["wishes"] = tuple(dict(options.get("wishes", ())).items())
        request = Request(name, _tuple(images), text, **options)
        job = _Job(self, [request], run["sampling"], self.drawing_for(task(name), run["steps"], run["guidance"]))
        for part in job.parts:
            if part == "answer":
                spoken = yield from self._spoken(job)
                job.take(spoken)
            else:
                yield from _drawn(job)
        yield Event("result", result=job.results()[0])

    def chat(self, sampling: Sampling | None = None) -> Chat:
        """A conversation of several turns and images that remembers what was said."""
        return Chat(self, sampling or Sampling())

    # Parts -----------------------------------------------------------------------------------

    def describe(self, caption: str, modality: str | None) -> str:
        """The caption, opened with the modality's name where it doesn't name it itself."""
        if modality is None:
            return caption
        if modality not in MODALITIES:
            raise ValueError(f"modality is {modality!r}; it must be one of {', '.join(MODALITIES)}")
        words = MODALITIES[modality]
        return caption if words.lower() in caption.lower() else f"{words[0].upper()}{words[1:]} with {caption}"

    def read(self, source: Source, options: ReadOptions = ReadOptions()) -> Image:
        """Read an image file or take an image as it is. Raises ImagingError."""
        return source if isinstance(source, Image) else read_image(source, options)

    def provenance(self, name: str, request: str, seed: int, settings: dict, images: Seq[Image]) -> dict:
        """Where a result came from. No time of day, so that the same call gives the same bytes."""
        return {
            "task": name,
            "request": request,
            "seed": seed,
            "settings": settings,
            "model": {
                "name": self.card.get("name", ""),
                "weights_sha256": self.weights,
                "dtype": str(self.model.dtype).removeprefix("torch."),
                "device": self.model.device.type,
                "trained_on": self.card.get("trained_on", "not stated"),
            },
            "inputs": [{"sha256": i.sha256, "kind": i.kind, "details": i.details} for i in images],
            "versions": versions(),
        }

    def _one(self, request: Request, options: dict) -> TextResult | ImageResult:
        fields = {k: options.pop(k) for k in ("size", "seed", "read") if k in options}
        return self.run([replace(request, **fields)], **options)[0]

    def drawing_for(self, job: Task, steps: int | None = None, guidance: Guidance | None = None) -> Drawing:
        """The task's drawing, with what the checkpoint's card says, with what the caller says."""
        own = dict(self.card.get("drawing", {}).get(job.name, {}))
        if "guidance" in own:
            own["guidance"] = Guidance(**{k: _frozen(v) for k, v in own["guidance"].items()})
        drawing = replace(job.drawing, **own)
        if steps is not None:
            drawing = replace(drawing, steps=steps)
        return drawing if guidance is None else replace(drawing, guidance=guidance)

    def _spoken(self, job: _Job) -> Iterator[Event]:
        stream = speak(job.contexts, self.tokenizer, job.samplings)
        while True:
            try:
                piece: Piece = next(stream)
            except StopIteration as end:
                return end.value
            yield Event("text", text=piece.text)


class _Job:
    """A batch of requests on its way: contexts, what was said, what was drawn."""

    def __init__(self, owner: UniMedVL, requests: list[Request], sampling: Sampling | None, drawing: Drawing):
        self.owner, self.requests, self.drawing = owner, requests, drawing
        self.task = task(requests[0].task)
        if self.task.draws and not owner.model.generation:
            raise CheckpointError(f"{self.task.name} draws, and this model was loaded for understanding only")
        self.read = [tuple(owner.read(x, r.read) for x in r.images) for r in requests]
        self.shapes = [self._shape(r, images) for r, images in zip(requests, self.read, strict=True)]
        base = sampling or Sampling()
        self.samplings = [replace(base, seed=r.seed) if sampling is None else base for r in requests]
        self.spoken: list[Spoken] | None = None
        self.drawn: list[Tensor] | None = None
        prompts = []
        for request, images in zip(requests, self.read, strict=True):
            pixels = tuple(torch.from_numpy(i.pixels).permute(2, 0, 1) * 2 - 1 for i in images)
            prompts.append(self.task.prompt(pixels, self.words(request), owner.prepare))
        self.contexts = [Context(owner.model) for _ in requests]
        extend_all(self.contexts, prompts)

    @property
    def parts(self) -> tuple[str, ...]:
        """What is produced, in order; a plan only where one was asked for."""
        parts = self.task.predicted
        if self.task.name == "generate" and not self.requests[0].think:
            return tuple(p for p in parts if p != "answer")
        return parts

    def words(self, request: Request) -> str:
        words = request.text or self.task.request.format(**dict(request.wishes))
        if not words:
            raise ValueError(f"{self.task.name} needs words: a question, a caption or an instruction")
        return f"{THINK_FIRST} {words}" if request.think else words

    def take(self, spoken: list[Spoken]) -> None:
        self.spoken = spoken

    def draw(self, on_step: Callable[[Step], None] | None, cancelled: Callable[[], bool]) -> None:
        seeds = [r.seed for r in self.requests]
        self.drawn = draw(self.contexts, self.shapes, self.drawing, seeds, on_step, cancelled)

    def results(self) -> list[TextResult | ImageResult]:
        out = []
        for i, request in enumerate(self.requests):
            spoken = self.spoken[i] if self.spoken else Spoken(finish="stop")
            thought, text = split_thought(spoken.text)
            shared = dict(text=text, thought=thought, confidence=spoken.confidence)
            shared["provenance"] = self.provenance(request, self.read[i], i)
            if self.drawn is None:
                out.append(TextResult(**shared, logprobs=tuple(spoken.logprobs), finish=spoken.finish))
            else:
                out.append(ImageResult(self.drawn[i].numpy(), **shared))
        return out

    def provenance(self, request: Request, images: tuple[Image, ...], row: int) -> dict:
        settings: dict = {"think": request.think}
        if self.spoken:
            settings["sampling"] = asdict(self.samplings[row])
        if self.drawn is not None:
            settings["drawing"] = asdict(self.drawing)
        return self.owner.provenance(self.task.name, self.words(request), request.seed, settings, images)

    def _shape(self, request: Request, images: tuple[Image, ...]) -> tuple[int, int]:
        """The drawing's grid: what was asked for, else the first input's as the model takes it, else its own."""
        if not self.task.draws:
            return (0, 0)
        rule = self.owner.prepare.vae
        if request.size is not None:
            width, height = request.size
        elif images:
            width, height = rule(images[0].width, images[0].height)
        else:
            width = height = min(rule.max_size, 512)
        return grid_for(self.owner.model, width, height)


def _drawn(job: _Job) -> Iterator[Event]:
    """The drawing's steps as events; the drawing runs in a thread that stops when nobody listens."""
    events: queue.Queue = queue.Queue()
    stopped = threading.Event()

    def work() -> None:
        try:
            job.draw(lambda step: events.put(Event("step", step=step)), stopped.is_set)
            events.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the one who listens
            events.put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (event := events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        stopped.set()
        thread.join()


class Chat:
    """A conversation: every turn is taken into one context, which is appended to."""

    def __init__(self, owner: UniMedVL, sampling: Sampling) -> None:
        self.owner, self.sampling = owner, sampling
        self.context = Context(owner.model)
        self.inputs: list[Image] = []

    def send(self, text: str, images: Source | Seq[Source] = (), read: ReadOptions = ReadOptions()) -> TextResult:
        """Say something, with new images or without, and get the answer. Raises ImagingError."""
        stream = self.stream(text, images, read)
        while True:
            event = next(stream)
            if event.kind == "result":
                return event.result

    def stream(
        self, text: str, images: Source | Seq[Source] = (), read: ReadOptions = ReadOptions()
    ) -> Iterator[Event]:
        """The same, with the text as it comes; the last event holds the result."""
        new = [self.owner.read(x, read) for x in _tuple(images)]
        pixels = tuple(torch.from_numpy(i.pixels).permute(2, 0, 1) * 2 - 1 for i in new)
        self.context.extend(TASKS["ask"].prompt(pixels, text, self.owner.prepare))
        self.inputs += new
        stream = speak([self.context], self.owner.tokenizer, self.sampling)
        while True:
            try:
                piece = next(stream)
            except StopIteration as end:
                spoken: Spoken = end.value[0]
                break
            yield Event("text", text=piece.text)
        thought, answer = split_thought(spoken.text)
        settings = {"sampling": asdict(self.sampling)}
        provenance = self.owner.provenance("chat", text, self.sampling.seed, settings, self.inputs)
        yield Event(
            "result",
            result=TextResult(
                answer, thought, spoken.confidence, tuple(spoken.logprobs), spoken.finish, provenance
            ),
        )


def _tuple(images: Source | Seq[Source]) -> tuple[Source, ...]:
    return tuple(images) if isinstance(images, list | tuple) else (images,)


def _frozen(value):
    return tuple(value) if isinstance(value, list) else value
