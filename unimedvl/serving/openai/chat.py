"""`/v1/chat/completions`: conversations of text and images, answered in text and images."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from unimedvl.inference.results import NOT_CLINICAL
from unimedvl.serving.asking import deadline, seeds, submitted
from unimedvl.serving.openai.forms import ChatRequest, TextPart
from unimedvl.serving.running import results
from unimedvl.serving.service import Served, Service

if TYPE_CHECKING:
    from unimedvl.inference.engine import Conversation
    from unimedvl.inference.text import Sampling

router = APIRouter(prefix="/v1", tags=["chat"])


@router.post("/chat/completions", summary="Answer a conversation")
async def chat(asked: ChatRequest, request: Request, service: Served) -> Any:
    service.check_model(asked.model)
    given = seeds(asked.seed, asked.n or 1, bool(asked.temperature) or asked.draws)
    conversations = await run_in_threadpool(_conversations, asked, given, service)
    most = deadline(request, service)
    options = [{"sampling": sampling(asked, seed), "deadline": most} for seed in given]
    tickets = await submitted(service, list(zip(conversations, options, strict=True)))
    answered = await results(request, tickets)
    choices = [
        {"index": n, "finish_reason": r.finish or "stop", "logprobs": None,
         "message": {"role": "assistant", "content": r.text, "refusal": None}}
        for n, r in enumerate(answered)
    ]  # fmt: skip
    return head("chat.completion", service) | {"choices": choices, "notice": NOT_CLINICAL}


def head(kind: str, service: Service) -> dict[str, Any]:
    """How a reply and each of its chunks begins."""
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()),
        "model": service.settings.called,
    }  # fmt: skip


def sampling(asked: ChatRequest, seed: int) -> Sampling:
    """How the text is chosen; the model's own way where nothing is said."""
    from unimedvl.inference.text import Sampling

    most = asked.max_completion_tokens or asked.max_tokens
    given = {
        "temperature": asked.temperature, "top_p": asked.top_p, "top_k": asked.top_k,
        "repetition_penalty": asked.repetition_penalty, "max_tokens": most,
    }  # fmt: skip
    stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    return Sampling(seed=seed, stop=tuple(stop), **{k: v for k, v in given.items() if v is not None})


def _conversations(asked: ChatRequest, given: list[int], service: Service) -> list[Conversation]:
    from unimedvl.inference.engine import Conversation, Turn

    turns = []
    for message in asked.messages:
        role = "system" if message.role == "developer" else message.role
        parts = (p.text if isinstance(p, TextPart) else _image(p.image_url.url) for p in message.parts)
        turns.append(Turn(role, tuple(parts)))
    return [Conversation(tuple(turns), think=asked.thinks, seed=seed, draw=asked.draws) for seed in given]


def _image(url: str) -> Any:
    import base64

    return base64.b64decode(url.partition(",")[2])
