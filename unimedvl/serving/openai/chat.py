"""`/v1/chat/completions`: conversations of text and images, answered in text and images."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from unimedvl.serving.asking import check_most, check_texts, guidance, sampled, seeds, submitted
from unimedvl.serving.bodies import json_or_form, read_body
from unimedvl.serving.errors import as_api_error, wrong
from unimedvl.serving.openai.chat_examples import EXAMPLES
from unimedvl.serving.openai.chat_replies import Replies
from unimedvl.serving.openai.forms import ChatRequest, Message, TextPart
from unimedvl.serving.openai.stream import streamed
from unimedvl.serving.pictures import previews
from unimedvl.serving.running import results
from unimedvl.serving.service import Served, Service
from unimedvl.serving.sources import Sources

if TYPE_CHECKING:
    from unimedvl.inference.engine import Conversation, Turn
    from unimedvl.inference.text import Sampling

router = APIRouter(prefix="/v1", tags=["chat"])
_BODY = json_or_form(ChatRequest, EXAMPLES, {"file": "Images that messages name, as attachment://NAME."})


@router.post("/chat/completions", summary="Answer a conversation", openapi_extra=_BODY)
async def chat(request: Request, service: Served) -> Response:
    """Text, images or both, of a conversation of text and images. Images come as data URLs, or as files of a multipart
    form whose field `request` is the JSON; messages name them `attachment://NAME`.

    A reply's images stand in `message.images`, and its text in `message.content`, a string; with
    `image_carrier: "content"` both are parts of `message.content`.
    """
    body = await read_body(request, service.limits)
    asked = body.form(ChatRequest)
    service.check_model(asked.model)
    check_most("n", asked.n, service.limits.n)
    check_texts((p.text for m in asked.messages for p in m.parts if isinstance(p, TextPart)), service)
    trace = request.state.trace
    given = seeds(asked.seed, asked.n or 1, bool(asked.temperature) or asked.draws)
    trace.task, trace.seed = "chat", given[0]
    sources = Sources(service, trace, body.uploads)
    conversations = await run_in_threadpool(_conversations, asked, given, sources)
    options = _drawing(asked, conversations[0], service)
    samplings = await run_in_threadpool(_samplings, asked, given, service)
    asking = [(c, {"sampling": s, **options}) for c, s in zip(conversations, samplings, strict=True)]
    tickets = await submitted(service, request, asking)
    replies = Replies(asked, service, trace, tickets, given)
    if asked.stream:
        return streamed(replies.lines(request), trace)
    return Response(await run_in_threadpool(_json, replies.whole, await results(request, tickets)),
                    media_type="application/json")  # fmt: skip


def _json(whole: Any, answered: list) -> str:
    return json.dumps(whole(answered), ensure_ascii=False)


def _conversations(asked: ChatRequest, given: list[int], sources: Sources) -> list[Conversation]:
    """One conversation per answer, which differ in their seeds. Raises ApiError, Refused."""
    from unimedvl.inference.engine import Conversation

    turns = _turns(asked.messages, sources)
    size = asked.width_and_height
    try:
        first = Conversation(turns, think=asked.thinks, seed=given[0], draw=asked.draws, size=size)
    except ValueError as error:
        raise wrong("messages", str(error)) from None
    return [replace(first, seed=seed) for seed in given]


def _turns(messages: list[Message], sources: Sources) -> tuple[Turn, ...]:
    """The messages as turns; neighbours of one role, such as several system messages, are one."""
    from unimedvl.inference.engine import Turn

    turns = []
    numbered = [("system" if m.role == "developer" else m.role, n, m) for n, m in enumerate(messages)]
    for role, said in groupby(numbered, key=lambda item: item[0]):
        parts: list = []
        for _, number, message in said:
            for place, part in enumerate(message.parts):
                if isinstance(part, TextPart):
                    parts.append(part.text)
                else:
                    field = f"messages[{number}].content[{place}].image_url.url"
                    parts.append(sources.url(part.image_url.url, field))
        turns.append(Turn(role, tuple(parts)))
    return tuple(turns)


def _samplings(asked: ChatRequest, given: list[int], service: Service) -> list[Sampling]:
    first = sampled(
        service, given[0], asked.stop, temperature=asked.temperature, top_p=asked.top_p, top_k=asked.top_k,
        repetition_penalty=asked.repetition_penalty, max_tokens=asked.max_completion_tokens or asked.max_tokens,
        top_logprobs=(asked.top_logprobs or 0) if asked.logprobs else None, constraint=_constraint(asked, service),
    )  # fmt: skip
    return [replace(first, seed=seed) for seed in given]


def _constraint(asked: ChatRequest, service: Service) -> Any:
    """What the answer must be. Raises ApiError for a schema that can't be followed, or is too long."""
    wanted = asked.response_format
    if wanted is None or wanted.type == "text":
        return None
    from unimedvl.inference.constraint import Constraint

    try:
        if wanted.type == "json_object":
            constraint = Constraint.json_object()
        else:
            schema = wanted.json_schema.schema_
            check_texts([json.dumps(schema)], service)
            constraint = Constraint.json_schema(schema)
    except ValueError as error:
        raise wrong("response_format", str(error)) from None
    return constraint.after_thought() if asked.thinks else constraint


def _drawing(asked: ChatRequest, conversation: Conversation, service: Service) -> dict[str, Any]:
    """What the engine is told of a drawing. Raises ApiError where there is none."""
    if not asked.draws:
        for name in ("size", "num_inference_steps", "guidance_scale", "image_guidance_scale", "partial_images"):
            if getattr(asked, name) is not None:
                raise wrong(name, "is of images; ask for one with modalities=['text', 'image'], or leave it out")
        return {}
    try:
        task = conversation.task.name
        scales = guidance(service, task, asked.guidance_scale, asked.image_guidance_scale)
    except Exception as error:
        raise as_api_error(error) from error
    return {"steps": asked.num_inference_steps, "guidance": scales, "previews": previews(asked.partial_images)}
