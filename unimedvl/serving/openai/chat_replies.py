"""What chat answers, whole or in chunks."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from unimedvl.inference.results import NOT_CLINICAL, package_version
from unimedvl.serving.openai.forms import ChatRequest
from unimedvl.serving.openai.stream import ALIVE, DONE, data
from unimedvl.serving.openai.usage import chat_usage, count
from unimedvl.serving.pictures import data_url, encoded_preview, encoded_result, to_be_shown
from unimedvl.serving.running import events
from unimedvl.serving.service import Service
from unimedvl.serving.trace import Trace

if TYPE_CHECKING:
    from unimedvl.inference.engine import Ticket
    from unimedvl.inference.job import Event
    from unimedvl.inference.results import ImageResult, TextResult
    from unimedvl.inference.text import Token

    Result = TextResult | ImageResult


class Replies:
    """The answers of one request on their way to its client."""

    def __init__(
        self, asked: ChatRequest, service: Service, trace: Trace, tickets: Sequence[Ticket], seeds: Sequence[int]
    ) -> None:
        self.asked, self.service, self.trace, self.tickets, self.seeds = asked, service, trace, tickets, seeds
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": service.settings.called,
            "system_fingerprint": f"unimedvl-{package_version()}",
        }  # fmt: skip

    def whole(self, results: Sequence[Result]) -> dict[str, Any]:
        """The reply where nothing is streamed. Encodes images: call it in a thread."""
        count(self.service, self.tickets)
        return {
            **self._head, "object": "chat.completion", "choices": [self._choice(n, r) for n, r in enumerate(results)],
            "usage": chat_usage(self.tickets), "notice": NOT_CLINICAL,
        }  # fmt: skip

    def _choice(self, number: int, result: Result) -> dict[str, Any]:
        self.trace.gave(result.text)
        message = {"role": "assistant", "content": result.text, "refusal": None}
        if result.thought:
            message["reasoning_content"] = result.thought
        if hasattr(result, "array"):
            message |= self._image_fields([self._image(result)], result.text)
        return {
            "index": number, "message": message, "logprobs": self._logprobs(result.tokens),
            **self._ending(number, result),
        }  # fmt: skip

    async def lines(self, request: Request) -> AsyncIterator[str]:
        """The reply in chunks, as server-sent events."""
        for number in range(len(self.tickets)):
            yield self._chunk(number, {"role": "assistant", "content": ""})
        async for happened in events(request, self.tickets):
            if happened is None:
                yield ALIVE
                continue
            number, event = happened
            self.trace.spoke()
            for line in await self._lines_of(number, event):
                yield line
        count(self.service, self.tickets)
        if self.asked.stream_options is not None and self.asked.stream_options.include_usage:
            yield data({**self._chunk_head(), "choices": [], "usage": chat_usage(self.tickets)})
        yield DONE

    async def _lines_of(self, number: int, event: Event) -> list[str]:
        if event.kind in ("text", "thought"):
            delta = {"content" if event.kind == "text" else "reasoning_content": event.text}
            return [self._chunk(number, delta, logprobs=self._logprobs(event.tokens))]
        if event.kind == "result":
            return await run_in_threadpool(self._last, number, event.result)
        if event.step is not None and to_be_shown(event.step):
            url = data_url(await run_in_threadpool(encoded_preview, event.step))
            image = _image_part(url) | {"partial": True, "step": event.step.number, "steps": event.step.total}
            return [self._chunk(number, self._image_fields([image]), modality="image")]
        return []

    def _last(self, number: int, result: Result) -> list[str]:
        """The image, where there is one, and how the answer ended."""
        self.trace.gave(result.text)
        lines = []
        if hasattr(result, "array"):
            lines.append(self._chunk(number, self._image_fields([self._image(result)]), modality="image"))
        return [*lines, self._chunk(number, {}, **self._ending(number, result), notice=NOT_CLINICAL)]

    def _chunk(self, number: int, delta: dict[str, Any], **more: Any) -> str:
        beside = {name: more.pop(name) for name in ("modality", "notice") if name in more}
        choice = {"index": number, "delta": delta, "finish_reason": None, "logprobs": None, **more}
        return data({**self._chunk_head(), "choices": [choice], **beside})

    def _chunk_head(self) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk", "usage": None}

    def _ending(self, number: int, result: Result) -> dict[str, Any]:
        finish = "length" if result.finish == "length" else "stop"
        return {"finish_reason": finish, "confidence": result.confidence, "seed": self.seeds[number]}

    def _image(self, result: ImageResult) -> dict[str, Any]:
        encoded = encoded_result(result)
        self.trace.gave(encoded)
        return _image_part(data_url(encoded))

    def _image_fields(self, images: list[dict[str, Any]], text: str = "") -> dict[str, Any]:
        """Where images stand in a message: beside its text, or with it as parts of its content."""
        if self.asked.image_carrier == "images":
            return {"images": images}
        return {"content": [*([{"type": "text", "text": text}] if text else []), *images]}

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        return {"content": [_token(t) for t in tokens], "refusal": None} if self.asked.logprobs and tokens else None


def _image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def _token(token: Token) -> dict[str, Any]:
    return _plain(token) | {"top_logprobs": [_plain(t) for t in token.top]}


def _plain(token: Token) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.bytes)}
