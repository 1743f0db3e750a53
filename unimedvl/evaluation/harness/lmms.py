"""The model inside lmms-eval (LMMs-Lab; arXiv 2407.12772), as its entry points find it.

    lmms-eval --model unimedvl --model_args pretrained=nano --tasks slake_en --batch_size 8

What the suite asks is answered here without its package; `lmms_models.py` adds the suite's base class.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.harness.message import (
    Answer,
    Part,
    Question,
    answer_all,
    failed,
    load_reader,
    picture,
    segments,
)  # fmt: skip
from unimedvl.inference.context import Context
from unimedvl.inference.text import Sampling, score, speak_all

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest

    from unimedvl import UniMedVL

logger = logging.getLogger(__name__)
# Below it, a temperature stands for the likeliest token.
_COLD = 1e-4
# Generation arguments of tasks, and what `Sampling` calls them.
_KWARGS = {
    "max_gen_toks": "max_tokens", "max_new_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p",
    "top_k": "top_k", "repetition_penalty": "repetition_penalty",
}  # fmt: skip


def manifest() -> ModelManifest:
    """What lmms-eval's entry-point group `lmms_eval.models` is given. The suite must be installed."""
    from lmms_eval.models.registry_v2 import ModelManifest

    module = f"{__package__}.lmms_models"
    return ModelManifest("unimedvl", f"{module}.UniMedVLSimple", f"{module}.UniMedVLChat")


def sampling_of(kwargs: Mapping[str, Any], default: Sampling) -> Sampling:
    """How an answer is made, from a task's generation arguments; what they leave out is `default`'s.

    max_new_tokens, temperature, do_sample (False: the likeliest token, whatever the temperature), top_p, top_k,
    repetition_penalty and until (a text or several that end an answer) count; beams don't.

    Raises:
        EvaluationError: a value out of range.
    """
    given: dict[str, Any] = {}
    for theirs, ours in _KWARGS.items():
        if kwargs.get(theirs) is not None:
            given[ours] = kwargs[theirs]
    if kwargs.get("do_sample") is False or given.get("temperature", 1) < _COLD:
        given["temperature"] = 0.0
    until = kwargs.get("until") or ()
    given["stop"] = tuple(text for text in ((until,) if isinstance(until, str) else until) if text)
    try:
        return replace(default, **given)
    except (ValueError, TypeError) as error:
        raise EvaluationError(f"generation_kwargs: {error}") from error


def parts_of(messages: Sequence[Mapping[str, Any]]) -> tuple[Part, ...]:
    """The pieces of a chat in order.

    messages: turns {"role": ..., "content": words or pieces}; a piece is {"type": "text", "text": ...} or {"type":
    "image", "url": a Pillow image, a file or a data URL}. What a system says is taken as the user's.

    Raises:
        EvaluationError: a piece of another type.
    """
    parts = []
    for turn in messages:
        own, content = turn["role"] == "assistant", turn["content"]
        for piece in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if piece["type"] == "text":
                parts.append(Part(piece["text"], own=own))
            elif piece["type"] == "image":
                parts.append(Part(image=picture(piece["url"])))
            else:
                raise EvaluationError(f"a message holds {piece['type']}; this model takes images and text")
    return tuple(parts)


