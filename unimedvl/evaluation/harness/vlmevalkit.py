"""The model inside VLMEvalKit (Duan et al., ACM MM 2024), whichever form of it is there: ms-vlmeval or a checkout.

    python -m unimedvl.evaluation.harness.vlmevalkit --model nano --data PathVQA_VAL

puts the model into the kit's table of models and calls the kit's own run. What this command does not know, it hands on
to the kit.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from unimedvl.evaluation.answers import read_letter, spoken
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.harness.batches import Batches
from unimedvl.evaluation.harness.message import (
    DTYPES,
    Answer,
    Part,
    Question,
    answer_all,
    failed,
    load_reader,
    picture,
)  # fmt: skip
from unimedvl.evaluation.item import LETTERS
from unimedvl.inference.text import Sampling

if TYPE_CHECKING:
    from unimedvl import UniMedVL

logger = logging.getLogger(__name__)
# The kit knows an answer that there is not by these words: it counts it, and asks again with --reuse.
FAILED = "Failed to obtain answer via API."
# An option in a prompt: "A. effusion", "(B) normal", "C: fracture".
_OPTION = re.compile(r"^\s*\(?([A-J])\s*[.):]\s*(\S.*?)\s*$")


def options_of(prompt: str) -> tuple[str, ...]:
    """What the letters A, B, ... stand for in a prompt: its last lines of that form that count up from A, two at least;
    none where there are none.
    """
    found: list[str] = []
    best: tuple[str, ...] = ()
    for line in prompt.splitlines():
        match = _OPTION.match(line)
        if match is None:
            continue
        if match[1] == "A":
            found = []
        if match[1] == LETTERS[len(found) : len(found) + 1]:
            found.append(match[2])
            best = tuple(found) if len(found) > 1 else best
    return best


def reduced(text: str, options: Sequence[str]) -> str:
    """What the kit is given of an answer: the letter of the option that is chosen, by the rules of
    `answers.read_letter`; its words without think and answer tags where there are no options or none is chosen.
    """
    return (read_letter(text, options) if options else None) or spoken(text)


class KitModel:
    """What VLMEvalKit asks of a model, without the kit's base class, which `kit_class` adds.

    The kit asks for one row after the other. With a batch of more than one it is told that this is a remote model
    (`is_api`), which it calls from `--api-nproc` threads: calls that wait are answered together. Not under torchrun,
    where the kit asks row by row on each rank.
    """

    INTERLEAVE = True
    INSTALL_REQ = False
    allowed_types = ("text", "image")

    def __init__(
        self,
        model: str = "nano",
        *,
        device: str | None = None,
        dtype: str | None = None,
        adapters: str | None = None,
        max_tokens: int = 512,
        batch: int = 1,
        think: bool = False,
        letters: bool = True,
        owner: UniMedVL | None = None,
    ) -> None:
        """model: "nano", a folder or a hub id, loaded at once. device, dtype, adapters: as of `UniMedVL.load`.
        max_tokens: of an answer, reasoning included. batch: rows that pass the model together. think: reason before
        each answer. letters: answers to multiple choice are reduced to a letter. owner: a model that is loaded
        already, instead.

        Raises:
            CheckpointError: no such model.
            EvaluationError: the batch is less than 1.
        """
        if batch < 1:
            raise EvaluationError(f"batch is {batch}; it must be 1 or more")
        super().__init__()
        self.owner = owner or load_reader(model, device, dtype, adapters)
        self.sampling = Sampling(max_tokens=max_tokens)
        self.think, self.letters = think, letters
        self.batches: Batches[Question, Answer] = Batches(partial(answer_all, self.owner), batch)

    @property
    def is_api(self) -> bool:
        """Whether the kit is to call from several threads. The kit hides WORLD_SIZE while it builds a model."""
        return self.batches.most > 1 and int(os.environ.get("WORLD_SIZE", 1)) == 1

    def generate_inner(self, message: Sequence[Mapping[str, str]], dataset: str | None = None) -> str:
        """The answer to one row.

        message: pieces in order, each {"type": "image" or "text", "value": a file or words}. dataset: its name in the
        kit. A row that can't be answered gives the kit's own words for that, and the reason is logged.
        """
        return self._answer([_part(piece) for piece in message], dataset)

    def chat_inner(self, messages: Sequence[Mapping], dataset: str | None = None) -> str:
        """The answer to a conversation of turns, each {"role": "user" or "assistant", "content": pieces}."""
        parts = [_part(piece, turn["role"] == "assistant") for turn in messages for piece in turn["content"]]
        return self._answer(parts, dataset)

    def chooses(self, dataset: str | None) -> bool:
        """Whether the answers of a benchmark are letters, where its prompts have options."""
        return True

    def _answer(self, parts: list[Part | Answer], dataset: str | None) -> str:
        wrong = next((part for part in parts if isinstance(part, Answer)), None)
        if wrong is not None:
            return FAILED
        question = Question(tuple(part for part in parts if isinstance(part, Part)), self.sampling, self.think)
        answer = self.batches(question)
        if answer.error:
            return FAILED
        wanted = self.letters and self.chooses(dataset)
        return reduced(answer.text, options_of(question.words) if wanted else ())


def _part(piece: Mapping[str, str], own: bool = False) -> Part | Answer:
    """A piece of the kit's message; an answer that says why where it is none that can be put."""
    if piece["type"] == "text":
        return Part(piece["value"], own=own)
    if piece["type"] == "image":
        try:
            return Part(image=picture(piece["value"]))
        except EvaluationError as error:
            return failed(error)
    return failed(EvaluationError(f"a message holds {piece['type']}; this model takes images and text"))