class Answering:
    """What lmms-eval asks of a model, but for the layout of its requests (`Chat`, `Simple`).

    task_dict: by task and split, rows; the suite fills it. rank: of this process.
    """

    task_dict: dict
    rank: int

    def __init__(
        self,
        pretrained: str = "nano",
        *,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
        dtype: str | None = None,
        adapters: str | None = None,
        max_tokens: int = 512,
        think: bool = False,
        seed: int = 0,
        owner: UniMedVL | None = None,
        **unknown: object,
    ) -> None:
        """pretrained: "nano", a folder or a hub id. batch_size: requests that pass the model together; the suite has
        no use for max_batch_size here. max_tokens: of an answer whose task says nothing. think: reason first; the
        reasoning is no part of the answer. seed: of answers that are drawn by chance. owner: a model that is loaded
        already, instead.

        Raises:
            EvaluationError: an argument that is not known or out of range.
            CheckpointError: no such model.
        """
        super().__init__()
        if unknown:
            raise EvaluationError(
                f"model_args: {', '.join(unknown)} is not known; there are pretrained, device, dtype, adapters, "
                "max_tokens, think and seed"
            )
        if not str(batch_size).isdigit() or int(batch_size) < 1:
            raise EvaluationError(f"batch_size is {batch_size!r}; it must be a whole number of 1 or more")
        self.batch_size, self.think = int(batch_size), bool(think)
        self.sampling = Sampling(seed=seed, max_tokens=max_tokens)
        self.owner = owner or load_reader(str(pretrained), device or _device_of_rank(), dtype, adapters)

    @property
    def device(self):
        """Where the model is, as torch names it."""
        return self.owner.model.device

    def told(self, done: int, total: int) -> None:
        """Hears how many requests of how many are done."""

    def keep(self, kind: str, asked: tuple, answer: object) -> None:
        """Hears each answer."""

    def generate_until(self, requests: Sequence) -> list[Answer]:
        """Answers in order, in batches. One that can't be made is empty, and its reason logged."""
        answers: list[Answer] = []
        for start in range(0, len(requests), self.batch_size):
            batch = requests[start : start + self.batch_size]
            given = answer_all(self.owner, [self._question(request.args) for request in batch])
            for request, answer in zip(batch, given, strict=True):
                if not answer.error:
                    self.keep("generate_until", (request.args[0], self._kwargs(request.args)), answer.text)
            answers += given
            self.told(len(answers), len(requests))
        unanswered = sum(bool(answer.error) for answer in answers)
        if unanswered:
            logger.warning("%d of %d requests were not answered; they count as empty", unanswered, len(answers))
        return answers

    def _question(self, args: tuple) -> Question | Answer:
        try:
            return Question(self._parts(args), sampling_of(self._kwargs(args), self.sampling), self.think)
        except ValueError as error:
            return failed(error)

    def _row(self, doc_id: int, task: str, split: str) -> Any:
        return self.task_dict[task][split][doc_id]

    def _parts(self, args: tuple) -> tuple[Part, ...]:
        raise NotImplementedError

    def _kwargs(self, args: tuple) -> Mapping[str, Any]:
        raise NotImplementedError

    def loglikelihood(self, requests: Sequence) -> list[tuple[float, bool]]:
        """Of chats, the suite asks for none."""
        raise EvaluationError("likelihoods are asked of the simple form; add --force_simple")

    def generate_until_multi_round(self, requests: Sequence) -> list[str]:
        """Tasks of several rounds, each of which depends on the answer before it, are not supported."""
        raise EvaluationError("tasks of several rounds are not supported; use those of generate_until")


class Chat(Answering):
    """Requests of the chat form: (words, row to messages, generation arguments, row's number, task, split)."""

    def _parts(self, args: tuple) -> tuple[Part, ...]:
        _, to_messages, _, *place = args
        return parts_of(to_messages(self._row(*place)))

    def _kwargs(self, args: tuple) -> Mapping[str, Any]:
        return args[2]


class Simple(Answering):
    """Requests of the simple form: (words, generation arguments, row to images, row's number, task, split)."""

    def _parts(self, args: tuple) -> tuple[Part, ...]:
        words, _, to_images, *place = args
        return self._images_and(words, to_images, place)

    def _kwargs(self, args: tuple) -> Mapping[str, Any]:
        return args[1]

    def _images_and(self, words: str, to_images: Callable, place: Sequence) -> tuple[Part, ...]:
        images = to_images(self._row(*place)) or []
        return (*(Part(image=picture(image)) for image in images), Part(words))

    def loglikelihood(self, requests: Sequence) -> list[tuple[float, bool]]:
        """Of each request, (words, continuation or row to it, row to images, row's number, task, split): the natural
        logarithm of the probability that the continuation is the whole answer, its end counted, and whether it is what
        the model would say. Blanks around it are left off: no answer in training had any. Requests on one row that
        follow each other share what they have in common.

        Raises:
            EvaluationError, ImagingError: a request that can't be put; a likelihood has no value that stands for none.
        """
        out: list[tuple[float, bool]] = []
        for _, group in groupby(requests, key=lambda request: (request.args[0], *request.args[3:])):
            alike = [request.args for request in group]
            words, _, to_images, *place = alike[0]
            texts = [
                (text if isinstance(text, str) else text(self._row(*place))).strip() for _, text, *_ in alike
            ]
            question = Question(self._images_and(words, to_images, place))
            context = Context(self.owner.model)
            context.extend(segments(self.owner, question))
            values = score(context, self.owner.tokenizer, texts)
            said = self._said(context, texts)
            out += [(value, said == text) for value, text in zip(values, texts, strict=True)]
            self.told(len(out), len(requests))
        return out

    def _said(self, context: Context, texts: Sequence[str]) -> str:
        """What the model says here, as far as the longest of the texts could be it; "" where that is no end yet."""
        longest = max(len(self.owner.tokenizer.encode(text)) for text in texts)
        (spoken,) = speak_all([context.branch()], self.owner.tokenizer, Sampling(max_tokens=longest + 1))
        return spoken.text if spoken.finish == "stop" else ""


def _device_of_rank() -> str | None:
    """The GPU of this process among those of its machine; None where there is one process."""
    import torch

    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or not torch.cuda.is_available():
        return None
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