def kit_class() -> type:
    """`KitModel` with the kit's base class, which puts messages into one form before `generate_inner` has them.

    Raises:
        ImportError: the kit is not here.
    """
    from vlmeval.dataset import DATASET_TYPE
    from vlmeval.vlm.base import BaseModel

    class UniMedVLModel(KitModel, BaseModel):
        def chooses(self, dataset: str | None) -> bool:
            return dataset is None or DATASET_TYPE(dataset).startswith("MCQ")

    return UniMedVLModel


def kit_run(folder: Path | None = None) -> tuple[dict[str, Callable], ModuleType]:
    """The kit's table of models, and the module whose `main` runs it.

    folder: a checkout of VLMEvalKit; what is installed where None.

    Raises:
        EvaluationError: no kit there, or one that can't be imported.
    """
    if folder is not None:
        if not (folder / "run.py").is_file():
            raise EvaluationError(f"{folder}: no run.py in it; name a checkout of VLMEvalKit")
        sys.path.insert(0, str(folder))
    spec = importlib.util.find_spec("vlmeval")
    if spec is None or not spec.submodule_search_locations:
        raise EvaluationError("VLMEvalKit is not here; pip install ms-vlmeval, or name a checkout of it with --kit")
    package = Path(next(iter(spec.submodule_search_locations)))
    try:
        models = importlib.import_module("vlmeval.config").supported_VLM
        if (package / "run.py").is_file():  # ms-vlmeval
            return models, importlib.import_module("vlmeval.run")
        return models, _module("run", package.parent / "run.py")
    except Exception as error:  # it imports half the field, whose packages raise what they like
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise EvaluationError(f"{package}: VLMEvalKit can't be imported here ({reason})") from error


def _module(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise EvaluationError(f"{file}: no such file; this is no VLMEvalKit that can be run")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def failures(work: Path, name: str, since: float) -> list[str]:
    """What the kit says went wrong in its runs of a model that ended later than `since` (as `time.time`), a line each.

    The kit itself ends with status 0 whatever happens.
    """
    told: list[str] = []
    for file in sorted((work / name).rglob("status.json")):
        if file.is_symlink() or file.stat().st_mtime < since:
            continue
        for dataset, status in json.loads(file.read_text()).get("datasets", {}).items():
            unknown = "no such benchmark" if status.get("skip_reason") == "invalid_dataset" else ""
            wrong = status.get("error_message") or unknown
            if wrong:
                told.append(f"{dataset}: {' '.join(str(wrong).split())}")
    return list(dict.fromkeys(told))


def parser() -> argparse.ArgumentParser:
    """The command's own options; those of the kit are not among them."""
    made = argparse.ArgumentParser(
        prog="python -m unimedvl.evaluation.harness.vlmevalkit",
        description="Evaluate a model with VLMEvalKit. Options not named here go to the kit's run.",
        allow_abbrev=False,
    )
    made.add_argument("--model", default="nano", help="nano (trained on simulations alone), a folder or a hub id")
    made.add_argument("--data", nargs="+", required=True, metavar="NAME", help="benchmarks, as the kit calls them")
    made.add_argument("--name", help="of the model in the kit's results (default: unimedvl- and the model's)")
    made.add_argument("--batch", type=int, default=8, help="rows that pass the model together (default: 8)")
    made.add_argument("--max-tokens", type=int, default=512, help="of an answer, at most (default: 512)")
    made.add_argument("--think", action="store_true", help="reason before each answer")
    made.add_argument("--whole-answers", action="store_true", help="don't reduce multiple choice to a letter")
    made.add_argument("--judge", default="exact_matching", help="the kit's judge (default: exact_matching: none)")
    made.add_argument("--work-dir", default="./outputs", help="where the kit writes (default: ./outputs)")
    made.add_argument("--kit", type=Path, metavar="FOLDER", help="a checkout of VLMEvalKit; what is installed else")
    made.add_argument("--device", help="cpu, cuda, ...; a GPU where there is one")
    made.add_argument("--dtype", choices=DTYPES, help="of the weights; what suits the device where left out")
    made.add_argument("--adapters", metavar="FOLDER", help="adapters trained on the model, merged into it")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the kit on the model. Returns 0, 1 (the kit failed on a benchmark) or 2 (bad input)."""
    own = parser()
    given, kits = own.parse_known_args(arguments)
    name = given.name or f"unimedvl-{Path(given.model).name}"
    since = time.time() - 1  # a file system may keep whole seconds
    try:
        if given.batch < 1 or given.max_tokens < 1:
            raise EvaluationError("--batch and --max-tokens must be 1 or more")
        models, run = kit_run(given.kit)
        models[name] = partial(
            kit_class(),
            given.model,
            device=given.device,
            dtype=given.dtype,
            adapters=given.adapters,
            max_tokens=given.max_tokens,
            batch=given.batch,
            think=given.think,
            letters=not given.whole_answers,
        )
    except EvaluationError as error:
        own.exit(2, f"error: {error}\n")
    words = ["--data", *given.data, "--model", name, "--judge", given.judge, "--work-dir", given.work_dir]
    _with_arguments(run, [*words, "--api-nproc", str(given.batch), *kits])
    wrong = failures(Path(os.environ.get("MMEVAL_ROOT", given.work_dir)), name, since)
    for line in wrong:
        sys.stderr.write(f"error: {line}\n")
    return 1 if wrong else 0


def _with_arguments(run: ModuleType, words: list[str]) -> None:
    """The kit reads its arguments from the command line, so they are put there while it runs."""
    before = sys.argv
    sys.argv = [str(run.__file__), *words]
    try:
        run.main()
    finally:
        sys.argv = before


if __name__ == "__main__":
    sys.exit(main())
